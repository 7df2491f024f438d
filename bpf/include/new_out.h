/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * new_out.h: the first packet of a session from inside: who may begin one, through which public port.
 *
 * The law of this file: every refusal has its reason, and the sender is told of what is refused for lack of room or
 * permission. A packet that the shortcut can't carry is left to the stack and judged at WAN egress.
 */
#ifndef ALGATE_NEW_OUT_H
#define ALGATE_NEW_OUT_H

static __always_inline u8 watched_by(u8 proto, __be16 port)
{
    struct service_key service = {.port = port, .proto = proto};
    u32 *alg = alg_ports.lookup(&service);
    return alg ? *alg : 0;
}

/* Destinations that are reached untranslated: not by an IPv6 host, which has no address that they could answer to. */
static __always_inline bool is_exempt(__be32 destination)
{
    struct exempt_key key = {.prefix_len = 32, .address = destination};
    return exempt.lookup(&key) != 0;
}

/* The gateway's own traffic from a public address claims its port, so that no inside host is given it. On a clash the
 * newcomer is translated like an inside host: returns true for "goes on to be translated". */
static __always_inline bool local_needs_port(const struct packet *p, u32 address, u32 now)
{
    u32 index = port_index(address, p->proto, bpf_ntohs(p->source_port));
    struct port_slot *slot = ports.lookup(&index);
    if (!slot)
        return false;
    u64 claim = port_owner(p->source, p->source_port, PORT_LOCAL);
    u64 owner = slot->owner;
    if (!owner)
        owner = __sync_val_compare_and_swap(&slot->owner, 0, claim);
    if (!owner || owner == claim) {
        if (!slot->sessions)
            slot->sessions = 1;
        slot->stamp = now;
        return false;
    }
    return begins_session(p);
}

/* What the stack says in the midst of a session that is an inside host's: it has seen a packet that WAN ingress should have
 * translated, while the filter there was away. Its RST would end the session. */
static __always_inline bool answers_for_another(const struct config *cfg, const struct packet *p)
{
    struct packet back = {
        .proto = p->proto,
        .source = p->destination,
        .destination = p->source,
        .source_port = p->destination_port,
        .destination_port = p->source_port,
    };
    struct session_key key;
    return !begins_session(p) && find_in(cfg, &back, &key);
}

#define WANTS_SHARE 0x100 /* no drop reason: STAGE_SHARE makes it */

/* Makes the session, known to be allowed: on the entry of a former one, or a new one. */
static __always_inline u32 begin_out(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                     const struct session_key *key, struct origin *o, s32 address, u32 now)
{
    struct session *old = skb->cb[4] & NEW_OLD ? sessions.lookup((struct session_key *)key) : 0;
    if (old) {
        o->index = old->port_index;
        return session_revive(skb, cfg, old, key, p, o, now);
    }
    if (skb->cb[4] & (NEW_SESSIONS_SPENT | NEW_UNANSWERED))
        return skb->cb[4] & NEW_UNANSWERED ? DROP_HOST_UNANSWERED : DROP_SHARE_SESSIONS;
    if (sharing_allowed(cfg) && !o->alg && !o->flags)
        return WANTS_SHARE;
    s64 index = o->flags & SESSION_EXEMPT ? EXEMPT_ROW : mapping_get(skb, cfg, p, address, &o->made, now);
    if (index < 0)
        return -index;
    o->index = index;
    o->leaves = !o->alg;
    u32 reason = session_create(skb, cfg, key, p, o, now);
    if (reason && o->made)
        host_port(p->source, p->proto, 1);
    if (reason)
        release_port(key, index);
    return reason;
}

