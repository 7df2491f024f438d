/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * new6.h: the first packet of an IPv6 session, from inside and from outside: who may begin one (RFC 6092). As new_out.h and
 * new_in.h, but that nobody needs a public port.
 *
 * The law of this file: an address gets a handle only once it is known that its packet may begin a session. From outside an
 * expectation comes before allow_in, and that before the filtering profile and IPsec.
 */
#ifndef ALGATE_NEW6_H
#define ALGATE_NEW6_H

static __always_inline u8 watched_by(u8 proto, __be16 port)
{
    struct service_key service = {.port = port, .proto = proto};
    u32 *alg = alg_ports.lookup(&service);
    return alg ? *alg : 0;
}

/* Makes the session, known to be allowed: on the entry of a former one, or a new one. 0, or the drop reason. */
static __always_inline u32 begin_six(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                     const struct session_key *key, struct origin *o, u8 leaves, u32 now)
{
    struct session *old = sessions.lookup((struct session_key *)key);
    o->index = EXEMPT_ROW;
    if (old)
        return session_revive(skb, cfg, old, key, p, o, now);
    struct host *h = cfg->share_own || cfg->max_unanswered_per_host ? host_made(key->inside_ip) : 0;
    if (h && o->dir == DIR_OUT && p->proto == IPPROTO_TCP && cfg->max_unanswered_per_host &&
        (s32)h->unanswered >= (s32)cfg->max_unanswered_per_host)
        return DROP_HOST_UNANSWERED;
    if (h && sessions_spent(cfg, h))
        return DROP_SHARE_SESSIONS;
    if (p->proto != IPPROTO_TCP && p->proto != IPPROTO_UDP && p->proto != IPPROTO_ICMP)
        count(COUNT_OTHER_PROTOCOLS, 1);
    o->leaves = leaves;
    return session_create(skb, cfg, key, p, o, now);
}

/* On to the program that makes the session that this packet may begin: here it would be more than the verifier follows. */
static __always_inline int next_make(struct __sk_buff *skb, const struct claim *c, const struct origin *o, int at)
{
    u32 zero = 0;
    struct scratch6 *room = scratch6.lookup(&zero);
    if (!room)
        return drop(DROP_RACE);
    room->claimed = c->key;
    room->expectation = c->id;
    room->related = o->related;
    room->alg = o->alg;
    room->flags = o->flags;
    return next_stage(skb, STAGE_MAKE, at, o->dir);
}

/* The first packet is refused: so is what was claimed for it. */
static __always_inline int make_refused(struct __sk_buff *skb, const struct session_key *key, struct claim *c,
                                        u32 reason, int at, bool in)
{
    expectation_settle(skb, key, c, reason);
    return in ? drop(reason) : refuse_new(skb, reason, at);
}

/* Asks for the handles of both ends, for the program that makes the session. */
static __always_inline int make_ends(struct __sk_buff *skb, int at, bool in)
{
    struct packet p = {};
    struct session_key none = {};
    u32 zero = 0;
    struct config *cfg = parse_flow(skb, at, &p, true);
    struct scratch6 *room = scratch6.lookup(&zero);
    if (!cfg || !room)
        return drop(DROP_MALFORMED);
    u32 reason = intern_ends(skb, &p, at, in, p.tick);
    struct claim c = {.key = room->claimed, .id = room->expectation};
    if (reason)
        return make_refused(skb, &none, &c, reason, at, in);
    return next_stage_told(skb, STAGE_MAKE, at, in, 1);
}

static __always_inline int make_six(struct __sk_buff *skb, int at, bool in)
{
    struct packet p = {};
    struct session_key key;
    u32 zero = 0, now = now_tick();
    struct config *cfg = parse_flow(skb, at, &p, true);
    struct scratch6 *room = scratch6.lookup(&zero);
    if (!cfg || !room)
        return drop(DROP_MALFORMED);
    room->leaves = !(in | room->alg | p.fragment);
    struct origin o = {.dir = in, .related = room->related, .alg = room->alg, .flags = room->flags};
    struct claim c = {.key = room->claimed, .id = room->expectation};
    if (!ends_stay(&p) && !skb->cb[2])
        return next_stage(skb, STAGE_ENDS, at, in);
    if (in)
        key_in(&key, &p, p.destination, p.destination_port);
    else
        key_out(&key, &p);
    u32 reason = p.source && p.destination ? begin_six(skb, cfg, &p, &key, &o, room->leaves, now) : DROP_RACE;
    if (reason)
        return make_refused(skb, &key, &c, reason, at, in);
    expectation_settle(skb, &key, &c, 0);
    u32 stage = o.leaves ? STAGE_FRESH : p.fragment ? STAGE_FRAGMENT : o.alg ? STAGE_WEIGH : STAGE_JUDGE;
    return next_made(skb, cfg, &key, o.related, false, at, in, stage);
}

