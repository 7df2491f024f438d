/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * ways.h: what all ways out have in common, of either family: to the stack, to the next program, to the helper that its frame
 * found none.
 */
#ifndef ALGATE_WAYS_H
#define ALGATE_WAYS_H

#ifdef SIX
#define UNSENT_SAMPLE (ETH_HEADER + IP6_HEADER)
#else
#define UNSENT_SAMPLE (ETH_HEADER + 20) /* no frame is shorter: who sent it to whom */
#endif
#define LIGHT_MOST 576 /* bytes of a control packet that surely fits its way: see is_light */

/* Whether such a packet from inside would be redirected to the WAN, and to which next hop. */
static __always_inline bool goes_to_wan(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                        u32 from, struct next_hop *next)
{
    return route_packet(skb, p, p->source, p->destination, from, next) == ROUTE_FORWARD && next->ifindex == cfg->wan;
}

/* What the stack has to do. It can't take a frame of the helper or of a hairpin, whose source is our own. */
static __always_inline int to_stack(struct __sk_buff *skb, int at)
{
    if (at == AT_TAP)
        return drop(DROP_HELPER_ASTRAY);
    if (at == AT_HAIRPIN)
        return drop(DROP_NO_ROUTE);
    count(COUNT_TO_STACK, 1);
    return pass_on(skb, at);
}

/* What the helper made can't leave, its own frame or what its decision made of a segment: dropped for that reason, and
 * the helper told. `id`: of its session, 0 if nobody knows. */
static __always_inline int unsent(struct __sk_buff *skb, const struct packet *p, u64 id, u8 dir, int route, u32 mtu)
{
    u32 reason = route == ROUTE_TOO_BIG ? DROP_HELPER_TOO_BIG : DROP_NO_ROUTE;
    struct punt *m = new_punt(PUNT_UNSENT);
    if (!m)
        return drop(reason);
    m->id = id;
    m->dir = dir;
    m->seq = reason;
    m->mtu = mtu;
    m->ip_offset = ip_at(p);
    m->frame_size = UNSENT_SAMPLE;
    punts.perf_submit_skb(skb, UNSENT_SAMPLE, m, sizeof(*m));
    return drop(reason);
}

/* Whether the helper would send in smaller ones what is too big of this session. Else the stack does what it can. */
static __always_inline bool helper_cuts(const struct config *cfg, const struct session_key *key,
                                        const struct session *s, u32 now)
{
    struct track *t = tracks.lookup((struct session_key *)key);
    return t && t->id == s->id && !(t->flags & TRACK_UNTOUCHABLE) && helper_alive(cfg, now);
}

/* Continues with two words for the next program. */
static __always_inline int next_with(struct __sk_buff *skb, u32 stage, int at, u8 dir, u32 first, u32 second)
{
    skb->cb[0] = at;
    skb->cb[1] = dir;
    skb->cb[2] = first;
    skb->cb[3] = second;
    stages.call(skb, stage + FAMILY_STAGES);
    return drop(DROP_REWRITE_FAILED);
}

/* Of a data session, when the SYN that answers was judged. */
static __always_inline int begin(struct __sk_buff *skb, int at, bool in)
{
    struct packet p = {};
    struct session_key key;
    struct config *cfg = parse_flow(skb, at, &p, true);
    struct session *s = !cfg ? 0 : in ? find_in(cfg, &p, &key) : find_out(&p, &key);
    if (s)
        begin_note(s, p.seq, in);
    return next_with(skb, STAGE_LEAVE, at, in, skb->cb[2], 0);
}

#endif
