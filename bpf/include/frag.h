/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * frag.h: fragmented packets. The head has the ports and is translated like any packet; what it became is kept for
 * the tails, which have none. Fragments go through the stack, which forwards them as they are. Inside hosts choose ids each
 * for itself, and outside they have one address: there what leaves in fragments has an id of its own (RFC 6864 section
 * 5.3.1). What could be fragmented further on, but isn't yet, keeps its sender's: to look that up would cost every packet.
 */
#ifndef ALGATE_FRAG_H
#define ALGATE_FRAG_H

#define FRAGMENT_SECONDS 30 /* reassembly gives up between 15 and 60 s: RFC 1122 section 3.3.2, RFC 791 section 3.2 */

/* A tail that would overwrite part of the TCP header: its flags, after a filter has seen others (RFC 1858 section 3.2.2, RFC
 * 3128). No sender cuts there. UDP's and ICMP's eight bytes no tail can reach. */
static __always_inline bool overlaps_header(const struct packet *p)
{
    u32 offset = (p->fragment & IP_OFFSET_MASK) * 8;
    return p->proto == IPPROTO_TCP && offset && offset < sizeof(struct tcphdr);
}

/* A head without the whole of its transport header: what a tail brings nobody has judged (RFC 1858 section 3.1). */
static __always_inline bool head_is_tiny(const struct packet *p)
{
    u32 room = p->ip_size - p->header_size;
    if (p->proto == IPPROTO_TCP)
        return room < sizeof(struct tcphdr) || p->tcp_header > room;
    return room < 8;
}

static __always_inline void fragment_key_of(struct fragment_key *key, const struct packet *p, u8 dir)
{
    key->source = p->source;
    key->destination = p->destination;
    key->ip_id = p->ip_id;
    key->proto = p->proto;
    key->dir = dir;
}

#define FRAGMENT_TICKS ((u32)((FRAGMENT_SECONDS * 1000000000ULL) >> TICK_SHIFT))
#define ID_TRIES 8

/* An id for a packet that leaves in fragments: its sender's own, unless another packet from the same public address to the
 * same destination has it, from whichever host. Create-if-absent on `fragment_ids` decides between two CPUs, so of two
 * packets with one id one is told to look further. A packet that finds none in eight random tries leaves under the last. */
static __always_inline __be16 fragment_id(const struct packet *p, __be32 source, u32 now)
{
    struct fragment_id_key key = {
        .source = source, .destination = p->destination, .ip_id = p->ip_id, .proto = p->proto};
    u16 until = (now + FRAGMENT_TICKS) >> 10, today = now >> 10;
    u64 mine = (u64)p->source << 32 | (u32)p->ip_id << 16 | until;
    for (int i = 0; i < ID_TRIES; i++) {
        u64 *held = fragment_ids.lookup(&key);
        if (!held && !fragment_ids.insert(&key, &mine))
            break;
        u64 seen = held ? *(volatile u64 *)held : 0;
        bool free = held && ((s16)(today - (u16)seen) > 0 || seen >> 16 == mine >> 16);
        if (free && __sync_val_compare_and_swap(held, seen, mine) == seen)
            break;
        key.ip_id = bpf_get_prandom_u32();
    }
    return key.ip_id;
}

/* Keeps what a head became for its tails. Returns the id that it has from here on. */
static __always_inline __be16 fragment_remember(const struct packet *p, u8 dir, __be32 source, __be32 destination,
                                                u32 now)
{
    struct fragment_key key = {};
    struct fragment f = {.source = source, .destination = destination, .ip_id = p->ip_id};
    fragment_key_of(&key, p, dir);
    struct fragment *known = dir == DIR_OUT ? fragments.lookup(&key) : 0;
    if (known && known->source == source && (s32)(known->expires - now) > 0)
        f.ip_id = known->ip_id; /* the head once more: its tails must stay with it */
    else if (dir == DIR_OUT)
        f.ip_id = fragment_id(p, source, now);
    f.expires = now + FRAGMENT_TICKS;
    fragments.update(&key, &f);
    return f.ip_id;
}

