/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * maps.h: every map, with the reason for its kind and size. The loader pins all but the last four, so that a new program
 * finds the entries of the old one, and gives those sized by MAX_SESSIONS and PORT_ROWS their real size.
 */
#ifndef ALGATE_MAPS_H
#define ALGATE_MAPS_H

/* While compiling: the code doesn't depend on them. */
#define MAX_SESSIONS 64
#define PORT_ROWS 65536

#define PINNED(kind, key, leaf, name, size) BPF_TABLE(kind, key, leaf, name, size)
/* Memory is allocated entry by entry: for tables that may be large and are usually small. */
#define PINNED_LAZY(kind, key, leaf, name, size) BPF_F_TABLE(kind, key, leaf, name, size, BPF_F_NO_PREALLOC)

/* One entry for each session, by the inside view; the outside view reaches it through `ports`, so no second key is stored. */
PINNED("hash", struct session_key, struct session, sessions, MAX_SESSIONS);
/* Id of a session that was expected -> id of the control session that expected it: in the session itself it has no room. */
PINNED_LAZY("hash", u64, u64, relations, MAX_SESSIONS);
/* Id of such a session -> where its data begins. Only to be told of, so it has no room for all of them. */
PINNED_LAZY("hash", u64, struct beginning, beginnings, 65536);
/* Direct-mapped: the row number is the public port, so an inbound packet finds its owner without hashing. */
PINNED("array", u32, struct port_slot, ports, PORT_ROWS);
PINNED_LAZY("hash", struct mapping_key, struct mapping, mappings, MAX_SESSIONS);

/* Whose a PORT_SHARED is, by destination. */
PINNED_LAZY("hash", struct share_key, struct share, shares, MAX_SESSIONS);

/* A hint which ports are taken, so that a search costs the same however full it is. Only `ports` decides. */
PINNED("array", u32, u64, port_bits, PORT_ROWS / 65536 * BITMAP_BLOCK);
/* Port blocks, direct-mapped; where one is held, and where one may be given out; each host's own; computed ones. */
PINNED("array", u32, struct port_block, port_blocks, PORT_ROWS / 64);
PINNED("array", u32, u64, block_bits, BLOCK_USABLE * 2);
PINNED_LAZY("hash", struct mapping_key, struct block_list, block_lists, 262144);
PINNED_LAZY("lpm_trie", struct exempt_key, struct block_network, block_networks, 1024);
PINNED_LAZY("hash", struct mapping_key, struct host, hosts, 262144);
PINNED("array", u32, struct pool, pools, POOL_ROWS);
PINNED_LAZY("hash", struct peer_key, u64, peers, MAX_SESSIONS);
PINNED_LAZY("lpm_trie", struct exempt_key, u32, exempt, 1024);
/* The devices of this namespace as the daemon last saw them (ifindex -> 1), the WAN once its programs are attached; and the
 * networks on the WAN's own link. */
PINNED_LAZY("hash", u32, u32, devices, 65536);
PINNED_LAZY("lpm_trie", struct exempt_key, u32, wan_networks, 1024);

/* Keys of ended data sessions, in the order of their ends. When it is full the oldest is forgotten, which costs its port's
 * early return alone. */
BPF_QUEUE(finished, struct finished, 16384);

PINNED("array", u32, struct forward, forwards, MAX_FORWARDS);
PINNED_LAZY("lpm_trie", struct forward_source_key, u32, forward_sources, 8192);
PINNED_LAZY("hash", struct service_key, u32, alg_ports, 1024);
PINNED_LAZY("hash", struct service_key, u32, allow_out, 65536);

/* One control session has at most a few of each. */
PINNED_LAZY("hash", struct expectation_key, struct expectation, expectations, 65536);
PINNED_LAZY("hash", struct session_key, struct adjust, adjusts, 65536);
PINNED_LAZY("hash", struct session_key, struct track, tracks, 65536);
PINNED_LAZY("hash", struct decision_key, struct decision, decisions, 262144);
PINNED_LAZY("hash", struct decision_key, struct replacement, replacements, 65536);
/* First words of lines that needn't wait, and their enum line; the helper fills this before it sets ADJUST_LINES. */
PINNED_LAZY("hash", struct passable_key, u32, passable, 4096);
PINNED("array", u32, struct opening, openings, 2 * OPENING_MIXED);
/* Bytes acknowledged in the receiver's name, for a helper that starts after a crash; the kernel only keeps them. */
PINNED_LAZY("hash", struct decision_key, struct replacement, held, 65536);

PINNED("array", u32, struct config, configs, 1);
PINNED("array", u32, u64, heartbeat, 1); /* tick of the helper's last sign of life */
PINNED("percpu_array", u32, u64, counters, COUNTER_COUNT);
PINNED("percpu_array", u32, u64, drops, 128);
/* LRU: a lost entry costs the rest of one fragmented packet. */
PINNED("lru_hash", struct fragment_key, struct fragment, fragments, 8192);
PINNED("lru_hash", struct fragment_id_key, u64, fragment_ids, 8192);

PINNED("prog", u32, u32, stages, STAGE_COUNT);

#if defined(SIX) || defined(NAT64)
/* IPv6, made only where its programs are loaded. Address -> handle, and back; entries come and go with the hosts. */
PINNED_LAZY("hash", u32, struct interned, addresses6, MAX_SESSIONS);
PINNED("array", u32, struct config6, configs6, 1);
#endif
#ifdef SIX
PINNED_LAZY("hash", struct address6, u32, handles, MAX_SESSIONS);
PINNED("array", u32, u64, askers, ASKER_ROWS);
PINNED_LAZY("hash", struct admission_key, struct admission, allow_in, 65536);
PINNED_LAZY("lpm_trie", struct admission_source_key, u32, allow_in_sources, 8192);
/* LRU: a lost entry costs the rest of one fragmented packet. */
PINNED("lru_hash", struct piece_key, struct pieces, pieces, 2048);
#endif

BPF_PERF_OUTPUT(punts);
BPF_PERF_OUTPUT(unhurried); /* into the same buffers, without waking whoever reads them */
BPF_PERF_OUTPUT(notices);
BPF_PERCPU_ARRAY(scratch, struct scratch, 1);
BPF_PERCPU_ARRAY(hops, struct hop, HOP_ROWS);
#if defined(TURNS) || defined(NAT64)
BPF_PERCPU_ARRAY(turns, struct hop6, HOP_ROWS);
#endif
#ifdef SIX
BPF_PERCPU_ARRAY(hops6, struct hop6, HOP_ROWS);
BPF_PERCPU_ARRAY(scratch6, struct scratch6, 1);
#ifdef TURNS
BPF_PERCPU_ARRAY(cuts, struct cut, 1);
#endif
#endif

#endif
