/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * frag.h: fragmented packets. The head carries the ports and is translated like any packet; what it became is kept for
 * the tails, which carry none. Fragments go through the stack, which forwards them as they are.
 */
#ifndef ALGATE_FRAG_H
#define ALGATE_FRAG_H

#define FRAGMENT_SECONDS 30 /* reassembly gives up between 15 and 60 s: RFC 1122 section 3.3.2, RFC 791 section 3.2 */

static __always_inline void fragment_key_of(struct fragment_key *key, const struct packet *p, u8 dir)
{
    key->source = p->source;
    key->destination = p->destination;
    key->ip_id = p->ip_id;
    key->proto = p->proto;
    key->dir = dir;
}

static __always_inline void fragment_remember(const struct packet *p, u8 dir, __be32 source, __be32 destination,
                                              u32 now)
{
    struct fragment_key key = {};
    struct fragment f = {.source = source, .destination = destination};
    fragment_key_of(&key, p, dir);
    f.expires = now + (u32)((FRAGMENT_SECONDS * 1000000000ULL) >> TICK_SHIFT);
    fragments.update(&key, &f);
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

/* A tail: only the addresses change, and no transport checksum is in it. */
static __always_inline int fragment_tail(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                         u8 dir, int at, u32 now)
{
    struct fragment_key key = {};
    fragment_key_of(&key, p, dir);
    struct fragment *f = fragments.lookup(&key);
    if (!f || (s32)(f->expires - now) <= 0)
        return fragment_early(skb, cfg, p, dir, at, now);
    __be32 source = f->source, destination = f->destination;
    if (put_outer(skb, p, true, source) || put_outer(skb, p, false, destination))
        return drop(DROP_REWRITE_FAILED);
    account(dir, p->ip_size);
    if (dir == DIR_OUT && (at == AT_LAN || (at == AT_TAP && public_slot(cfg, destination) >= 0)))
        return next_stage(skb, STAGE_FRAGMENT, AT_HAIRPIN, DIR_IN);
    if (at != AT_TAP && at != AT_HAIRPIN)
        return TC_ACT_OK;
    if (dir == DIR_IN && at == AT_TAP && destination == p->destination) /* for the gateway itself */
        return receive_at_wan(skb, cfg);
    struct next_hop next = {};
    if (route_packet(skb, p, dir == DIR_OUT ? p->source : source, destination, dir == DIR_OUT ? cfg->lan[0] : cfg->wan,
                     &next) != ROUTE_FORWARD)
        return drop(DROP_NO_ROUTE);
    if (dir == DIR_IN && !is_lan(cfg, next.ifindex)) /* as its head: see leave_in */
        return at == AT_TAP ? receive_at_wan(skb, cfg) : drop(DROP_NO_ROUTE);
    if (p->ttl > 1 && put_ttl(skb, p, p->ttl - 1))
        return drop(DROP_REWRITE_FAILED);
    return redirect_to(skb, cfg, p, &next);
}

#endif
