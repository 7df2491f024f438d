/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * control.h: what user space must not do to a map itself, since it can't compare and swap: delete what looked idle,
 * reserve and release ports. The request is the packet of a test-run; the answer is written into it.
 */
#ifndef ALGATE_CONTROL_H
#define ALGATE_CONTROL_H

/* Ends a session, as far as `op` asks for that; marks it dead first, so that a packet that comes meanwhile finds nothing to
 * refresh. */
static __always_inline bool session_end(struct __sk_buff *skb, const struct config *cfg, struct session_key *key,
                                        u32 op, u32 now)
{
    struct session *s = sessions.lookup(key);
    if (!s)
        return false;
    u64 word = session_word(s);
    u8 state = word & STATE_MASK;
    bool needed = state != STATE_NEW && state != STATE_UNREPLIED && !session_over(word);
    if (op == CONTROL_RECLAIM ? needed : op == CONTROL_SWEEP && session_alive(cfg, s, key->proto, now))
        return false;
    if (!session_mark_dead(s, word))
        return false;
    u64 id = s->id;
    u32 index = s->port_index;
    u8 alg = s->alg, flags = s->flags;
    note_ended(cfg, s, key, word, false);
    sessions.delete(key);
    tell_ended(skb, cfg, session_release(key, id, index, alg, flags, word));
    return true;
}

/* Counts the peer of a session made while filtering didn't need it. */
static __always_inline bool session_know_peer(struct session *s, const struct session_key *key)
{
    u64 word = session_word(s), flag = (u64)SESSION_PEER << 24;
    if ((word & STATE_MASK) == STATE_DEAD || word & flag || !peer_add(key))
        return false;
    if (__sync_val_compare_and_swap((u64 *)&s->state, word, word | flag) == word)
        return true;
    peer_drop(key); /* a packet came between: the next reload, or the next session, will tell */
    return false;
}

static __always_inline void control_keys(struct __sk_buff *skb, const struct config *cfg, struct control *c,
                                         void *data_end, u32 now)
{
    u32 acted = 0, wanted = c->count, op = c->op;
    for (u32 i = 0; i < CONTROL_BATCH; i++) {
        struct session_key *at = &c->keys[i];
        if (i >= wanted || (void *)(at + 1) > data_end)
            break;
        struct session_key key = *at;
        if (op == CONTROL_SWEEP || op == CONTROL_KILL || op == CONTROL_RECLAIM) {
            acted += session_end(skb, cfg, &key, op, now);
            continue;
        }
        struct session *s = sessions.lookup(&key);
        if (!s)
            continue;
        if (op == CONTROL_PEERS) {
            acted += session_know_peer(s, &key);
            continue;
        }
        if (op == CONTROL_REFRESH)
            s->last_seen = now;
        else if (op == CONTROL_BYPASS) {
            s->alg = 0; /* whoever ends the session no longer knows that it had these */
            tracks.delete(&key);
            adjusts.delete(&key);
        }
        acted++;
    }
    c->count = acted;
}

static __always_inline u8 block_proto(u32 index)
{
    u32 row = (index >> 16) % 3;
    return row == CLASS_TCP ? IPPROTO_TCP : row == CLASS_UDP ? IPPROTO_UDP : IPPROTO_ICMP;
}

/* Frees what no session will: ports whose hold-down is over, and the claims of the gateway's own idle sockets. */
static __always_inline u32 control_age(const struct config *cfg, u32 first, u32 now)
{
    u32 freed = 0;
    for (u32 i = 0; i < AGED_ROWS; i++) {
        u32 index = first + i;
        struct port_slot *slot = ports.lookup(&index);
        if (!slot)
            break;
        u64 owner = slot->owner;
        u32 age = now - slot->stamp;
        if (owner_kind(owner) == PORT_LOCAL && age > cfg->timeouts[TIMEOUT_UDP]) {
            slot->sessions = 0;
            __sync_val_compare_and_swap(&slot->owner, owner, 0);
        }
        if (slot->owner || (slot->last_host && age < cfg->hold_down))
            continue;
        u64 *bits = portbits_word(index >> 16, (index & 0xffff) >> 6);
        if (bits && *bits >> (index & 63) & 1) {
            portbits_free(index);
            freed++;
        }
    }
    return freed;
}

