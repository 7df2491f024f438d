/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * leave.h: the ways out of a packet whose session is known: to the WAN, to the LAN, to another inside host, to the stack.
 *
 * The law of this file: what comes here has passed every gate. The next hop is asked for before anything is written. What
 * needs the stack instead goes there untranslated on its way out, since it comes back at WAN egress, and translated on
 * its way in, where its destination is one that the stack can route to.
 */
#ifndef ALGATE_LEAVE_H
#define ALGATE_LEAVE_H

/* Exchanges an end point of the packet and accounts it. What the head of a fragmented one became is kept for its tails.
 * False if the kernel refused. */
static __always_inline bool translate(struct __sk_buff *skb, const struct packet *p, struct session *s, u8 dir,
                                      const struct rewrite *to, u32 now)
{
    session_touch(s, p, dir, now);
    __be16 id = p->ip_id;
    if (p->fragment)
        id = fragment_remember(p, dir, to->source ? to->ip : p->source, to->source ? p->destination : to->ip, now);
    if (rewrite_skb(skb, p, to) || (p->fragment && put_id(skb, p, id)))
        return false;
    account(dir, p->ip_size);
    return true;
}

/* The other half of a hairpin: with its public source the packet comes in as if from outside. */
static __always_inline int leave_hairpin(struct __sk_buff *skb, const struct packet *p, struct session *s, u32 now)
{
    struct rewrite to = {.ip = s->public_ip, .port = session_port(s), .source = true, .hop = false};
    if (!translate(skb, p, s, DIR_OUT, &to, now))
        return drop(DROP_REWRITE_FAILED);
    count(COUNT_HAIRPINS, 1);
    return next_stage(skb, STAGE_HAIRPIN, AT_HAIRPIN, DIR_IN);
}

/* Translates and sends out what an inside host sent. */
static __always_inline int leave_out(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                     struct session *s, int at, u32 now)
{
    struct next_hop next = {};
    bool redirect = at != AT_WAN_OUT, cut = false;
    if (redirect && (p->fragment || can_skip_stack(skb, p)) && hairpin_wanted(cfg, p))
        return leave_hairpin(skb, p, s, now);
    if (redirect) {
        u32 from = skb->ingress_ifindex;
        OPAQUE(from);
        if (at == AT_TAP)
            from = cfg->lan[0];
        if (at != AT_TAP && !at_turned(at) && !can_skip_stack(skb, p))
            return s->alg ? drop(DROP_NO_ROUTE) : to_stack(skb, at); /* behind the gate it may be another segment */
        int route = route_packet(skb, p, p->source, p->destination, from, &next);
        cut = leaves_cut(at, route) && !s->alg;
        if (!cut && (route != ROUTE_FORWARD || next.ifindex != cfg->wan)) {
            if (at == AT_TAP || (s->alg && route == ROUTE_TOO_BIG))
                return unsent(skb, p, s->id, DIR_OUT, route, next.mtu);
            return s->alg ? drop(DROP_NO_ROUTE) : to_stack(skb, at);
        }
    }
    if (s->flags & SESSION_EXEMPT) { /* by the stack, untranslated, both ways */
        if (redirect)
            return to_stack(skb, at);
        session_touch(s, p, DIR_OUT, now);
        return TC_ACT_OK;
    }
    struct rewrite to = {.ip = s->public_ip, .port = session_port(s), .source = true, .hop = redirect && p->ttl > 1};
    if (!translate(skb, p, s, DIR_OUT, &to, now))
        return drop(DROP_REWRITE_FAILED);
#ifdef NAT64
    if (cut)
        return next_stage(skb, STAGE_CUT4, at, DIR_OUT);
#endif
    return redirect ? redirect_kept(skb, cfg, p, &next) : TC_ACT_OK;
}

