/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * stages.h: the programs of the program array: the gate on control sessions, the ways out, fragments.
 *
 * The law of this file: a stage is a separate program, whose only input is skb->cb (see next_stage). It parses the
 * packet and looks the session up again, since no pointer survives a tail call.
 */
#ifndef ALGATE_STAGES_H
#define ALGATE_STAGES_H

/* Whether a control packet surely fits its way out, and may meet the gate at once. The FIB's kept answers do for it. Of
 * datagrams each goes to the helper, who must know the way. Where a way takes less than any host must accept (RFC 791 section 3.2), leave.h finds out. */
static __always_inline bool is_light(struct __sk_buff *skb, const struct config *cfg, const struct packet *p, int at)
{
    struct next_hop next = {};
    if (p->proto != IPPROTO_TCP || p->ip_size > LIGHT_MOST || skb->gso_size)
        return false;
    return at != AT_LAN || hairpin_wanted(cfg, p) ||
           (can_skip_stack(skb, p) && goes_to_wan(skb, cfg, p, skb->ingress_ifindex, &next));
}

/* The stage for a packet of a control session. */
static __always_inline int next_gate(struct __sk_buff *skb, const struct config *cfg, const struct packet *p, int at,
                                     u8 dir)
{
    return next_stage(skb, at == AT_TAP || is_light(skb, cfg, p, at) ? STAGE_ALG : STAGE_WEIGH, at, dir);
}

/* From the scales to the gate; the packet doesn't come back. */
static __always_inline int next_weighed(struct __sk_buff *skb, int at, u8 dir)
{
    return next_stage_told(skb, STAGE_ALG, at, dir, gate_visits(skb) ? GATE_AGAIN : GATE_WEIGHED);
}

/* Whom a control packet that is too big for its way out goes to: its sender's own cutting is asked for by the stack (to
 * inside hosts) or the helper (RFC 1191); the helper cuts what may be fragmented, and what has no sender to be told. */
static __always_inline int too_big(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                   const struct session_key *key, const struct session *s, int at, bool in, u32 now)
{
    u32 held = 0;
    bool told = cut_by_sender(skb, p) && at != AT_HAIRPIN;
    if (told)
        count(COUNT_TOO_BIG, 1);
    if (told && !in)
        return pass_on(skb, at);
    if (helper_alive(cfg, now) && punt_too_big(skb, cfg, p, key, s, in, told ? PUNT_TOO_BIG : PUNT_SEGMENT, &held))
        return drop(held);
    return next_weighed(skb, at, in);
}

/* Both ends have forgotten the connection, as after a power cut, if the outside takes a SYN of the inside for a new one's: only
 * who saw that SYN knows its number. The session is over then, and the SYN that comes again begins the next. */
static __always_inline void forget_if_both_did(const struct session_key *key, struct session *s,
                                               const struct numbers *n)
{
    struct track *t = tracks.lookup((struct session_key *)key);
    if (t && t->id == s->id && t->syn && (n->flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK) && n->ack == t->syn)
        session_move(s, session_word(s), STATE_RESET);
}

/* Follows the numbers of both streams before the gate, for what it holds is as good as sent: the receiver acknowledges it.
 * What a SYN, FIN or RST does is seen when it leaves. False: not to be let in. */
static __always_inline bool admit_segment(const struct session_key *key, struct session *s, const struct packet *p,
                                          u8 dir)
{
    struct adjust *adj = adjust_of(key, s);
    struct numbers n = numbers_of(p, dir);
    bool sound;
    if (adj)
        n.ack = unshift_ack(adj, !n.dir, p->ack);
    if (!welcome(s, &n)) {
        forget_if_both_did(key, s, &n);
        return false;
    }
    if (n.flags & (TCP_RST | TCP_SYN))
        return true;
    n.flags &= ~TCP_FIN;
    if (session_segment(s, &n, &sound) & TOUCH_ANSWERED)
        host_unanswered(key->inside_ip, -1);
    return true;
}

/* Before the gate: does a control packet fit its way out? A program of its own, for the verifier's sake. Light packets skip
 * it, but those that the helper must see, and those that may need the stack. */
