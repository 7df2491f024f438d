/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * ports.h: who owns which public port.
 *
 * The race: a slot's owner moves from 0 by compare-and-swap, so of two CPUs that want one port one loses and looks
 * further; two flows never share a port by accident. References are taken only from a non-zero count: a slot whose
 * count fell to 0 belongs to whoever brought it there, who frees it; a packet that meets it in between is dropped
 * (reason `race`) and repeated by its sender.
 *
 * Homes: with one public address, an end point that keeps its port number is found by that number, so it needs no entry
 * in `mappings`. An end point must not get a home and an entry at once (RFC 4787 REQ-1): whoever takes a home looks for
 * an entry then, and lends no reference before; whoever makes an entry looks at the home then. One sees the other.
 */
#ifndef ALGATE_PORTS_H
#define ALGATE_PORTS_H

#define REFERENCE_TRIES 8
#define ALLOCATE_TRIES 12 /* tail calls end at 33 */

/* sessions and away as one: compare-and-swap is of 64 bits. */
static __always_inline u64 port_word(const struct port_slot *slot)
{
    return *(volatile const u64 *)&slot->sessions;
}

static __always_inline bool port_get(struct port_slot *slot)
{
    for (int i = 0; i < REFERENCE_TRIES; i++) {
        u64 seen = port_word(slot);
        if (!(u32)seen)
            return false;
        if (__sync_val_compare_and_swap((u64 *)&slot->sessions, seen, seen + 1) == seen)
            return true;
    }
    return false;
}

/* Counts an entry of `mappings` in or out. In: before it is made, so that nobody relies on there being none. */
static __always_inline void mapping_away(__be16 inside_port, u8 proto, s32 change)
{
    u32 home = port_index(0, proto, bpf_ntohs(inside_port));
    struct port_slot *slot = ports.lookup(&home);
    if (slot)
        __sync_fetch_and_add(&slot->away, change);
}

/* Gives a reference back; the last one frees the port and its mapping. */
static __always_inline void port_put(u32 index, struct port_slot *slot, u8 proto)
{
    u64 seen = 0;
    for (int i = 0; i < REFERENCE_TRIES; i++) {
        seen = port_word(slot);
        if (!(u32)seen || __sync_val_compare_and_swap((u64 *)&slot->sessions, seen, seen - 1) == seen)
            break;
    }
    if ((u32)seen != 1)
        return;
    u64 owner = slot->owner;
    struct mapping_key key = {.inside_ip = owner_ip(owner), .inside_port = owner_port(owner), .proto = proto};
    struct mapping *m = owner_kind(owner) == PORT_HOME ? 0 : mappings.lookup(&key);
    if (m && m->port_index == index) {
        mappings.delete(&key);
        mapping_away(key.inside_port, proto, -1);
    }
    slot->last_host = owner_ip(owner);
    slot->stamp = now_tick();
    if (owner_kind(owner) == PORT_MAPPING || owner_kind(owner) == PORT_HOME)
        host_count(owner_ip(owner), 0, -1);
    __sync_val_compare_and_swap(&slot->owner, owner, 0);
    struct config *cfg = get_config();
    if (!cfg || !cfg->hold_down)
        portbits_free(index);
}

/* Whether a host may have a port that nobody owns: not while hold-down keeps it for another one. */
static __always_inline bool port_open(const struct config *cfg, const struct port_slot *slot, __be32 host, u32 now)
{
    return !slot->last_host || slot->last_host == host || now - slot->stamp >= cfg->hold_down;
}

/* Claims a free port, with one reference. */
static __always_inline bool port_claim(const struct config *cfg, struct port_slot *slot, u64 owner, u32 now)
{
    if (slot->owner || !port_open(cfg, slot, owner_ip(owner), now))
        return false;
    if (__sync_val_compare_and_swap(&slot->owner, 0, owner) != 0)
        return false;
    slot->stamp = now;
    slot->sessions = 1;
    return true;
}