/* Returns 0, or -1 if the kernel refused. */
static __always_inline int put_id(struct __sk_buff *skb, const struct packet *p, __be16 id)
{
    if (id == p->ip_id)
        return 0;
    if (bpf_l3_csum_replace(skb, ip_at(p) + 10, p->ip_id, id, 2))
        return -1;
    return bpf_skb_store_bytes(skb, ip_at(p) + 4, &id, 2, 0);
}

#define TAILS_A_WINDOW 64 /* punted per CPU and 16 ticks: a flood of lone tails must not fill the perf ring */

/* A tail before its head: BPF can't queue a packet, the helper can. */
static __always_inline int fragment_early(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                          u8 dir, int at, u32 now)
{
    u32 zero = 0;
    struct scratch *room = scratch.lookup(&zero);
    struct punt *m = new_punt(PUNT_TAIL);
    bool ours = at == AT_LAN; /* to a public address: for the gateway itself, or a hairpin; its head will tell */
    if (speaker_of(skb, cfg, p, at) != OF_INSIDE && !is_private(p->source)) /* nobody's whose head is translated */
        return pass_on(skb, at);
    if (!room || !m || at == AT_TAP || at == AT_HAIRPIN || !helper_alive(cfg, now))
        return ours ? TC_ACT_OK : drop(DROP_FRAGMENT_UNKNOWN);
    if (now - room->tails_since > 16) {
        room->tails_since = now;
        room->tails = 0;
    }
    if (room->tails++ >= TAILS_A_WINDOW)
        return ours ? TC_ACT_OK : drop(DROP_FRAGMENT_UNKNOWN);
    m->dir = dir;
    punt_frame(skb, p, m);
    return ours ? TC_ACT_OK : drop(DROP_FRAGMENT_EARLY);
}

/* A tail: only the addresses and the id change, and no transport checksum is in it. */
static __always_inline int fragment_tail(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                         u8 dir, int at, u32 now)
{
    struct fragment_key key = {};
    fragment_key_of(&key, p, dir);
    struct fragment *f = fragments.lookup(&key);
    if (!f || (s32)(f->expires - now) <= 0)
        return fragment_early(skb, cfg, p, dir, at, now);
    __be32 source = f->source, destination = f->destination;
    if (put_id(skb, p, f->ip_id) || put_outer(skb, p, true, source) || put_outer(skb, p, false, destination))
        return drop(DROP_REWRITE_FAILED);
    account(dir, p->ip_size);
    if (dir == DIR_IN && is_turned(destination))
        return next_turn(skb, STAGE_TURN_IN, at, destination, 0);
    if (dir == DIR_OUT && (at == AT_LAN || ((at == AT_TAP || at_turned(at)) && public_slot(cfg, destination) >= 0)))
        return next_stage(skb, STAGE_FRAGMENT, AT_HAIRPIN, DIR_IN);
    if (at != AT_TAP && at != AT_HAIRPIN && !at_turned(at))
        return TC_ACT_OK;
    if (dir == DIR_IN && at == AT_TAP && destination == p->destination) /* for the gateway itself */
        return receive_at_wan(skb, cfg);
    struct next_hop next = {};
    int route = route_packet(skb, p, dir == DIR_OUT ? p->source : source, destination,
                             dir == DIR_OUT ? cfg->lan[0] : cfg->wan, &next);
    bool cut = leaves_cut(at, route);
    if (route != ROUTE_FORWARD && !cut)
        return drop(DROP_NO_ROUTE);
    if (dir == DIR_IN && !is_lan(cfg, next.ifindex)) /* as its head: see leave_in */
        return at == AT_TAP ? receive_at_wan(skb, cfg) : drop(DROP_NO_ROUTE);
    if (p->ttl > 1 && put_ttl(skb, p, p->ttl - 1))
        return drop(DROP_REWRITE_FAILED);
#ifdef NAT64
    if (cut)
        return next_stage(skb, STAGE_CUT4, at, DIR_OUT);
#endif
    return redirect_to(skb, cfg, p, &next);
}

#endif
