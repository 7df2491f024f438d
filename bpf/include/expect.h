/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * expect.h: expectations, as a first packet finds them: only the kernel takes one, once, by a compare-and-swap.
 *
 * The law of this file: whoever took one settles it, used or given back. One that is pending is taken only by a peer that the
 * helper knows to connect before it agrees (EXPECT_EARLY). None outlives its control session, whether or not
 * the helper has heard of that session's end.
 */
#ifndef ALGATE_EXPECT_H
#define ALGATE_EXPECT_H

/* A control session that both ends have closed, or one has reset, is over for its expectations; its entry stays a while. */
static __always_inline bool control_over(const struct config *cfg, const struct session *s, u8 proto, u32 now)
{
    return session_over(s->state) || !session_alive(cfg, s, proto, now);
}

/* An expectation as a first packet looks for it, and its contents when taken. */
struct claim {
    struct expectation_key key;
    u64 id; /* 0: none is taken */
    u64 control_id;
    u32 port_index;
    u8 alg;
};

static __always_inline struct claim claim_of(const struct packet *p, u8 dir)
{
    struct claim c = {};
    c.key.from = p->source;
    c.key.to = p->destination;
    c.key.to_port = p->destination_port;
    c.key.proto = p->proto;
    c.key.dir = dir;
    return c;
}

/* Takes the expectation that the claim names: 0, or the drop reason. The helper is told about a pending one. */
static __always_inline u32 expectation_take(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                            struct claim *c, u32 now)
{
    struct expectation *e = expectations.lookup(&c->key);
    if (!e || (e->from_port && e->from_port != p->source_port))
        return DROP_EXPECT_PEER;
    u16 port = bpf_ntohs(p->destination_port);
    if (e->last && (port < e->first || port > e->last))
        return DROP_EXPECT_PEER;
    struct session_key parent = e->control_key;
    struct session *s = sessions.lookup(&parent);
    u64 state = e->state;
    if (!s || s->id != e->control_id || control_over(cfg, s, parent.proto, now) || (s32)(e->expires - now) <= 0)
        return DROP_EXPECT_SPENT;
    bool early = e->flags & EXPECT_EARLY;
    if (state == EXPECT_PENDING && !early) {
        struct punt *m = new_punt(PUNT_DATA_SYN);
        if (!m || !helper_alive(cfg, now))
            return DROP_EXPECT_PENDING;
        fill_punt(m, &parent, s);
        m->expectation_id = e->id;
        m->dir = c->key.dir;
        punt_frame(skb, p, m);
        return DROP_EXPECT_PENDING;
    }
    if (state != EXPECT_OPEN && !early)
        return DROP_EXPECT_SPENT;
    /* What is pending may be opened meanwhile, never the other way. */
    bool taken = early && __sync_val_compare_and_swap(&e->state, EXPECT_PENDING, EXPECT_USED) == EXPECT_PENDING;
    if (!taken && !(e->flags & EXPECT_PERSISTENT) &&
        __sync_val_compare_and_swap(&e->state, EXPECT_OPEN, EXPECT_USED) != EXPECT_OPEN)
        return DROP_EXPECT_SPENT;
    c->id = e->id;
    c->control_id = e->control_id;
    c->port_index = e->port_index;
    c->alg = e->alg;
    return 0;
}

/* Tells the helper which session used an expectation. That goes into its books, and nobody waits for it: where lines may
 * pass without anybody hearing of each (struct opening), it is read with what comes next. */
static __always_inline void tell_used(struct __sk_buff *skb, const struct session_key *key, const struct claim *c)
{
    struct session *s = sessions.lookup((struct session_key *)key);
    struct punt *m = new_punt(PUNT_EXPECT_USED);
    if (!s || !m)
        return;
    fill_punt(m, key, s);
    m->expectation_id = c->id;
    m->dir = c->key.dir;
    count(COUNT_EXPECTATIONS_USED, 1);
    u32 row = c->alg;
    struct opening *o = openings.lookup(&row);
    if (o && o->flags)
        unhurried.perf_submit(skb, m, sizeof(*m));
    else
        punts.perf_submit(skb, m, sizeof(*m));
}

/* What becomes of a taken expectation once it is known whether its connection was refused: then its SYN will be repeated. */
static __always_inline void expectation_settle(struct __sk_buff *skb, const struct session_key *key, struct claim *c,
                                               u32 refused)
{
    if (!c->id)
        return;
    if (!refused) {
        tell_used(skb, key, c);
        if (c->id >> EXPECT_NAMED) /* its port may be named again before the helper hears of this */
            expectations.delete(&c->key);
        return;
    }
    struct expectation *e = expectations.lookup(&c->key);
    if (e)
        __sync_val_compare_and_swap(&e->state, EXPECT_USED, e->flags & EXPECT_EARLY ? EXPECT_PENDING : EXPECT_OPEN);
}

#endif
