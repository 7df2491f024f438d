/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * leave6.h: the ways out of an IPv6 packet whose session is known: the names of leave.h. Nothing of it changes but the hop
 * limit, and that only if the gateway forwards it past the stack.
 *
 * The law of this file: what comes here has passed every gate. A packet that needs the stack is accounted where it leaves:
 * outbound at WAN egress, inbound here.
 */
#ifndef ALGATE_LEAVE6_H
#define ALGATE_LEAVE6_H

static __always_inline void leave_touch(const struct packet *p, struct session *s, u8 dir, u32 now)
{
    session_touch(s, p, dir, now);
    account(dir, p->ip_size);
}

/* Past the stack: one hop less. */
static __always_inline int leave_direct(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                        const struct next_hop *next)
{
    if (put_hops(skb, p, p->ttl - 1))
        return drop(DROP_REWRITE_FAILED);
    return redirect_to(skb, cfg, p, next);
}

/* Sends out what an inside host sent. */
static __always_inline int leave_out(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                     struct session *s, int at, u32 now)
{
    struct next_hop next = {};
    if (at == AT_WAN_OUT) {
        leave_touch(p, s, DIR_OUT, now);
        return TC_ACT_OK;
    }
    u32 from = skb->ingress_ifindex;
    OPAQUE(from);
    if (at == AT_TAP)
        from = cfg->lan[0];
    else if (!can_skip_stack(skb, p))
        return s->alg ? drop(DROP_NO_ROUTE) : to_stack(skb, at); /* behind the gate it may be another segment */
    int route = route_packet(skb, p, p->source, p->destination, from, &next);
    if (route != ROUTE_FORWARD || next.ifindex != cfg->wan) {
        if (at == AT_TAP || (s->alg && route == ROUTE_TOO_BIG))
            return unsent(skb, p, s->id, DIR_OUT, route, next.mtu);
        return s->alg ? drop(DROP_NO_ROUTE) : to_stack(skb, at);
    }
    leave_touch(p, s, DIR_OUT, now);
    return leave_direct(skb, cfg, p, &next);
}

/* Sends in what came for a session. */
static __always_inline int leave_in(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                    struct session *s, const struct session_key *key, int at, u32 now)
{
    struct next_hop next = {};
    int route = ROUTE_STACK;
    if (at == AT_TAP || can_skip_stack(skb, p))
        route = route_packet(skb, p, p->source, p->destination, cfg->wan, &next);
    bool direct = route == ROUTE_FORWARD && is_lan(cfg, next.ifindex);
    if (!direct && (at == AT_TAP || (route == ROUTE_TOO_BIG && s->alg && helper_cuts(cfg, key, s, now))))
        return unsent(skb, p, s->id, DIR_IN, route, next.mtu);
    leave_touch(p, s, DIR_IN, now);
    return direct ? leave_direct(skb, cfg, p, &next) : to_stack(skb, at);
}

/* A finished frame of the helper: only the next hop is missing. */
static __always_inline int leave_raw(struct __sk_buff *skb, const struct config *cfg, bool out)
{
    struct packet p = {};
    struct next_hop next = {};
    struct session_key key;
    int parsed = parse_skb(skb, cfg, AT_TAP, &p);
    if (parsed == PARSED_MALFORMED)
        return drop(DROP_MALFORMED);
    p.control = 1;
    int route = route_packet(skb, &p, p.source, p.destination, out ? cfg->lan[0] : cfg->wan, &next);
    if (route != ROUTE_FORWARD) {
        struct session *s = parsed != PARSED_FLOW ? 0 : out ? find_out(&p, &key) : find_in(cfg, &p, &key);
        return unsent(skb, &p, s ? s->id : 0, out ? DIR_OUT : DIR_IN, route, next.mtu);
    }
    if (!out && !is_lan(cfg, next.ifindex))
        return receive_at_wan(skb, cfg);
    return redirect_to(skb, cfg, &p, &next);
}

#endif
