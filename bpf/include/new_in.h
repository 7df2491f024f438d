/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * new_in.h: the first packet of a session from outside: through a forward, an expectation or, by the filtering
 * profile, a mapping. What nobody inside wants may be for the gateway itself.
 *
 * The law of this file: a forward comes before an expectation, and that before the filtering profile. A port that is reserved
 * admits its peer alone.
 */
#ifndef ALGATE_NEW_IN_H
#define ALGATE_NEW_IN_H

static __always_inline bool forward_admits(u32 id, __be32 source)
{
    struct forward *f = forwards.lookup(&id);
    if (!f || !(f->flags & FORWARD_USED))
        return false;
    if (f->flags & FORWARD_SOURCES) {
        struct forward_source_key key = {.prefix_len = 64, .forward_id = id, .address = source};
        if (!forward_sources.lookup(&key))
            return false;
    }
    f->hits += 1;
    return true;
}

/* Whether somebody may begin a session through an inside host's mapping: the filtering of RFC 4787 section 5. */
static __always_inline bool filter_admits(const struct config *cfg, const struct session_key *key)
{
    return cfg->flags & CONFIG_FILTER_EIF || (cfg->flags & CONFIG_FILTER_ADF && peer_known(key));
}

/* Nobody inside wants it: the gateway's own sockets may. A SYN to a port that nobody owns meets silence, not a RST. */
static __always_inline int for_gateway(struct __sk_buff *skb, const struct packet *p, u8 kind)
{
    if (kind != PORT_LOCAL &&
        !has_socket(skb, p->proto, p->source, p->source_port, p->destination, p->destination_port))
        return drop(DROP_UNSOLICITED);
    if (p->fragment) /* the tails go where the head goes */
        fragment_remember(p, DIR_IN, p->source, p->destination, now_tick());
    return TC_ACT_OK;
}

static __always_inline u32 begin_in(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                    const struct session_key *key, struct port_slot *slot, const struct origin *o,
                                    u32 now)
{
    struct session *old = sessions.lookup((struct session_key *)key);
    if (old && old->port_index == o->index)
        return session_revive(skb, cfg, old, key, p, o, now);
    if (owner_kind(slot->owner) == PORT_SHARED) /* its share goes, or went, with the session that made it */
        return DROP_RACE;
    if (old && !session_discard(skb, cfg, old, key, p, now))
        return DROP_RACE;
    struct host *h = cfg->share_own ? host_made(key->inside_ip) : 0;
    if (h && sessions_spent(cfg, h))
        return DROP_SHARE_SESSIONS;
    if (!port_get(slot))
        return DROP_RACE;
    u32 reason = session_create(skb, cfg, key, p, o, now);
    if (reason)
        port_put(o->index, slot, p->proto);
    return reason;
}

/* Whether an expectation, or else the filtering profile, admits it: on a port reserved for it, or on the mapping of the
 * control session itself. 0 or the drop reason. */
static __always_inline u32 admit_in(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                    const struct session_key *key, const struct port_slot *slot, struct claim *c,
                                    u32 now)
{
    u8 kind = owner_kind(slot->owner);
    if (kind == PORT_RESERVED && slot->block)
        c->key.to_port = bpf_htons(slot->block);
    u32 reason = expectation_take(skb, cfg, p, c, now);
    if (reason == DROP_EXPECT_PEER) {
        c->key.from = 0;
        reason = expectation_take(skb, cfg, p, c, now);
    }
    if (!reason || kind == PORT_RESERVED || reason == DROP_EXPECT_PENDING)
        return reason;
    if (filter_admits(cfg, key))
        return 0;
    return reason == DROP_EXPECT_PEER ? DROP_UNSOLICITED : reason;
}

static __always_inline u32 new_in_session(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                          const struct session_key *key, struct port_slot *slot, struct origin *o,
                                          u32 now)
{
    u32 index = o->index;
    struct claim c = claim_of(p, DIR_IN);
    u8 kind = owner_kind(slot->owner);
    struct session *old = sessions.lookup((struct session_key *)key);
    /* What an expectation admitted once can't begin again without another one. */
    bool reopens =
        old && old->port_index == index && session_alive(cfg, old, p->proto, now) && !(old->flags & SESSION_EXPECTED);
    if (kind == PORT_FORWARD) {
        u32 id = slot->forward_id;
        if (!forward_admits(id, p->source))
            return DROP_FORWARD_SOURCE;
        struct forward *f = forwards.lookup(&id);
        o->alg = f ? f->alg : 0;
        o->flags |= SESSION_FORWARD;
    } else if (reopens && kind != PORT_RESERVED) {
        o->flags = old->flags;
        o->alg = old->alg;
    } else {
        u32 refused = admit_in(skb, cfg, p, key, slot, &c, now);
        if (refused)
            return refused;
        if (c.id) {
            o->flags |= SESSION_EXPECTED;
            o->related = c.control_id;
        }
    }
    u32 reason = begin_in(skb, cfg, p, key, slot, o, now);
    expectation_settle(skb, key, &c, reason);
    return reason;
}

static __always_inline int new_in(struct __sk_buff *skb, int at)
{
    struct packet p = {};
    struct config *cfg = parse_flow(skb, at, &p, true);
    int address = cfg ? public_slot(cfg, p.destination) : -1;
    if (address < 0)
        return drop(DROP_MALFORMED);
    u32 now = now_tick();
    u32 index = port_index(address, p.proto, bpf_ntohs(p.destination_port));
    struct port_slot *slot = ports.lookup(&index);
    if (!slot)
        return drop(DROP_MALFORMED);
    u64 owner = slot->owner;
    u8 kind = owner_kind(owner);
    if (!owner || kind == PORT_LOCAL)
        return for_gateway(skb, &p, kind);
    if (kind == PORT_SHARED)
        owner = owner_towards(index, p.proto, p.source, p.source_port);
    if (!owner)
        return for_gateway(skb, &p, PORT_FREE);
    if (!begins_session(&p) || p.proto == IPPROTO_ICMP)
        return kind == PORT_MAPPING || kind == PORT_HOME || kind == PORT_SHARED ? for_gateway(skb, &p, PORT_FREE)
                                                                                : drop(DROP_NO_SESSION);
    if (at != AT_HAIRPIN && at != AT_TAP &&
        (public_slot(cfg, p.source) >= 0 || !source_is_routed(skb, &p, cfg->lan[0], cfg->wan)))
        return drop(DROP_SPOOFED_OUTSIDE);
    struct session_key key;
    key_in(&key, &p, owner_ip(owner), owner_port(owner));
    if (!may_be_shown(p.source, key.inside_ip))
        return drop(DROP_NAT64_ADDRESS);
    struct origin o = {.dir = DIR_IN, .index = index};
    u32 reason = new_in_session(skb, cfg, &p, &key, slot, &o, now);
    if (reason == DROP_UNSOLICITED)
        return for_gateway(skb, &p, PORT_FREE);
    if (reason)
        return drop(reason);
    struct session *s = sessions.lookup(&key);
    if (!s)
        return drop(DROP_RACE);
    return next_made(skb, cfg, &key, o.related, kind == PORT_RESERVED, at, DIR_IN, s->alg ? STAGE_WEIGH : STAGE_JUDGE);
}

#endif
