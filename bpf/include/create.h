/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * create.h: making, reviving and releasing sessions and the mappings that they use.
 *
 * The race: two CPUs may see first packets of one 5-tuple at once. Create-if-absent on `sessions` decides; the loser
 * gives its port reference back and drops its packet (reason `race`); the repetition finds the winner's session.
 */
#ifndef ALGATE_CREATE_H
#define ALGATE_CREATE_H

/* Gives back what a session has of its port. Returns enum notice_flag. */
static __always_inline u32 release_port(const struct session_key *key, u32 index)
{
    struct port_slot *slot = index == EXEMPT_ROW ? 0 : ports.lookup(&index);
    if (!slot)
        return 0;
    u8 kind = owner_kind(slot->owner);
    if (kind == PORT_SHARED) {
        share_drop(index, key->proto, key->remote_ip, key->remote_port);
        host_port(key->inside_ip, key->proto, -1);
    }
    bool freed = port_put(index, slot, key->proto);
    if (kind == PORT_SHARED)
        return NOTICE_PORT | NOTICE_SHARED;
    return freed || kind == PORT_RESERVED ? NOTICE_PORT : 0;
}

/* One more reference on a mapping's port: the row, or -drop reason. */
static __always_inline s64 mapping_share(u32 index, u64 owner, u8 proto)
{
    struct port_slot *slot = ports.lookup(&index);
    if (!slot || !port_get(slot))
        return -DROP_RACE;
#ifdef NAT64 /* a forward's port is its host's too: forward_binds */
    if (!((slot->owner ^ owner) << 16))
        return index;
#endif
    if (slot->owner == owner)
        return index;
    port_put(index, slot, proto);
    return -DROP_RACE;
}

/* The home of an end point that has none, with one reference; the row of the entry in `mappings` that it turns out to have;
 * -1 if the port can't be had. */
static __always_inline s64 home_take(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                     const struct mapping_key *key, u32 index, struct port_slot *slot, u32 now)
{
    u32 port = bpf_ntohs(p->source_port);
    u64 owner = port_owner(p->source, p->source_port, PORT_HOME);
    bool usual = p->proto == IPPROTO_ICMP || port >= 1024 ? port >= cfg->port_first && port <= cfg->port_last : port;
    if (!usual || !port_open(cfg, slot, p->source, now) || __sync_val_compare_and_swap(&slot->owner, 0, owner))
        return -1;
    struct mapping *m = *(volatile u32 *)&slot->away ? mappings.lookup((struct mapping_key *)key) : 0;
    s64 found = m ? (s64)m->port_index : -1;
    if (m || has_socket(skb, p->proto, p->destination, p->destination_port, cfg->public_ip[0], p->source_port)) {
        __sync_val_compare_and_swap(&slot->owner, owner, 0);
        return found;
    }
    portbits_take(index);
    pool_count(index >> 16, 1);
    slot->stamp = now;
    slot->sessions = 1;
    count_tries(0);
    return index;
}

/* A new port for an inside end point, and its entry in `mappings` if the mapping is `shared`, with one reference. Returns the
 * row, or -drop reason; DROP_NO_PORT with the next port to try in skb->cb[2], the tries in skb->cb[3], and in skb->cb[4]
 * whether none seems free, and the place of the public address. WANTS_BLOCK with that place alone. */
static __always_inline s64 mapping_make(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                        const struct mapping_key *key, u32 home, bool shared, s32 address, u32 now)
{
    struct port_search search = {.owner = port_owner(p->source, p->source_port, PORT_MAPPING),
                                 .remote_ip = p->destination,
                                 .remote_port = p->destination_port,
                                 .wanted = bpf_ntohs(p->source_port),
                                 .port = skb->cb[2],
                                 .proto = p->proto,
                                 .tries = skb->cb[3],
                                 .address = address < 0 ? paired_address(cfg, p->source) : address};
    if (cfg->port_block && !search.port) {
        skb->cb[4] = (skb->cb[4] & NEW_SAID) | search.address << NEW_ADDRESS | (address < 0 ? 0 : NEW_BOUND);
        return -WANTS_BLOCK;
    }
    if (cfg->port_block) /* where that port was found */
        search.address = skb->cb[4] >> NEW_ADDRESS & (MAX_PUBLIC - 1);
    s64 index = port_try(skb, cfg, &search, now);
    if (index < 0) {
        skb->cb[2] = search.port;
        skb->cb[3] = search.tries;
        skb->cb[4] = (skb->cb[4] & (NEW_SAID | NEW_BOUND)) | search.address << NEW_ADDRESS |
                     (search.none && search.tries > ALL_SEEN && !cfg->port_block ? NEW_NONE_FREE : 0);
        return -DROP_NO_PORT;
    }
    struct mapping fresh = {.port_index = index};
    if (shared)
        mapping_away(p->source_port, p->proto, 1);
    int rc = shared ? mappings.insert((struct mapping_key *)key, &fresh) : 0;
    if (rc)
        mapping_away(p->source_port, p->proto, -1);
    struct port_slot *first = shared && !rc ? ports.lookup(&home) : 0;
    if (first && first->owner == port_owner(p->source, p->source_port, PORT_HOME))
        rc = -17; /* EEXIST */
    if (!rc)
        return index;
    host_port(p->source, p->proto, 1);
    u32 row = index;
    struct port_slot *slot = ports.lookup(&row);
    if (slot)
        port_put(row, slot, p->proto);
    return rc == -17 ? -DROP_RACE : -DROP_TABLE_FULL;
}