#ifdef NAT64
/* To an IPv6 host: accounted here, changed and sent where it is turned. */
static __always_inline int leave_turned(struct __sk_buff *skb, const struct packet *p, struct session *s,
                                        const struct session_key *key, int at, u32 now)
{
    if (p->fragment && (p->proto == IPPROTO_ICMP || (p->proto == IPPROTO_UDP && !p->sum)))
        return drop(DROP_NAT64_SUM); /* here, so that no tail follows it */
    session_touch(s, p, DIR_IN, now);
    if (p->fragment)
        fragment_remember(p, DIR_IN, p->source, key->inside_ip, now);
    account(DIR_IN, p->ip_size);
    return next_turn(skb, STAGE_TURN_IN, at, key->inside_ip,
                     (u32)key->inside_port | TURN_PORT | (s->alg ? TURN_CONTROL : 0));
}
#endif

/* Translates and sends in what came for a session. What needs the stack goes on translated: its destination is routable.
 * So does all that is for a host behind another device than the LAN's (a container): its answers come through the stack,
 * whose conntrack must see both directions or neither. */
static __always_inline int leave_in(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                    struct session *s, const struct session_key *key, int at, u32 now)
{
    struct next_hop next = {};
    int route = ROUTE_STACK;
#ifdef NAT64
    if (is_turned(key->inside_ip))
        return leave_turned(skb, p, s, key, at, now);
#endif
    if (at == AT_TAP || at == AT_HAIRPIN || can_skip_stack(skb, p))
        route = route_packet(skb, p, p->source, key->inside_ip, cfg->wan, &next);
    bool direct = route == ROUTE_FORWARD;
    if (!direct && (at == AT_TAP || (route == ROUTE_TOO_BIG && s->alg && helper_cuts(cfg, key, s, now))))
        return unsent(skb, p, s->id, DIR_IN, route, next.mtu);
    bool lan = direct && is_lan(cfg, next.ifindex);
    if (at == AT_HAIRPIN && !lan)
        return drop(DROP_NO_ROUTE);
    direct = lan;
    struct rewrite to = {.ip = key->inside_ip, .port = key->inside_port, .source = false, .hop = direct && p->ttl > 1};
    if (!translate(skb, p, s, DIR_IN, &to, now))
        return drop(DROP_REWRITE_FAILED);
    if (direct)
        return redirect_kept(skb, cfg, p, &next);
    return at == AT_TAP ? receive_at_wan(skb, cfg) : to_stack(skb, at);
}

/* The session that a finished frame of the helper belongs to, 0: none. */
static __always_inline u64 finished_owner(const struct config *cfg, const struct packet *p, bool out)
{
    struct session_key key;
    struct packet back = {.source = p->destination,
                          .destination = p->source,
                          .source_port = p->destination_port,
                          .destination_port = p->source_port,
                          .proto = p->proto};
    struct session *s;
    if (out) {
        s = find_in(cfg, &back, &key);
    } else {
        key_in(&key, p, p->destination, p->destination_port);
        s = sessions.lookup(&key);
    }
    return s ? s->id : 0;
}

/* A finished frame of the helper: only the next hop is missing. */
static __always_inline int leave_raw(struct __sk_buff *skb, const struct config *cfg, bool out)
{
    struct packet p = {};
    struct next_hop next = {};
    int parsed = parse_skb(skb, cfg, AT_TAP, &p);
    if (parsed == PARSED_MALFORMED)
        return drop(DROP_MALFORMED);
    u32 from = out ? cfg->lan[0] : cfg->wan;
    if (!out && is_turned(p.destination))
        return next_turn(skb, parsed == PARSED_ICMP_ERROR ? STAGE_TURN_ERROR_IN : STAGE_TURN_IN, AT_TAP, p.destination,
                         TURN_CONTROL);
    p.control = 1;
    int route = route_packet(skb, &p, out ? 0 : p.source, p.destination, from, &next);
    if (route != ROUTE_FORWARD)
        return unsent(skb, &p, parsed == PARSED_FLOW ? finished_owner(cfg, &p, out) : 0, out ? DIR_OUT : DIR_IN, route,
                      next.mtu);
    if (!out && !is_lan(cfg, next.ifindex))
        return receive_at_wan(skb, cfg);
    return redirect_to(skb, cfg, &p, &next);
}

#endif
