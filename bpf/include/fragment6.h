/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * fragment6.h: fragmented IPv6 packets. Only the head has what they are judged by; once it was let through its tails follow, by
 * the stack, as they came.
 *
 * The law of this file: of a datagram no byte passes twice (RFC 5722): what overlaps with bytes that have passed is dropped, a
 * mere repetition too, which the receiver doesn't need. An atomic fragment is no fragment here (RFC 6946).
 *
 * The race: each 8 bytes of a datagram have a bit, and a word of bits changes by compare-and-swap, so of two fragments on two
 * CPUs only one takes a bit. The loser of a later word may have taken bits before: the datagram is then incomplete, as it
 * would be anyway.
 */
#ifndef ALGATE_FRAGMENT6_H
#define ALGATE_FRAGMENT6_H

#define FRAGMENT_SECONDS 60 /* reassembly gives up by then: RFC 8200 section 4.5 */
#define FRAGMENT_TICKS ((u32)((FRAGMENT_SECONDS * 1000000000ULL) >> TICK_SHIFT))
#define TAILS_A_WINDOW 64  /* punted per CPU and 16 ticks, as for IPv4 */
#define TAILS_OF_UNKNOWN 8 /* the same of those whose ends need handles: what a flood costs for HANDLE_IDLE */

static __always_inline void piece_key_of(struct piece_key *key, const struct packet *p, u8 dir)
{
    key->source = p->source;
    key->destination = p->destination;
    key->id = p->id6;
    key->dir = dir;
}

/* Takes this fragment's bits. False: another one has brought some of it. */
static __always_inline bool pieces_take(struct scratch6 *room, struct pieces *known, const struct packet *p)
{
    u32 first = p->fragment & IP_OFFSET_MASK, size = p->ip_size - p->header_size, end = first + ((size + 7) >> 3);
    UNKNOWN(room) = first; /* a known number would be followed for each word */
    for (u32 i = 0; i < PIECE_WORDS; i++) {
        u32 at = UNKNOWN(room);
        if (at >= end)
            return true;
        u32 low = at & 63, left = end - at, most = 64 - low;
        u32 here = left < most ? left : most;
        u64 mask = (~0ULL >> ((64 - here) & 63)) << low;
        u64 *word = &known->seen[(at >> 6) & (PIECE_WORDS - 1)];
        u64 seen = *(volatile u64 *)word;
        if (seen & mask || __sync_val_compare_and_swap(word, seen, seen | mask) != seen)
            return false;
        UNKNOWN(room) = at + here;
    }
    return true;
}

/* The record of a datagram, made for its head, which is let through. */
static __always_inline struct pieces *pieces_of(const struct piece_key *key, struct scratch6 *room, bool head, u32 now)
{
    struct pieces *known = pieces.lookup((struct piece_key *)key);
    if (known && (s32)(known->expires - now) > 0)
        return known;
    if (!head)
        return 0;
    room->pieces.expires = now + FRAGMENT_TICKS; /* all else in it is 0 for ever */
    pieces.update((struct piece_key *)key, &room->pieces);
    return pieces.lookup((struct piece_key *)key);
}

/* Whether a session may begin with a tail from outside, which has no port yet: its host has a service that lets somebody in. */
static __always_inline bool tail_awaited(struct __sk_buff *skb, const struct config *cfg, const struct packet *p)
{
    struct admission_key key = {.proto = p->proto};
    if (bpf_skb_load_bytes(skb, ip_at(p) + 24, key.to, sizeof(key.to)) || !allow_in.lookup(&key))
        return false;
    return source_is_routed(skb, p, cfg->lan[0], cfg->wan);
}

/* Whether both ends of a tail have handles. They get some where a session may begin with its tail. */
static __always_inline bool tail_known(struct __sk_buff *skb, const struct config *cfg, struct packet *p, u8 dir,
                                       int at, u32 now)
{
    u32 zero = 0;
    struct scratch6 *room = scratch6.lookup(&zero);
    if (p->source && p->destination)
        return true;
    if (room && now - room->unknown_since > 16) {
        room->unknown_since = now;
        room->unknown = 0;
    }
    if (!room || room->unknown >= TAILS_OF_UNKNOWN)
        return false;
    room->unknown++;
    bool first = dir == DIR_OUT ? source_is_routed(skb, p, cfg->wan, skb->ingress_ifindex) : tail_awaited(skb, cfg, p);
    return first && !intern_ends(skb, p, at, dir, now);
}

