/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * agree.h: the reply by which the second of two sides agrees to a connection opens it at once, before the helper reads it.
 *
 * The law of this file: it opens what the helper's record names (adjust.agrees), if nothing passed since that was written,
 * and nothing else. The helper names one only where it would itself open it at this reply; when it reads the copy it leaves
 * alone what is open, or used meanwhile.
 */
#ifndef ALGATE_AGREE_H
#define ALGATE_AGREE_H

/* Whether a line of this kind (a value of `passable`) is the one waited for. `word`: track.lines before it. */
static __always_inline bool line_agrees(const struct adjust *adj, u32 kind, u64 word)
{
    return kind & LINE_AGREES && adj->agrees && word == adj->lines;
}

/* Whether it has come since the record was written: then nothing that was read for its sake matters any more. */
static __always_inline bool has_agreed(const struct adjust *adj, const struct track *t)
{
    return adj->agrees && t->agreed == adj->agrees;
}

static __always_inline void agree(struct track *t, const struct adjust *adj)
{
    struct expectation_key key = adj->agrees_key;
    u64 id = adj->agrees;
    struct expectation *e = expectations.lookup(&key);
    if (e && e->id == id && e->control_id == t->id)
        __sync_val_compare_and_swap(&e->state, EXPECT_PENDING, EXPECT_OPEN);
    t->agreed = id;
}

/* CONTROL_AGREE: opens what the helper may not write itself, because it may be used at this moment. */
static __always_inline u32 control_agree(struct control *c, void *data_end)
{
    struct expectation_key *at = (void *)&c->keys[0];
    if ((void *)(at + 1) > data_end)
        return 0;
    struct expectation_key key = *at;
    u64 id = c->owner;
    struct expectation *e = expectations.lookup(&key);
    return e && e->id == id && __sync_val_compare_and_swap(&e->state, EXPECT_PENDING, EXPECT_OPEN) == EXPECT_PENDING;
}

#endif