/* Whether a socket of the gateway would receive what `remote` sends to this public end point. */
static __always_inline bool has_socket(struct __sk_buff *skb, u8 proto, __be32 remote_ip, __be16 remote_port,
                                       __be32 public_ip, __be16 public_port)
{
    struct bpf_sock_tuple tuple = {};
    tuple.ipv4.saddr = remote_ip;
    tuple.ipv4.daddr = public_ip;
    tuple.ipv4.sport = remote_port;
    tuple.ipv4.dport = public_port;
    struct bpf_sock *sk = 0;
    if (proto == IPPROTO_TCP)
        sk = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
    else if (proto == IPPROTO_UDP)
        sk = bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
    if (!sk)
        return false;
    bpf_sk_release(sk);
    return true;
}

/* Gives back a port that was claimed and never used. */
static __always_inline void port_unclaim(struct port_slot *slot, u64 owner)
{
    slot->last_host = 0;
    slot->sessions = 0;
    __sync_val_compare_and_swap(&slot->owner, owner, 0);
}

/* The owner of a row, if that is an inside end point; else 0: the row is nobody's, or the gateway's own. */
static __always_inline u64 inside_owner(u32 index)
{
    struct port_slot *slot = ports.lookup(&index);
    u64 owner = slot ? slot->owner : 0;
    return owner_kind(owner) == PORT_LOCAL ? 0 : owner;
}

static __always_inline void count_tries(u32 failed)
{
    count(failed == 0   ? COUNT_PORT_TRIES_1
          : failed == 1 ? COUNT_PORT_TRIES_2
          : failed < 4  ? COUNT_PORT_TRIES_4
                        : COUNT_PORT_TRIES_MORE,
          1);
}

/* A search for a public port, one try a run of its program: a loop over tries would pass what the verifier can follow. */
struct port_search {
    u64 owner;
    __be32 remote_ip; /* whom it will talk to */
    __be16 remote_port;
    u16 wanted; /* host order; 0: any */
    u16 port;   /* to try next; 0: the wanted one */
    u8 proto;
    u8 tries;    /* so far */
    u32 address; /* place of the public address */
};

/* One try at a port of the class that `wanted` belongs to (RFC 4787 REQ-3a): the wanted one itself first, then what the
 * bitmap shows free behind a random place (RFC 6056). When it shows none, a random one: ports in hold-down may still be
 * their former host's. Returns the row, or -1 with the next try's port in the search. */
static __always_inline s64 port_try(struct __sk_buff *skb, const struct config *cfg, struct port_search *search,
                                    u32 now)
{
    u32 first = cfg->port_first, last = cfg->port_last, port = search->port ? search->port : search->wanted;
    u64 parity = ~0ULL;
    if (search->wanted && search->wanted < 1024 && search->proto != IPPROTO_ICMP) {
        first = 1;
        last = 1023;
    }
    if (cfg->flags & CONFIG_PARITY && search->wanted) /* RFC 4787 REQ-4 */
        parity = search->wanted & 1 ? 0xaaaaaaaaaaaaaaaaULL : 0x5555555555555555ULL;
    u32 index = port_index(search->address, search->proto, port);
    struct port_slot *slot = port >= first && port <= last ? ports.lookup(&index) : 0;
    if (slot && port_claim(cfg, slot, search->owner, now)) {
        portbits_take(index);
        if (!has_socket(skb, search->proto, search->remote_ip, search->remote_port,
                        cfg->public_ip[search->address & (MAX_PUBLIC - 1)], bpf_htons(port))) {
            count_tries(search->tries);
            return index;
        }
        port_unclaim(slot, search->owner); /* the bit stays: nobody needs to ask for this port again */
    }
    u32 from = first + bpf_get_prandom_u32() % (last - first + 1);
    u32 found = portbits_find(port_index(search->address, search->proto, 0), first, last, from, parity);
    search->port = found ? found : (from & ~1U) | ((parity == ~0ULL ? from : search->wanted) & 1);
    search->tries++;
    return -1;
}

#endif