/* A tail before its head: BPF can't queue a packet, the helper can. */
static __always_inline int fragment_early(struct __sk_buff *skb, const struct config *cfg, struct packet *p, u8 dir,
                                          int at, u32 now)
{
    u32 zero = 0;
    struct scratch *room = scratch.lookup(&zero);
    struct punt *m = new_punt(PUNT_TAIL);
    if (!room || !m || at == AT_TAP || !helper_alive(cfg, now))
        return drop(DROP_FRAGMENT_UNKNOWN);
    if (now - room->tails_since > 16) {
        room->tails_since = now;
        room->tails = 0;
    }
    if (room->tails >= TAILS_A_WINDOW || !tail_known(skb, cfg, p, dir, at, now))
        return drop(DROP_FRAGMENT_UNKNOWN);
    room->tails++;
    m->dir = dir;
    m->key.inside_ip = p->source; /* struct piece_key: the helper asks for it */
    m->key.remote_ip = p->destination;
    m->seq = p->id6;
    punt_frame(skb, p, m);
    return drop(DROP_FRAGMENT_EARLY);
}

/* On as it is: by the stack, but the helper's frame, which the stack would refuse. */
static __always_inline int fragment_goes_on(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                            u8 dir, int at)
{
    struct next_hop next = {};
    account(dir, p->ip_size);
    if (at != AT_TAP)
        return TC_ACT_OK;
    if (route_packet(skb, p, p->source, p->destination, dir == DIR_OUT ? cfg->lan[0] : cfg->wan, &next) !=
        ROUTE_FORWARD)
        return drop(DROP_NO_ROUTE);
    if (dir == DIR_OUT ? next.ifindex != cfg->wan : !is_lan(cfg, next.ifindex))
        return drop(DROP_NO_ROUTE);
    if (p->ttl <= 1)
        return drop(DROP_HELPER_ASTRAY);
    return leave_direct(skb, cfg, p, &next);
}

/* A head, which is judged like a whole packet: 0 if its session is there, else what becomes of it, -1: it begins one. */
static __always_inline int head_judged(struct __sk_buff *skb, const struct config *cfg, struct packet *p, u8 dir,
                                       u32 now)
{
    struct session_key key;
    int parsed = parse_head(skb, p);
    if (parsed == PARSED_MALFORMED && p->refused && p->refused != DROP_MALFORMED)
        return p->refused;
    if (parsed == PARSED_MALFORMED || (p->proto == IPPROTO_TCP && p->ip_size < p->header_size + p->tcp_header))
        return DROP_FRAGMENT_TINY;
    if (parsed != PARSED_FLOW)
        return DROP_ICMP_INVALID;
    struct session *s = dir == DIR_OUT ? find_out(p, &key) : find_in(cfg, p, &key);
    if (!s || !session_carries(cfg, s, p, dir, now))
        return -1;
    return s->alg ? DROP_FRAGMENT_CONTROL : 0;
}

static __always_inline int fragment_passes(struct __sk_buff *skb, int at, u8 dir)
{
    struct packet p = {};
    struct piece_key key = {};
    u32 zero = 0, now = now_tick();
    struct config *cfg = get_config();
    struct scratch6 *room = scratch6.lookup(&zero);
    if (!cfg || !room || parse_again(skb, cfg, at, &p) != PARSED_FRAGMENT)
        return drop(DROP_MALFORMED);
    if (dir == DIR_IN && at != AT_TAP && !to_inside(skb, cfg, &p)) /* the stack's own */
        return TC_ACT_OK;
    bool head = is_first_fragment(&p);
    int judged = head ? head_judged(skb, cfg, &p, dir, now) : 0;
    if (judged < 0)
        return next_stage(skb, STAGE_WAY, at, dir);
    if (judged)
        return drop(judged);
    piece_key_of(&key, &p, dir);
    struct pieces *known = pieces_of(&key, room, head, now);
    if (!known)
        return fragment_early(skb, cfg, &p, dir, at, now);
    if (!pieces_take(room, known, &p))
        return drop(DROP_FRAGMENT_REPEATED);
    return head ? next_stage(skb, STAGE_JUDGE, at, dir) : fragment_goes_on(skb, cfg, &p, dir, at);
}

#endif