/* Whether the FIB said so much of this pair a moment ago that `way` has nothing to ask. */
static __always_inline bool knows_way(struct __sk_buff *skb, const struct config *cfg, const struct packet *p, int at)
{
    return at == AT_TAP || (at == AT_LAN && can_skip_stack(skb, p) && kept_outward(skb, cfg, p));
}

static __always_inline int way_out(struct __sk_buff *skb, const struct config *cfg, const struct packet *p, int at)
{
    struct next_hop next = {};
    bool outward = at != AT_LAN || way_of(skb, p, skb->ingress_ifindex, false) == cfg->wan;
    if (at != AT_TAP && outward && !source_is_routed(skb, p, cfg->wan, skb->ingress_ifindex))
        return drop(source_scope(skb, p) == SCOPE_GLOBAL ? DROP_SPOOFED_INSIDE : DROP_LINK_SCOPE);
    if (at == AT_LAN && (!can_skip_stack(skb, p) || !goes_to_wan(skb, cfg, p, skb->ingress_ifindex, &next)))
        return pass_on(skb, at);
    return next_stage(skb, STAGE_NEW_OUT, at, DIR_OUT);
}

/* Where a first packet goes, and whether its source may be what it says. A program of its own, for the verifier's sake. */
static __always_inline int way(struct __sk_buff *skb, int at, bool in)
{
    struct packet p = {};
    struct config *cfg = parse_flow(skb, at, &p, true);
    if (!cfg)
        return drop(DROP_MALFORMED);
    if (!in)
        return way_out(skb, cfg, &p, at);
    if (!to_inside(skb, cfg, &p)) /* the gateway's own, or another network's that is routed through this host */
        return TC_ACT_OK;
    if (at != AT_TAP && !source_is_routed(skb, &p, cfg->lan[0], cfg->wan))
        return drop(source_scope(skb, &p) == SCOPE_GLOBAL ? DROP_SPOOFED_OUTSIDE : DROP_LINK_SCOPE);
    return next_stage(skb, STAGE_NEW_IN, at, DIR_IN);
}

static __always_inline int new_out(struct __sk_buff *skb, int at)
{
    struct packet p = {};
    struct config *cfg = parse_flow(skb, at, &p, true);
    if (!cfg)
        return drop(DROP_MALFORMED);
    u32 now = now_tick();
    if (!begins_session(&p))
        return refuse_new(skb, DROP_NO_SESSION, at);
    struct origin o = {.dir = DIR_OUT};
    struct claim c = claim_of(&p, DIR_OUT);
    u32 reason = p.source && p.destination ? expectation_take(skb, cfg, &p, &c, now) : DROP_EXPECT_PEER;
    if (reason == DROP_EXPECT_PENDING)
        return drop(reason);
    struct service_key service = {.port = p.destination_port, .proto = p.proto};
    if (reason && cfg->flags & CONFIG_ALLOW_LIST && !allow_out.lookup(&service)) {
        c.key.to_port = 0; /* a range counts only for what may not leave otherwise */
        if (!p.source || expectation_take(skb, cfg, &p, &c, now))
            return refuse_new(skb, DROP_ALLOW_OUT, at);
    }
    if (c.id) {
        o.flags = SESSION_EXPECTED;
        o.related = c.control_id;
    } else {
        o.alg = watched_by(p.proto, p.destination_port);
    }
    return next_make(skb, &c, &o, at);
}