static __always_inline int weigh(struct __sk_buff *skb, int at, bool in)
{
    struct packet p = {};
    struct session_key key;
    struct next_hop next = {};
    u32 zero = 0;
    int route = ROUTE_STACK;
    struct scratch *room = scratch.lookup(&zero);
    struct config *cfg = parse_flow(skb, at, &p, false);
    if (!cfg || !room)
        return drop(p.fragment ? DROP_FRAGMENT_CONTROL : DROP_MALFORMED);
    u32 now = now_tick();
    struct session *s = in ? find_in(cfg, &p, &key) : find_out(&p, &key);
    if (!s)
        return drop(DROP_RACE);
    p.control = 1;
    if (p.proto == IPPROTO_TCP && !admit_segment(&key, s, &p, in))
        return drop(DROP_OUT_OF_WINDOW);
    if (in && at != AT_TAP) {
        if (p.proto != IPPROTO_TCP || tcp_payload_size(&p))
            route = route_inside(skb, cfg, &p, key.inside_ip, &next);
    }
    if (at == AT_LAN && !hairpin_wanted(cfg, &p)) { /* what needs the stack meets the gate at WAN egress instead */
        if (!can_skip_stack(skb, &p))
            return pass_on(skb, at);
        route = route_packet(skb, &p, p.source, p.destination, skb->ingress_ifindex, &next);
        if (route != ROUTE_TOO_BIG && (route != ROUTE_FORWARD || next.ifindex != cfg->wan))
            return pass_on(skb, at);
    }
#ifdef NAT64
    if (at == AT_TURNED && !hairpin_wanted(cfg, &p)) /* that it has a way is known */
        route = route_packet(skb, &p, p.source, p.destination, skb->ingress_ifindex, &next);
#endif
    room->mtu = next.mtu;
    if (in && p.proto == IPPROTO_TCP)
        read_named(skb, &p, room);
    if (route == ROUTE_TOO_BIG)
        return too_big(skb, cfg, &p, &key, s, at, in, now);
    return next_weighed(skb, at, in);
}

/* From the gate to the way out. What moves the state is judged by the numbers that it had before the gate. */
static __always_inline int leave_gate(struct __sk_buff *skb, const struct packet *p, int at, u8 dir)
{
#ifdef NAT64
    u32 zero = 0;
    struct scratch *room = scratch.lookup(&zero);
    if (room && RETELL(room))
        return next_with(skb, STAGE_RETELL, at, dir, p->seq, 0);
#endif
    if (p->proto == IPPROTO_TCP && p->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST))
        return next_with(skb, STAGE_JUDGE, at, dir, p->seq, p->end);
    return next_with(skb, STAGE_LEAVE, at, dir, 1, 0);
}

/* The gate, and where it leads. */
static __always_inline int through_gate(struct __sk_buff *skb, const struct config *cfg, struct packet *p,
                                        const struct session_key *key, struct session *s, u8 dir, int at, u32 now)
{
    if (at != AT_TAP && p->proto == IPPROTO_TCP && !admit_segment(key, s, p, dir))
        return drop(DROP_OUT_OF_WINDOW);
    u32 refused = alg_gate(skb, cfg, p, key, s, dir, at, now);
    OPAQUE(skb); /* as in pass_on() */
    if (refused == WEIGH_FIRST)
        return next_stage_told(skb, STAGE_WEIGH, at, dir, GATE_WEIGHED);
    return refused ? drop(refused) : leave_gate(skb, p, at, dir);
}

static __always_inline int alg_out(struct __sk_buff *skb, int at)
{
    struct packet p = {};
    struct session_key key;
    struct config *cfg = parse_flow(skb, at, &p, false);
    if (!cfg)
        return drop(p.fragment ? DROP_FRAGMENT_CONTROL : DROP_MALFORMED);
    u32 now = now_tick();
    struct session *s = find_out(&p, &key);
    if (!s)
        return drop(DROP_RACE);
    return through_gate(skb, cfg, &p, &key, s, DIR_OUT, at, now);
}

