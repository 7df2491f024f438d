/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * create.h: the first packet of a session: who may begin one, through which public port.
 *
 * The race: two CPUs may see first packets of one 5-tuple at once. Create-if-absent on `sessions` decides; the loser
 * gives its port reference back and drops its packet (reason `race`), whose repetition meets the winner's session.
 */
#ifndef ALGATE_CREATE_H
#define ALGATE_CREATE_H

/* What a session is made of besides its key. */
struct origin {
    u64 related;
    u32 index; /* row of `ports` */
    u8 alg;
    u8 flags;
    u8 dir;
};

static __always_inline bool begins_session(const struct packet *p) {
    if (p->proto == IPPROTO_TCP)
        return (p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
    return p->proto != IPPROTO_ICMP || p->icmp_type == 8;
}

static __always_inline void session_init(const struct config *cfg, struct session *s, const struct packet *p,
                                         const struct origin *o, u32 now) {
    s->id = new_id();
    s->related = o->related;
    s->packets[0] = s->packets[1] = s->bytes[0] = s->bytes[1] = 0;
    s->last_seen = now;
    s->port_index = o->index;
    s->public_ip = cfg->public_ip[(o->index / PORTS_PER_ADDRESS) & (MAX_PUBLIC - 1)];
    s->public_port = bpf_htons(o->index & 0xffff);
    s->alg = o->alg;
    s->flags = o->flags;
    s->state = STATE_UNREPLIED;
    if (p->proto == IPPROTO_TCP)
        s->state = STATE_NEW | (o->dir == DIR_OUT ? BIT_SYN_OUT : BIT_SYN_IN);
}

/* A control session needs its record before its first segment meets the gate, and the helper hears of it. */
static __always_inline void begin_watching(struct __sk_buff *skb, const struct session_key *key, const struct session *s,
                                           u8 dir) {
    struct track t = {.id = s->id};
    t.window_scale[0] = t.window_scale[1] = 255;
    t.mss[0] = t.mss[1] = 536;
    adjusts.delete((struct session_key *)key);
    tracks.update((struct session_key *)key, &t);
    struct punt m = {};
    fill_punt(&m, key, s, PUNT_OPENED);
    m.dir = dir;
    punts.perf_submit(skb, &m, sizeof(m));
}

/* Begins anew on the entry of a session that is over: its port reference goes on. Whoever moves the state wins. */
static __always_inline bool session_revive(const struct config *cfg, struct session *s, const struct packet *p,
                                           const struct origin *o, u32 now) {
    u64 word = s->state;
    if ((word & STATE_MASK) == STATE_DEAD || __sync_val_compare_and_swap(&s->state, word, STATE_DEAD) != word)
        return false;
    count(COUNT_SESSIONS_ENDED, 1);
    session_init(cfg, s, p, o, now);
    return true;
}

/* Makes the session. Returns 0, or the drop reason. The caller holds a reference on the port for it. */
static __always_inline u32 session_create(struct __sk_buff *skb, const struct config *cfg, const struct session_key *key,
                                          const struct packet *p, const struct origin *o, u32 now) {
    struct session fresh = {};
    session_init(cfg, &fresh, p, o, now);
    int rc = sessions.insert((struct session_key *)key, &fresh);
    if (rc)
        return rc == -17 ? DROP_RACE : DROP_TABLE_FULL; /* EEXIST */
    count(COUNT_SESSIONS_NEW, 1);
    if (o->alg)
        begin_watching(skb, key, &fresh, o->dir);
    return 0;
}

/* The mapping of an inside end point, made if it has none. One reference is taken. Returns the row, or -drop reason. */
static __always_inline s64 mapping_get(struct __sk_buff *skb, const struct config *cfg, const struct packet *p, u32 now) {
    struct mapping_key key = {.inside_ip = p->source, .inside_port = p->source_port, .proto = p->proto};
    bool shared = !(cfg->flags & CONFIG_MAPPING_APDM);
    struct mapping *m = shared ? mappings.lookup(&key) : 0;
    u64 owner = port_owner(p->source, p->source_port, PORT_MAPPING);
    if (m) {
        u32 index = m->port_index;
        struct port_slot *slot = ports.lookup(&index);
        if (!slot || !port_get(slot))
            return -DROP_RACE;
        if (slot->owner == owner)
            return index;
        port_put(index, slot, p->proto);
        return -DROP_RACE;
    }
    u32 address = paired_address(cfg, p->source);
    s64 index = port_allocate(skb, cfg, address, p->proto, bpf_ntohs(p->source_port), owner, p->destination,
                              p->destination_port, now);
    if (index < 0)
        return -DROP_NO_PORT;
    struct mapping fresh = {.port_index = index};
    if (shared && mappings.insert(&key, &fresh)) {
        u32 row = index;
        struct port_slot *slot = ports.lookup(&row);
        if (slot)
            port_unclaim(slot, owner);
        return -DROP_RACE;
    }
    return index;
}

static __always_inline void release_port(u32 index, u8 proto) {
    struct port_slot *slot = ports.lookup(&index);
    if (slot)
        port_put(index, slot, proto);
}

static __always_inline u8 watched_by(u8 proto, __be16 port) {
    struct service_key service = {.port = port, .proto = proto};
    u32 *alg = alg_ports.lookup(&service);
    return alg ? *alg : 0;
}

/* The gateway's own traffic from a public address claims its port, so that no inside host is given it. On a clash the
 * newcomer is translated like an inside host: returns true for "goes on to be translated". */
static __always_inline bool local_needs_port(const struct packet *p, u32 address, u32 now) {
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

/* What an expectation says of a first packet. */
static __always_inline u32 expectation_take(struct __sk_buff *skb, const struct config *cfg, const struct expectation_key *key,
                                            u64 *id, u64 *control, u32 now) {
    struct expectation *e = expectations.lookup((struct expectation_key *)key);
    if (!e)
        return DROP_EXPECT_PEER;
    struct session_key parent = e->control_key;
    struct session *s = sessions.lookup(&parent);
    u64 state = e->state;
    if (!s || s->id != e->control_id || (s->state & STATE_MASK) == STATE_DEAD || (s32)(e->expires - now) <= 0)
        return DROP_EXPECT_SPENT;
    *id = e->id;
    *control = e->control_id;
    if (state == EXPECT_PENDING) {
        struct punt m = {};
        fill_punt(&m, &parent, s, PUNT_DATA_SYN);
        m.expectation_id = e->id;
        m.dir = key->dir;
        if (helper_alive(cfg, now))
            punt_frame(skb, &m);
        return DROP_EXPECT_PENDING;
    }
    if (state != EXPECT_OPEN)
        return DROP_EXPECT_SPENT;
    if (!(e->flags & EXPECT_PERSISTENT) && __sync_val_compare_and_swap(&e->state, EXPECT_OPEN, EXPECT_USED) != EXPECT_OPEN)
        return DROP_EXPECT_SPENT;
    return 0;
}

/* The connection could not be made after all: its SYN will be repeated. */
static __always_inline void expectation_return(const struct expectation_key *key) {
    struct expectation *e = expectations.lookup((struct expectation_key *)key);
    if (e)
        __sync_val_compare_and_swap(&e->state, EXPECT_USED, EXPECT_OPEN);
}

static __always_inline void tell_used(struct __sk_buff *skb, const struct session_key *key, u64 expectation, u64 control,
                                      u8 dir) {
    struct session *s = sessions.lookup((struct session_key *)key);
    if (!s)
        return;
    struct punt m = {};
    fill_punt(&m, key, s, PUNT_EXPECT_USED);
    m.expectation_id = expectation;
    m.dir = dir;
    count(COUNT_EXPECTATIONS_USED, 1);
    punts.perf_submit(skb, &m, sizeof(m));
}

/* The route to an address must leave by the device that the packet came in by (RFC 3704, strict). */
static __always_inline bool source_is_routed(struct __sk_buff *skb, const struct packet *p, u32 from, u32 expected) {
    struct next_hop back = {};
    struct packet none = {.proto = p->proto};
    if (is_martian(p->source))
        return false;
    return route_packet(skb, &none, p->destination, p->source, from, &back) == ROUTE_FORWARD && back.ifindex == expected;
}

/* The session itself, once it is known that it may begin: on the entry of a former one, or anew. */
static __always_inline u32 begin_out(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                     const struct session_key *key, struct origin *o, u32 now) {
    struct session *old = sessions.lookup((struct session_key *)key);
    if (old) {
        o->index = old->port_index;
        if (!session_revive(cfg, old, p, o, now))
            return DROP_RACE;
        count(COUNT_SESSIONS_NEW, 1);
        if (o->alg)
            begin_watching(skb, key, old, DIR_OUT);
        return 0;
    }
    s64 index = mapping_get(skb, cfg, p, now);
    if (index < 0)
        return -index;
    o->index = index;
    u32 reason = session_create(skb, cfg, key, p, o, now);
    if (reason)
        release_port(index, p->proto);
    return reason;
}

static __always_inline u32 new_out_session(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                           const struct session_key *key, int at, bool local, u32 now) {
    struct origin o = {.dir = DIR_OUT, .flags = local ? SESSION_LOCAL : 0};
    if (!(cfg->flags & CONFIG_SHORTCUT))
        o.flags |= SESSION_STACK;
    struct expectation_key wanted = {.from = p->source, .to = p->destination, .to_port = p->destination_port,
                                     .proto = p->proto, .dir = DIR_OUT};
    u64 expectation = 0;
    u32 reason = expectation_take(skb, cfg, &wanted, &expectation, &o.related, now);
    if (reason == DROP_EXPECT_PENDING)
        return reason;
    if (reason) {
        expectation = 0;
        o.related = 0;
        struct service_key service = {.port = p->destination_port, .proto = p->proto};
        if (cfg->flags & CONFIG_ALLOW_LIST && !local && !allow_out.lookup(&service))
            return DROP_ALLOW_OUT;
        o.alg = watched_by(p->proto, p->destination_port);
    } else {
        o.flags |= SESSION_EXPECTED;
    }
    reason = begin_out(skb, cfg, p, key, &o, now);
    if (expectation && reason)
        expectation_return(&wanted);
    else if (expectation)
        tell_used(skb, key, expectation, o.related, DIR_OUT);
    return reason;
}

static __always_inline int new_out(struct __sk_buff *skb, int at) {
    struct config *cfg = get_config();
    struct packet p = {};
    if (!cfg)
        return TC_ACT_OK;
    int parsed = parse_skb(skb, &p);
    if (parsed == PARSED_FRAGMENT)
        parsed = parse_head(skb, &p);
    if (parsed != PARSED_FLOW)
        return drop(DROP_MALFORMED);
    u32 now = now_tick();
    bool local = at == AT_WAN_OUT && skb->ingress_ifindex == 0;
    if (local) {
        int address = public_slot(cfg, p.source);
        if (!begins_session(&p) && (address < 0 || p.proto == IPPROTO_ICMP))
            return TC_ACT_OK;
        if (address >= 0 && !local_needs_port(&p, address, now))
            return TC_ACT_OK;
    }
    if (at == AT_LAN) {
        struct next_hop next;
        if (!can_skip_stack(skb, &p) ||
            route_packet(skb, &p, p.source, p.destination, skb->ingress_ifindex, &next) != ROUTE_FORWARD ||
            next.ifindex != cfg->wan || !(cfg->flags & CONFIG_SHORTCUT))
            return TC_ACT_OK;
    }
    if (!begins_session(&p))
        return drop(DROP_NO_SESSION);
    if (!local && at != AT_TAP && !source_is_routed(skb, &p, cfg->wan, skb->ingress_ifindex))
        return drop(DROP_SPOOFED_INSIDE);
    struct session_key key;
    key_out(&key, &p);
    u32 reason = new_out_session(skb, cfg, &p, &key, at, local, now);
    if (reason)
        return drop(reason);
    struct session *s = sessions.lookup(&key);
    if (!s)
        return drop(DROP_RACE);
    if (s->alg)
        return next_stage(skb, STAGE_ALG, at, DIR_OUT);
    return leave_out(skb, cfg, &p, s, at, now);
}

static __always_inline bool forward_admits(u32 id, __be32 source) {
    struct forward *f = forwards.lookup(&id);
    if (!f)
        return false;
    if (f->flags & FORWARD_SOURCES) {
        struct forward_source_key key = {.prefix_len = 64, .forward_id = id, .address = source};
        if (!forward_sources.lookup(&key))
            return false;
    }
    f->hits += 1;
    return true;
}

/* Nobody inside wants it: the gateway's own sockets may. A SYN to a port that nobody owns meets silence, not a RST. */
static __always_inline int for_gateway(struct __sk_buff *skb, const struct packet *p, u8 kind) {
    if (kind == PORT_LOCAL)
        return TC_ACT_OK;
    if (has_socket(skb, p->proto, p->source, p->source_port, p->destination, p->destination_port))
        return TC_ACT_OK;
    return drop(DROP_UNSOLICITED);
}

/* Ends a session that is over or ending, whose 5-tuple comes again through another public port (a data connection from
 * the same two ports). Whoever moves the state wins. */
static __always_inline bool session_discard(const struct config *cfg, struct session *s, const struct session_key *key,
                                            const struct packet *p, u32 now) {
    u64 word = s->state;
    u32 index = s->port_index;
    if (session_alive(cfg, s, p->proto, now) && !(p->proto == IPPROTO_TCP && tcp_reopens(word, p->tcp_flags)))
        return false;
    if ((word & STATE_MASK) == STATE_DEAD || __sync_val_compare_and_swap(&s->state, word, STATE_DEAD) != word)
        return false;
    sessions.delete((struct session_key *)key);
    release_port(index, p->proto);
    count(COUNT_SESSIONS_ENDED, 1);
    return true;
}

static __always_inline u32 begin_in(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                    const struct session_key *key, struct port_slot *slot, const struct origin *o, u32 now) {
    struct session *old = sessions.lookup((struct session_key *)key);
    if (old && old->port_index == o->index) {
        if (!session_revive(cfg, old, p, o, now))
            return DROP_RACE;
        count(COUNT_SESSIONS_NEW, 1);
        if (o->alg)
            begin_watching(skb, key, old, DIR_IN);
        return 0;
    }
    if (old && !session_discard(cfg, old, key, p, now))
        return DROP_RACE;
    if (!port_get(slot))
        return DROP_RACE;
    u32 reason = session_create(skb, cfg, key, p, o, now);
    if (reason)
        port_put(o->index, slot, p->proto);
    return reason;
}

static __always_inline u32 new_in_session(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                          const struct session_key *key, struct port_slot *slot, u32 index, u32 now) {
    struct origin o = {.dir = DIR_IN, .index = index};
    u8 kind = owner_kind(slot->owner);
    struct session *old = sessions.lookup((struct session_key *)key);
    struct expectation_key wanted = {.from = p->source, .to = p->destination, .to_port = p->destination_port,
                                     .proto = p->proto, .dir = DIR_IN};
    bool reopens = old && old->port_index == index && session_alive(cfg, old, p->proto, now);
    u64 expectation = 0;
    if (!(cfg->flags & CONFIG_SHORTCUT))
        o.flags |= SESSION_STACK;
    if (kind == PORT_FORWARD) {
        u32 id = slot->forward_id;
        if (!forward_admits(id, p->source))
            return DROP_FORWARD_SOURCE;
        struct forward *f = forwards.lookup(&id);
        o.alg = f ? f->alg : 0;
        o.flags |= SESSION_FORWARD;
    } else if (kind == PORT_RESERVED) {
        u32 reason = expectation_take(skb, cfg, &wanted, &expectation, &o.related, now);
        if (reason == DROP_EXPECT_PEER) {
            wanted.from = 0;
            reason = expectation_take(skb, cfg, &wanted, &expectation, &o.related, now);
        }
        if (reason)
            return reason;
        o.flags |= SESSION_EXPECTED;
    } else if (reopens) {
        o.flags = old->flags;
        o.alg = old->alg;
    } else if (!(cfg->flags & CONFIG_FILTER_EIF)) {
        return DROP_UNSOLICITED;
    }
    u32 reason = begin_in(skb, cfg, p, key, slot, &o, now);
    if (expectation && reason)
        expectation_return(&wanted);
    else if (expectation)
        tell_used(skb, key, expectation, o.related, DIR_IN);
    return reason;
}

static __always_inline int new_in(struct __sk_buff *skb, int at) {
    struct config *cfg = get_config();
    struct packet p = {};
    if (!cfg)
        return TC_ACT_OK;
    int parsed = parse_skb(skb, &p);
    if (parsed == PARSED_FRAGMENT)
        parsed = parse_head(skb, &p);
    int address = public_slot(cfg, p.destination);
    if (parsed != PARSED_FLOW || address < 0)
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
    if (!begins_session(&p) || p.proto == IPPROTO_ICMP)
        return kind == PORT_MAPPING ? for_gateway(skb, &p, PORT_FREE) : drop(DROP_NO_SESSION);
    if (public_slot(cfg, p.source) >= 0 || (at == AT_WAN_IN && !source_is_routed(skb, &p, cfg->lan[0], cfg->wan)))
        return drop(DROP_SPOOFED_OUTSIDE);
    struct session_key key;
    key_in(&key, &p, owner_ip(owner), owner_port(owner));
    u32 reason = new_in_session(skb, cfg, &p, &key, slot, index, now);
    if (reason == DROP_UNSOLICITED)
        return for_gateway(skb, &p, PORT_FREE);
    if (reason)
        return drop(reason);
    struct session *s = sessions.lookup(&key);
    if (!s)
        return drop(DROP_RACE);
    if (s->alg)
        return next_stage(skb, STAGE_ALG, at, DIR_IN);
    return leave_in(skb, cfg, &p, s, &key, at, now);
}

#endif