/* The head of a request, copied: the packet can't be kept across the socket lookup. */
struct control_head {
    u32 op;
    u32 count;
    u32 port_index;
    s32 error;
    u64 owner;
    u32 flags;
    u32 age;
};

/* A forward's port: taken only from another forward or the gateway itself; what it serves may change in place. */
static __always_inline bool port_claim_static(struct port_slot *slot, u32 index, u64 owner, u32 forward_id, u32 now)
{
    u64 seen = slot->owner;
    if (seen && owner_kind(seen) != PORT_FORWARD && owner_kind(seen) != PORT_LOCAL)
        return false;
    u64 mine =
        port_owner(0, 0, PORT_LOCAL); /* nobody else's while forward_id changes, which means another thing to others */
    if (!seen && __sync_val_compare_and_swap(&slot->owner, 0, mine))
        return false;
    if (!seen)
        seen = mine;
    slot->forward_id = forward_id;
    if (__sync_val_compare_and_swap(&slot->owner, seen, owner) != seen)
        return false;
    slot->stamp = now;
    portbits_take(index);
    if (!slot->sessions)
        slot->sessions = 1;
    return true;
}

/* A port of a shared block: that very one, by one reference that `block` stands for, or an error. What another inside end
 * point holds, or held so lately that hold-down keeps it, is refused. */
static __always_inline s32 port_claim_block(struct __sk_buff *skb, const struct config *cfg, struct port_slot *slot,
                                            const struct control_head *h, u8 proto, u32 now)
{
    u64 seen = slot->owner;
    if (!seen) {
        u32 address = (h->port_index >> 16) / 3;
        if (!port_claim(cfg, h->port_index, slot, h->owner, false, now))
            return -98; /* EADDRINUSE */
        portbits_take(h->port_index);
        if (has_socket(skb, proto, 0, 0, cfg->public_ip[address & (MAX_PUBLIC - 1)],
                       bpf_htons(h->port_index & 0xffff))) {
            port_unclaim(h->port_index, slot, h->owner);
            return -98;
        }
        host_hold(host_made(owner_ip(h->owner)), proto, 1, false);
    } else if (seen != h->owner || (!slot->block && !port_get(slot))) {
        return -98;
    }
    slot->block = h->count;
    return 0;
}

static __always_inline void control_port(struct __sk_buff *skb, const struct config *cfg, struct control_head *h,
                                         u32 now)
{
    u8 proto = block_proto(h->port_index);
    if (h->op == CONTROL_RESERVE && owner_kind(h->owner) == PORT_FORWARD) {
        struct port_slot *wanted = ports.lookup(&h->port_index);
        bool got = wanted && port_claim_static(wanted, h->port_index, h->owner, h->count, now);
        h->error = got ? 0 : -98; /* EADDRINUSE */
        h->count = got;
#ifdef NAT64
        if (got)
            forward_binds(h->port_index, h->owner, proto);
#endif
        return;
    }
    if (h->op == CONTROL_RESERVE) {
        struct host *host = cfg->share_own ? host_made(owner_ip(h->owner)) : 0;
        if (lease_lapsed(cfg) || (host && ports_spent(cfg, host, proto, (h->port_index >> 16) / 3))) {
            h->error = -11; /* EAGAIN; unless an ended one of its own gives way */
            h->count = h->flags & RESERVE_TIRED ? finish_take(skb, cfg, h->port_index >> 16, owner_ip(h->owner)) : 0;
            return;
        }
        struct port_search search = {.owner = h->owner,
                                     .wanted = h->port_index & 0xffff,
                                     .port = h->count,
                                     .proto = proto,
                                     .rested = !(h->flags & RESERVE_TIRED),
                                     .address = (h->port_index >> 16) / 3};
        s64 index = port_try(skb, cfg, &search, now);
        h->error = index < 0 ? -11 : 0; /* EAGAIN: ask again with the port in `count` */
        if (index < 0 && search.none)
            search.port =
                search.rested || cfg->port_block ? 0 : finish_take(skb, cfg, h->port_index >> 16, owner_ip(h->owner));
        h->count = index < 0 ? search.port : 1;
        if (index < 0)
            return;
        h->port_index = index;
        host_hold(host_made(owner_ip(h->owner)), proto, 1, false);
        return;
    }
    struct port_slot *slot = ports.lookup(&h->port_index);
    if (!slot)
        return;
    if (h->op == CONTROL_CLAIM) {
        h->error = port_claim_block(skb, cfg, slot, h, proto, now);
        h->count = !h->error;
        return;
    }
    h->count = slot->owner == h->owner && slot->block == h->count;
    if (h->count) {
        slot->block = 0;
        port_put(h->port_index, slot, proto);
    }
}