static __always_inline int alg_in(struct __sk_buff *skb, int at)
{
    struct packet p = {};
    struct session_key key;
    struct config *cfg = parse_flow(skb, at, &p, false);
    if (!cfg)
        return drop(p.fragment ? DROP_FRAGMENT_CONTROL : DROP_MALFORMED);
    u32 now = now_tick();
    struct session *s = find_in(cfg, &p, &key);
    if (!s)
        return drop(DROP_RACE);
    return through_gate(skb, cfg, &p, &key, s, DIR_IN, at, now);
}

/* The way out of a packet whose session was made for it just now and stands in `scratch`, so that nobody looks for it: a
 * program of its own, since the one that makes sessions is as large as the verifier bears. */
static __always_inline int leave_fresh(struct __sk_buff *skb, int at)
{
    struct packet p = {};
    u32 zero = 0;
    struct scratch *room = scratch.lookup(&zero);
    struct config *cfg = parse_flow(skb, at, &p, true);
    if (!cfg || !room)
        return drop(DROP_MALFORMED);
    clamp_mss(skb, &p, mss_towards(cfg, p.source));
    return leave_out(skb, cfg, &p, &room->made.session, at, now_tick());
}

/* What a segment with more news than numbers does to its session, before it leaves: a program of its own, for the
 * verifier's sake, and so that the usual way has nothing of it. */
static __always_inline int judge(struct __sk_buff *skb, int at, bool in)
{
    struct packet p = {};
    struct session_key key;
    u32 zero = 0, seq = skb->cb[2], end = skb->cb[3], now = now_tick();
    struct scratch *room = scratch.lookup(&zero);
    OPAQUE(seq); /* else the compiler keeps the address of a member, which the verifier refuses */
    OPAQUE(end);
    struct config *cfg = parse_flow(skb, at, &p, true);
    if (!cfg || !room)
        return drop(DROP_MALFORMED);
    UNKNOWN(room) = in ? public_slot(cfg, p.destination) : 0; /* else each address is followed through all that comes */
    int address = UNKNOWN(room);
    struct session *s = !in ? find_out(&p, &key) : find_judged(cfg, &p, address, &key, now);
    if (!s)
        return drop(DROP_RACE);
    struct numbers n = numbers_of(&p, in);
    if (s->alg) {
        n.seq = seq;
        n.end = end;
    }
    bool sound = true;
    u32 touched = p.proto == IPPROTO_TCP ? session_segment(s, &n, &sound) : 0;
    if (touched & TOUCH_ENDED)
        finish_note(s, &key);
    if (touched & TOUCH_ANSWERED)
        host_unanswered(key.inside_ip, -1);
    if (address >= 0)
        return next_with(skb, begin_wanted(s, n.flags) ? STAGE_BEGIN : STAGE_LEAVE, at, in, sound, 0);
    p.sound = sound;
    session_touch(s, &p, DIR_IN, now);
    return TC_ACT_OK;
}

/* The way out of a packet whose session is known to exist: after the gate, or judged. */
static __always_inline int leave(struct __sk_buff *skb, int at, bool in)
{
    struct packet p = {};
    struct session_key key;
    struct config *cfg = parse_flow(skb, at, &p, true);
    if (!cfg)
        return drop(DROP_MALFORMED);
    u32 now = now_tick();
    struct session *s = in ? find_in(cfg, &p, &key) : find_out(&p, &key);
    if (!s)
        return drop(DROP_RACE);
    p.sound = skb->cb[2] != 0;
    p.control = s->alg && p.ip_size > LIGHT_MOST;
    if (!(s->flags & SESSION_EXEMPT))
        clamp_mss(skb, &p, mss_towards(cfg, key.inside_ip));
#ifdef NAT64
    bool usual = in & !p.control & !p.fragment & (at != AT_HAIRPIN);
    int turned = usual && is_turned(key.inside_ip) ? turn_in_kept(skb, cfg, &p, s, &key, now) : -1;
    if (turned >= 0)
        return turned;
#endif
    return in ? leave_in(skb, cfg, &p, s, &key, at, now) : leave_out(skb, cfg, &p, s, at, now);
}

#endif
