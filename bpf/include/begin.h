/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * begin.h: whose data session one is, and where its data begins: what has no room in the session itself.
 *
 * Of how much a data connection carried, `next` in its session says the end; the beginning is in its two SYNs. It is noted
 * when the second one comes, once, so that no usual packet has anything of it. What finds no room is not told exactly.
 */
#ifndef ALGATE_BEGIN_H
#define ALGATE_BEGIN_H

/* Whether a segment is the SYN that answers another, of a data session. */
static __always_inline bool begin_wanted(const struct session *s, u8 flags)
{
    return (flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK) && s->flags & SESSION_EXPECTED;
}

/* It was judged: if it counted, both beginnings are known. */
static __always_inline void begin_note(const struct session *s, u32 seq, bool in)
{
    u32 out_acked = s->acked[DIR_OUT], in_acked = s->acked[DIR_IN];
    if ((in ? in_acked : out_acked) != seq + 1)
        return;
    u64 id = s->id;
    struct beginning b = {.seq = {out_acked, in_acked}};
    beginnings.insert(&id, &b); /* a repeated SYN finds numbers that have moved on */
}

/* Before the id of a data session is forgotten. */
static __always_inline void begin_forget(u64 id)
{
    relations.delete(&id);
    beginnings.delete(&id);
}

#endif