static __always_inline u32 new_out_session(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                           const struct session_key *key, struct origin *o, u32 who, u32 now)
{
    struct claim c = claim_of(p, DIR_OUT);
    u32 zero = 0;
    struct scratch *room = scratch.lookup(&zero);
    if (!room)
        return DROP_RACE;
    if (who == OF_GATEWAY)
        o->flags |= SESSION_LOCAL;
    u32 reason = expectation_take(skb, cfg, p, &c, now);
    s32 address = -1;
    if (reason == DROP_EXPECT_PENDING)
        return reason;
    struct service_key service = {.port = p->destination_port, .proto = p->proto};
    bool barred =
        who == OF_OTHERS || (cfg->flags & CONFIG_ALLOW_LIST && who == OF_INSIDE && !allow_out.lookup(&service));
    if (reason && barred) { /* a range counts only for what may not leave otherwise */
        c.key.to_port = 0;
        if (expectation_take(skb, cfg, p, &c, now))
            return who == OF_INSIDE && lease_lapsed(cfg) ? DROP_NO_LEASE : DROP_ALLOW_OUT;
    }
    if (c.id) {
        o->flags |= SESSION_EXPECTED;
        o->related = c.control_id;
        address = c.port_index / PORTS_PER_ADDRESS; /* that of its control session (RFC 4787 REQ-2) */
    } else if (cfg->flags & CONFIG_EXEMPT && !turned_source(p) && is_exempt(p->destination)) {
        o->flags |= SESSION_EXEMPT;
    } else {
        o->alg = watched_by(p->proto, p->destination_port);
    }
    room->claim = c.id; /* else each case is followed through all that comes */
    room->related = o->related;
    room->address = address;
    room->flags = o->flags;
    room->alg = o->alg;
    c.id = *(volatile u64 *)&room->claim;
    o->related = *(volatile u64 *)&room->related;
    address = *(volatile s32 *)&room->address;
    o->flags = *(volatile u8 *)&room->flags;
    o->alg = *(volatile u8 *)&room->alg;
    reason = begin_out(skb, cfg, p, key, o, address, now);
    expectation_settle(skb, key, &c, reason);
    return reason;
}

static __always_inline int new_out(struct __sk_buff *skb, int at)
{
    struct packet p = {};
    struct config *cfg = parse_flow(skb, at, &p, true);
    if (!cfg)
        return drop(DROP_MALFORMED);
    u32 now = now_tick(), who = skb->cb[4] >> NEW_WHO & 3;
    bool local = who == OF_GATEWAY;
    if (who == OF_OTHERS && !begins_session(&p))
        return pass_on(skb, at);
    if (local) {
        int address = public_slot(cfg, p.source);
        if (!begins_session(&p) && (address < 0 || p.proto == IPPROTO_ICMP))
            return pass_on(skb, at);
        if (address >= 0 && !local_needs_port(&p, address, now))
            return answers_for_another(cfg, &p) ? drop(DROP_NOT_ITS_OWN) : TC_ACT_OK;
    }
    if (at != AT_WAN_OUT && hairpin_wanted(cfg, &p)) {
        if (!(cfg->flags & CONFIG_HAIRPIN))
            return drop(DROP_HAIRPIN_OFF);
    } else if (at == AT_LAN) {
        struct next_hop next = {};
        if (!can_skip_stack(skb, &p) || !goes_to_wan(skb, cfg, &p, skb->ingress_ifindex, &next))
            return pass_on(skb, at);
    }
    if (who == OF_INSIDE && !at_judged(at) && !source_is_routed(skb, &p, cfg->wan, skb->ingress_ifindex))
        return drop(DROP_SPOOFED_INSIDE);
    if (!begins_session(&p))
        return refuse_new(skb, DROP_NO_SESSION, at);
    struct session_key key;
    key_out(&key, &p);
    struct origin o = {.dir = DIR_OUT};
    u32 reason = new_out_session(skb, cfg, &p, &key, &o, who, now);
    if (reason == DROP_ALLOW_OUT && who == OF_OTHERS) /* they begin nothing here but what an ALG expects */
        return pass_on(skb, at);
    if (reason == WANTS_BLOCK || (reason == DROP_NO_PORT && cfg->port_block && !skb->cb[2]))
        stages.call(skb, STAGE_BLOCK); /* which comes back, or refuses */
    if (reason == WANTS_BLOCK)
        reason = DROP_NO_BLOCK;
    if (reason == DROP_NO_PORT && skb->cb[3] < ALLOCATE_TRIES)
        stages.call(skb, skb->cb[4] & NEW_NONE_FREE ? STAGE_FINISH : STAGE_NEW_OUT); /* the next try */
    if (reason == WANTS_SHARE)
        return next_stage(skb, STAGE_SHARE, at, DIR_OUT);
    if (reason)
        return refuse_new(skb, reason, at);
    return next_made(skb, cfg, &key, o.related, o.made, at, DIR_OUT,
                     o.leaves ? STAGE_FRESH
                     : o.alg  ? STAGE_WEIGH
                              : STAGE_JUDGE);
}

#endif