/* The port that was in use longest ago, and which the owner may have, among at most AGED_ROWS from `port_index` on: a port
 * outside the configured range stands for the first of it. */
static __always_inline void control_oldest(const struct config *cfg, struct control_head *h, u32 now)
{
    u32 block = h->port_index & 0xffff0000, port = h->port_index & 0xffff, last = cfg->port_last;
    if (port < cfg->port_first || port > last)
        port = cfg->port_first;
    u32 zero = 0;
    struct scratch *room = scratch.lookup(&zero);
    h->error = -98; /* EADDRINUSE */
    h->count = 0;
    if (!room || cfg->port_block) /* which port of its block a host gets is asked for otherwise */
        return;
    volatile u64 *best = &room->words[0]; /* age + 1 and row, where the verifier doesn't follow them */
    best[0] = 0;
    for (u32 i = 0; i < AGED_ROWS; i++) {
        u32 index = block | ((port + i) & 0xffff);
        struct port_slot *slot = port + i <= last ? ports.lookup(&index) : 0;
        if (!slot)
            break;
        u64 age = slot->last_host ? now - slot->stamp : 0xffffffff;
        if (slot->owner || age < best[0] || !port_open(cfg, slot, owner_ip(h->owner), now))
            continue;
        best[0] = age + 1;
        best[1] = index;
    }
    if (best[0]) {
        h->error = 0;
        h->age = best[0] - 1;
        h->port_index = best[1];
    }
    h->count = port + AGED_ROWS <= last ? port + AGED_ROWS : 0;
}

/* Whether another program has to answer first: what port block is meant, or has been empty. */
static __always_inline bool about_block(const struct config *cfg, const struct control_head *h)
{
    if (h->op == CONTROL_UNBLOCK)
        return true;
    if (!cfg->port_block || h->op != CONTROL_RESERVE || h->count || owner_kind(h->owner) == PORT_FORWARD)
        return false;
    u32 row = portblock_row(cfg, (h->port_index >> 16) / 3, h->port_index & 0xffff);
    struct port_block *block = port_blocks.lookup(&row);
    return !block || (u32)block->holder != owner_ip(h->owner);
}

static __always_inline int run_control(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    struct control *c = data + ETH_HEADER;
    struct config *cfg = get_config();
    if (!cfg || (void *)&c->keys[0] > data_end)
        return TC_ACT_SHOT;
    u32 now = now_tick();
    if (c->op == CONTROL_AGE_PORTS || c->op == CONTROL_AGREE) {
        c->count = c->op == CONTROL_AGREE ? control_agree(c, data_end) : control_age(cfg, c->port_index, now);
        return TC_ACT_OK;
    }
    if (c->op != CONTROL_RESERVE && c->op != CONTROL_RELEASE && c->op != CONTROL_CLAIM && c->op != CONTROL_OLDEST &&
        c->op != CONTROL_UNBLOCK) {
        control_keys(skb, cfg, c, data_end, now);
        return TC_ACT_OK;
    }
    struct control_head head = {
        .op = c->op, .count = c->count, .port_index = c->port_index, .owner = c->owner, .flags = c->flags};
    if (about_block(cfg, &head)) {
        stages.call(skb, STAGE_BLOCK_CONTROL);
        head.error = -11; /* EAGAIN */
        head.count = 0;
    } else if (head.op == CONTROL_OLDEST)
        control_oldest(cfg, &head, now);
    else
        control_port(skb, cfg, &head, now);
    bpf_skb_store_bytes(skb, ETH_HEADER, &head, sizeof(head), 0);
    return TC_ACT_OK;
}

#endif