/* Whether [[allow_in]] admits it. */
static __always_inline bool allowed_in(struct __sk_buff *skb, const struct packet *p)
{
    struct admission_key key = {.port = p->destination_port, .proto = p->proto};
    struct admission_source_key from = {.prefix_len = 160};
    if (!key.port || bpf_skb_load_bytes(skb, ip_at(p) + 24, key.to, sizeof(key.to)))
        return false; /* port 0 stands for the host: ADMISSION_HOST */
    struct admission *a = allow_in.lookup(&key);
    if (!a)
        return false;
    if (a->flags & ADMISSION_SOURCES) {
        from.id = a->id;
        if (bpf_skb_load_bytes(skb, ip_at(p) + 8, from.address, sizeof(from.address)) ||
            !allow_in_sources.lookup(&from))
            return false;
    }
    a->hits += 1;
    return true;
}

static __always_inline bool speaks(const struct config *cfg, const struct packet *p, u8 proto, u16 port, u32 now)
{
    struct session_key key = {.inside_ip = p->destination,
                              .remote_ip = p->source,
                              .inside_port = bpf_htons(port),
                              .remote_port = bpf_htons(port),
                              .proto = proto};
    struct session *s = sessions.lookup(&key);
    return s && session_alive(cfg, s, proto, now);
}

/* Whether it is IPsec, and [ipv6] ipsec admits it: ESP, AH and IKE (RFC 6092 REC-21 to REC-24). */
static __always_inline bool ipsec_admits(const struct config *cfg, const struct packet *p, u32 now)
{
    struct config6 *six = get_config6();
    u16 port = bpf_ntohs(p->destination_port);
    bool ike = p->proto == IPPROTO_UDP && (port == 500 || port == 4500);
    if (!six || (!ike && p->proto != IPPROTO_ESP && p->proto != IPPROTO_AH))
        return false;
    if (six->flags & SIX_IPSEC_ANY)
        return true;
    if (!(six->flags & SIX_IPSEC_SPOKEN) || !p->source || !p->destination)
        return false;
    return speaks(cfg, p, IPPROTO_UDP, 500, now) || speaks(cfg, p, IPPROTO_UDP, 4500, now) ||
           speaks(cfg, p, IPPROTO_ESP, 0, now) || speaks(cfg, p, IPPROTO_AH, 0, now);
}

/* Whether it may begin a session: 0 with what kind of one in `o`, or the drop reason. */
static __always_inline u32 admit_in(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                    const struct session_key *key, struct claim *c, struct origin *o, u32 now)
{
    bool known = p->source && p->destination;
    struct session *old = known ? sessions.lookup((struct session_key *)key) : 0;
    u32 reason = p->destination ? expectation_take(skb, cfg, p, c, now) : DROP_EXPECT_PEER;
    if (reason == DROP_EXPECT_PEER && p->destination) {
        c->key.from = 0;
        reason = expectation_take(skb, cfg, p, c, now);
    }
    if (!reason) {
        o->flags = SESSION_EXPECTED;
        o->related = c->control_id;
        return 0;
    }
    if (reason == DROP_EXPECT_PENDING)
        return reason;
    /* What an expectation admitted once can't begin again without another one. */
    if (old && session_alive(cfg, old, p->proto, now) && !(old->flags & SESSION_EXPECTED)) {
        o->flags = old->flags & ~SESSION_PEER;
        o->alg = old->alg;
        return 0;
    }
    if (allowed_in(skb, p)) {
        o->flags = SESSION_FORWARD;
        o->alg = watched_by(p->proto, p->destination_port);
        return 0;
    }
    if (p->proto != IPPROTO_ICMP && p->destination && peer_admits(cfg, key))
        return 0;
    if (ipsec_admits(cfg, p, now))
        return 0;
    return reason == DROP_EXPECT_SPENT ? reason : DROP_UNSOLICITED;
}

static __always_inline int new_in(struct __sk_buff *skb, int at)
{
    struct packet p = {};
    struct session_key key;
    struct config *cfg = parse_flow(skb, at, &p, true);
    if (!cfg)
        return drop(DROP_MALFORMED);
    u32 now = now_tick();
    if (!begins_session(&p))
        return drop(DROP_NO_SESSION);
    struct origin o = {.dir = DIR_IN};
    struct claim c = claim_of(&p, DIR_IN);
    key_in(&key, &p, p.destination, p.destination_port);
    u32 reason = admit_in(skb, cfg, &p, &key, &c, &o, now);
    return reason ? drop(reason) : next_make(skb, &c, &o, at);
}

#endif