/* The mapping of an inside end point, made if it has none (`made`: the host's count lacks it). One reference is taken.
 * `address`: the public address it must have, -1 for the host's own; a shared mapping on another one is passed over.
 * Returns the row, or -drop reason, as mapping_make. */
static __always_inline s64 mapping_get(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                       s32 address, bool *made, u32 now)
{
    struct mapping_key key = {.inside_ip = p->source, .inside_port = p->source_port, .proto = p->proto};
    bool shared = !(cfg->flags & CONFIG_MAPPING_APDM);
    u64 at_home = port_owner(p->source, p->source_port, PORT_HOME);
    u32 home = port_index(0, p->proto, bpf_ntohs(p->source_port));
    struct port_slot *slot = shared && address <= 0 ? ports.lookup(&home) : 0;
    u64 holder = slot ? slot->owner : 0;
    s64 index = -1;
    if (slot && holder == at_home)
        return mapping_share(home, at_home, p->proto);
    if (slot && !holder && cfg->public_count == 1 && !cfg->port_block && !skb->cb[3] &&
        !host_ports_refused(skb, cfg, p->source)) {
        index = home_take(skb, cfg, p, &key, home, slot, now);
        *made = index == home;
        if (*made)
            return index;
    }
    struct mapping *m = index < 0 && shared ? mappings.lookup(&key) : 0;
    if (m) {
        u32 row = m->port_index;
        if (address < 0 || row / PORTS_PER_ADDRESS == address)
            index = row;
        shared = false;
    }
    if (index >= 0)
        return mapping_share(index, port_owner(p->source, p->source_port, PORT_MAPPING), p->proto);
    u32 refused = host_ports_refused(skb, cfg, p->source);
    if (refused)
        return -(s64)refused;
    index = mapping_make(skb, cfg, p, &key, home, shared, address, now);
    *made = index >= 0;
    return index;
}

#ifdef NAT64
/* A forward to an IPv6 host binds outward too: the sessions of that end point leave through this port, of the first public
 * address. Whoever frees the port takes the entry out (port_put). */
static __always_inline void forward_binds(u32 index, u64 owner, u8 proto)
{
    struct mapping_key key = {.inside_ip = owner_ip(owner), .inside_port = owner_port(owner), .proto = proto};
    struct mapping fresh = {.port_index = index};
    if (!is_handle(key.inside_ip))
        return;
    struct mapping *m = mappings.lookup(&key);
    if (m) {
        u32 row = m->port_index;
        struct port_slot *slot = ports.lookup(&row);
        if (slot && owner_kind(slot->owner) == PORT_FORWARD)
            return;
    } else {
        mapping_away(key.inside_port, proto, 1);
    }
    mappings.update(&key, &fresh);
}
#endif

/* Gives back what a session held, once it left `sessions`; `word`: see note_ended. Returns enum notice_flag. */
static __always_inline u32 session_release(const struct session_key *key, u64 id, u32 index, u8 alg, u8 flags, u16 word)
{
    relation_drop(id, flags);
    if (alg) {
        lines_forget((struct session_key *)key);
        tracks.delete((struct session_key *)key);
        adjusts.delete((struct session_key *)key);
    }
    host_session_ended(key->inside_ip, word);
    if (flags & SESSION_PEER)
        peer_drop(key);
    count(COUNT_SESSIONS_ENDED, 1);
    return release_port(key, index);
}

/* Ends a session that is over, whose 5-tuple comes again through another public port. Whoever moves the state wins. */
static __always_inline bool session_discard(struct __sk_buff *skb, const struct config *cfg, struct session *s,
                                            const struct session_key *key, const struct packet *p, u32 now)
{
    u64 word = session_word(s);
    u64 id = s->id;
    u32 index = s->port_index;
    u8 alg = s->alg, flags = s->flags;
    if (session_carries(cfg, s, p, DIR_IN, now) || !session_mark_dead(s, word))
        return false;
    note_ended(cfg, s, key, word, false);
    sessions.delete((struct session_key *)key);
    tell_ended(skb, cfg, session_release(key, id, index, alg, flags, word));
    return true;
}

#endif
