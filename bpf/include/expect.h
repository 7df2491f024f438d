/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * expect.h: expectations, as a first packet meets them: taken in the kernel alone, once, by a compare-and-swap.
 */
#ifndef ALGATE_EXPECT_H
#define ALGATE_EXPECT_H

/* A control session that both ends have closed, or one has reset, is over for its expectations; its entry stays a while. */
static __always_inline bool control_over(const struct config *cfg, const struct session *s, u8 proto, u32 now)
{
    u8 state = s->state & STATE_MASK;
    return state == STATE_TIME_WAIT || state == STATE_RESET || !session_alive(cfg, s, proto, now);
}

/* What an expectation says of a first packet. */
static __always_inline u32 expectation_take(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                            const struct expectation_key *key, u64 *id, u64 *control, u32 *row, u32 now)
{
    struct expectation *e = expectations.lookup((struct expectation_key *)key);
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
    *id = e->id;
    *control = e->control_id;
    *row = e->port_index;
    if (state == EXPECT_PENDING) {
        struct punt *m = new_punt(PUNT_DATA_SYN);
        if (!m || !helper_alive(cfg, now))
            return DROP_EXPECT_PENDING;
        fill_punt(m, &parent, s);
        m->expectation_id = e->id;
        m->dir = key->dir;
        punt_frame(skb, p, m);
        return DROP_EXPECT_PENDING;
    }
    if (state != EXPECT_OPEN)
        return DROP_EXPECT_SPENT;
    if (!(e->flags & EXPECT_PERSISTENT) &&
        __sync_val_compare_and_swap(&e->state, EXPECT_OPEN, EXPECT_USED) != EXPECT_OPEN)
        return DROP_EXPECT_SPENT;
    return 0;
}

/* The connection could not be made after all: its SYN will be repeated. */
static __always_inline void expectation_return(const struct expectation_key *key)
{
    struct expectation *e = expectations.lookup((struct expectation_key *)key);
    if (e)
        __sync_val_compare_and_swap(&e->state, EXPECT_USED, EXPECT_OPEN);
}

static __always_inline void tell_used(struct __sk_buff *skb, const struct session_key *key, u64 expectation,
                                      u64 control, u8 dir)
{
    struct session *s = sessions.lookup((struct session_key *)key);
    struct punt *m = new_punt(PUNT_EXPECT_USED);
    if (!s || !m)
        return;
    fill_punt(m, key, s);
    m->expectation_id = expectation;
    m->dir = dir;
    count(COUNT_EXPECTATIONS_USED, 1);
    punts.perf_submit(skb, m, sizeof(*m));
}

/* What becomes of an expectation that was taken, once it is known whether its connection was refused. */
static __always_inline void expectation_settle(struct __sk_buff *skb, const struct session_key *key,
                                               const struct expectation_key *taken, u64 expectation, u64 control,
                                               u32 refused)
{
    if (refused)
        expectation_return(taken);
    else
        tell_used(skb, key, expectation, control, taken->dir);
}

#endif
