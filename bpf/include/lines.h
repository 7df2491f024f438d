/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * lines.h: control segments that don't wait for the helper. Of ten commands in a session, one or two must.
 *
 * The law of this file: a segment passes only if the helper said so of the present moment (ADJUST_LINES), nothing was
 * punted since, it continues its stream, and it is exactly one whole line, in plain characters, with a right checksum,
 * that begins with a word in `passable`. What is of no interest is only counted; of all else the helper gets a copy, or the
 * line is held. So it does of whatever follows a copy, unless that was of a line after which nothing else matters
 * (LINE_TOLD), or was made only because of what came before, or a reply has settled it (LINE_SETTLES). All is counted in one
 * word (track.lines), which the next copy or punt carries: the helper's pairing of commands and replies stays right.
 */
#ifndef ALGATE_LINES_H
#define ALGATE_LINES_H

#define LINES_MOST 100 /* commands, and final replies, before the helper must take account: counts of 7 and 16 bits */
#define COPIES_MOST 12 /* unjudged: what a conversation surely has room for */
#define COPIES_LOUD 11 /* unjudged: from here on each copy wakes the helper, before a line has to wait for it */
#define LINES_BYTES_MOST 15000
#define LINES_BYTES_MASK 0x3fff
#define TRACK_SYNS (TRACK_SYN_OUT | TRACK_SYN_IN)
#define TCP_SUMMED 320 /* bytes: the longest TCP header and LINE_MAX, in words */

static __always_inline u16 lines_bytes(u64 word, u8 dir)
{
    return (word >> (LINES_BYTES + 14 * (dir & 1))) & LINES_BYTES_MASK;
}

/* Bytes of a direction that passed without the helper, between its record and the account `word`. */
static __always_inline u16 passed_since(const struct adjust *adj, u64 word, u8 dir)
{
    return (lines_bytes(word, dir) - lines_bytes(adj->lines, dir)) & LINES_BYTES_MASK;
}

/* By how much a count in `word` is ahead of the helper's record. */
static __always_inline u32 counted_since(const struct adjust *adj, u64 word, u32 shift, u32 mask)
{
    return ((u32)(word >> shift) - (u32)(adj->lines >> shift)) & mask;
}

static __always_inline u64 counted_more(u64 word, u32 shift, u64 mask, u32 more)
{
    return (word & ~(mask << shift)) | ((((word >> shift) + more) & mask) << shift);
}

/* Up to where a stream has passed, by the helper's decision or without it. */
static __always_inline u32 front(const struct adjust *adj, const struct track *t, u8 dir)
{
    u32 decided = adj->flags & ADJUST_BEGINS ? t->isn[dir & 1] + 1 : adj->decided[dir & 1];
    return decided + passed_since(adj, t->lines, dir);
}

/* From here on the helper's statement is void. `word`: what it must take account of. However many are punted, the count
 * never comes back to that of the statement: who repeats half a line 65536 times would bring it to life again. */
static __always_inline bool count_punt(struct track *t, const struct adjust *adj, u64 *word)
{
    for (int i = 0; i < 8; i++) {
        u64 seen = *(volatile u64 *)&t->lines;
        u16 punts = seen + 1;
        if (adj && punts == (u16)adj->lines)
            punts++;
        u64 next = (seen & ~0xffffULL) | punts;
        if (__sync_val_compare_and_swap(&t->lines, seen, next) == seen) {
            *word = next;
            return true;
        }
    }
    return false;
}

/* What the receiver would check: no timestamp that is older than one seen (RFC 7323 section 5.3). room->options still has
 * those that track.h looked at. */
static __always_inline bool line_is_recent(const struct packet *p, const struct track *t, const struct scratch *room,
                                           u8 dir)
{
    if (!(t->flags & TRACK_TIMESTAMPS))
        return true;
    return p->tcp_header >= 32 && get_be32(room->options, 0) == 0x0101080a &&
           get_be32(room->options, 4) == t->ts_value[dir & 1];
}

/* What the receiver would check: a finished checksum that is right, or one that the device is to finish. */
static __always_inline bool line_sum_ok(struct __sk_buff *skb, const struct packet *p, struct scratch *room)
{
    u32 size = p->ip_size - p->header_size;
    u16 pseudo = packet_pseudo_sum(skb, p, size);
    if (p->sum == pseudo)
        return true;
    if (size < 20 || size > TCP_SUMMED)
        return false;
    __builtin_memset(room->words, 0, TCP_SUMMED);
    if (bpf_skb_load_bytes(skb, p->l4, room->words, length_within(size, 512)))
        return false;
    return csum_fold(sum_diff(0, 0, room->words, TCP_SUMMED, pseudo)) == 0xffff;
}

/* Bytes of a line that track.line_size is of. */
static __always_inline u16 line_size_of(u16 size)
{
    return size & (LINE_SIZE_RETOLD - 1);
}

/* Deletes the decision that the line at this place left, if there is one. */
static __always_inline void line_forget(struct track *t, u32 at)
{
    u16 size = t->line_size[at];
    struct decision_key old = {.id = t->id, .seq = t->line_seq[at], .size = line_size_of(size), .dir = at >> 1};
    if (!size)
        return;
    decisions.delete(&old);
#ifdef NAT64
    if (size & LINE_SIZE_RETOLD)
        replacements.delete(&old);
#endif
    t->line_size[at] = 0;
}

/* Leaves a decision for repetitions of a line, in an acknowledged one's place; false if there is no place. */
static __always_inline bool line_room(struct track *t, u8 dir, u32 *place)
{
    for (u32 i = 0; i < 2; i++) {
        u32 at = (dir & 1) * 2 + i;
        if (t->line_size[at] && seq_after(t->line_seq[at] + line_size_of(t->line_size[at]), t->acked[dir & 1]))
            continue;
        line_forget(t, at);
        *place = at;
        return true;
    }
    return false;
}

/* Whether a receiver would take what a segment brings: with a right sum, and not older than another. What it says is then
 * what its sender says. Of what is longer than a line that isn't looked at: the verifier follows each length. */
static __always_inline bool segment_is_sound(struct __sk_buff *skb, const struct packet *p, const struct segment *g,
                                             const struct track *t)
{
    u32 zero = 0;
    struct scratch *room = scratch.lookup(&zero);
    return room && g->payload <= LINE_MAX && !skb->gso_size && line_is_recent(p, t, room, g->dir) &&
           line_sum_ok(skb, p, room);
}

/* A line moves its receiver's TS.Recent if it begins no later than what that one acknowledged last (RFC 7323 section 4.3). */
static __always_inline void line_stamps(struct track *t, const struct segment *g)
{
    if (!seq_after(g->seq, t->acked[g->dir & 1]))
        t->ts_recent[g->dir & 1] = t->ts_value[g->dir & 1]; /* its own: line_is_recent() */
}

/* Which of the latest `copies` copies left nothing unanswered that had mattered; 0: none. If that was 64 copies ago, with
 * none behind it that made others matter, it looks like one of now: then, too, all was answered. */
static __always_inline u32 settled_by(const struct adjust *adj, const struct track *t, u32 copies)
{
    u64 word = *(volatile u64 *)&t->settled;
    u32 since = counted_since(adj, word, LINES_COPIES, 63);
    return word && adj->flags & ADJUST_SETTLES && since <= copies ? since : 0;
}

/* Whether one of the latest `copies` copies, behind number `settled` of them, was of a line that may make others matter.
 * `opening` is set before the copy is counted, so it may be one ahead: of a line that was held after all. */
static __always_inline bool copies_open(const struct adjust *adj, const struct track *t, u32 copies, u32 settled)
{
    u32 since = (*(volatile u8 *)&t->opening - (u32)(adj->lines >> LINES_COPIES)) & 63;
    return since > settled && since <= copies;
}

/* What is to become of an undecided segment, by the helper's statement and its own first word, which is in room->words. What
 * else goes with it (LINE_NAMES, LINE_AGREES, LINE_RETOLD, LINE_SETTLES) stands in UNKNOWN(room). */
static __always_inline enum line line_kind(const struct packet *p, const struct segment *g, const struct session *s,
                                           const struct track *t, const struct adjust *adj, struct scratch *room,
                                           u64 word, bool reply, bool *counts, bool *quiet)
{
    u32 commands = counted_since(adj, word, LINES_COMMANDS, 127),
        replies = counted_since(adj, word, LINES_REPLIES, 127);
    u32 copies = counted_since(adj, word, LINES_COPIES, 63), size = g->payload;
    if (adj->flags & ADJUST_BEGINS && (t->flags & TRACK_SYNS) != TRACK_SYNS)
        return LINE_HELD;
    if (!(adj->flags & ADJUST_LINES) || (u16)word != (u16)adj->lines || g->seq != front(adj, t, g->dir) ||
        (reply ? replies : commands) >= LINES_MOST || passed_since(adj, word, g->dir) > LINES_BYTES_MOST)
        return LINE_HELD;
    if (size < 5 || size > LINE_MAX || !(p->tcp_flags & TCP_ACK) ||
        p->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST | TCP_URG))
        return LINE_HELD;
    u32 settled = settled_by(adj, t, copies), unanswered = (u8)(adj->flags >> ADJUST_UNANSWERED);
    struct passable_key key = {.interest = settled ? interest_behind(adj) : adj->interest, .reply = reply};
    u32 *kind = line_word(room, size, reply, &key) ? passable.lookup(&key) : 0;
    if (!kind)
        return LINE_HELD;
    *counts = !reply || key.word[0] != '1'; /* 1yz: the final reply is still to come, RFC 959 section 4.2 */
    u32 what = *kind & (LINE_QUIET - 1);
    bool names = *kind & LINE_NAMES, agrees = line_agrees(adj, *kind, word);
    u32 settles = (*kind / LINE_SETTLES) & (adj->flags / ADJUST_SETTLES) & (replies + 1 == commands + unanswered);
    UNKNOWN(room) = (*kind & (LINE_NAMES | LINE_RETOLD)) | settles * LINE_SETTLES |
                    (agrees ? LINE_AGREES : 0); /* each would be followed through all that comes */
#ifdef NAT64
    if ((*kind / LINE_RETOLD) & !line_retold(s, t, room, word, size, reply, (commands + unanswered - replies) & 127))
        return LINE_HELD;
#endif
    if (agrees) /* what it makes matter is open already */
        what = LINE_TOLD;
    *quiet = (*kind & LINE_QUIET || agrees) && copies + 1 < COPIES_LOUD;
    bool unasked = reply && replies >= commands + unanswered;
    bool quiets = !unasked && (!(adj->flags & ADJUST_COPIES) || settled || has_agreed(adj, t)) &&
                  !copies_open(adj, t, copies, settled);
    if (what == LINE_PASSES && quiets)
        return LINE_PASSES;
    if (copies >= COPIES_MOST || (names && unasked))
        return LINE_HELD;
    return what == LINE_COPIED || unasked ? LINE_COPIED
                                          : LINE_TOLD; /* what is read for another line's sake opens nothing */
}

/* Gives the helper a copy of a line that passes; false if the ring has no room. */
static __always_inline bool copy_line(struct __sk_buff *skb, const struct packet *p, const struct session_key *key,
                                      const struct session *s, const struct track *t, const struct segment *g, u64 word,
                                      bool quiet, u32 retold, u64 expected)
{
    struct punt *m = new_punt(PUNT_COPY + retold); /* PUNT_RETOLD */
    if (!m)
        return false;
    fill_punt(m, key, s);
    fill_segment(m, p, g, t);
    m->lines = word;
    m->expectation_id = expected;
    m->mtu = 0;
    return submit_frame(skb, p, m, quiet);
}

/* Whether an undecided segment passes without waiting. If so it is counted and has its decision. It is sound, `digest` is of
 * its payload, which lies in room->words. */
static __always_inline bool line_passes(struct __sk_buff *skb, const struct packet *p, const struct session_key *key,
                                        const struct segment *g, const struct session *s, struct track *t,
                                        const struct adjust *adj, u64 digest, u32 now)
{
    u64 word = *(volatile u64 *)&t->lines;
    u32 zero = 0, place = 0;
    bool reply = g->dir != (s->flags & SESSION_FORWARD ? DIR_IN : DIR_OUT), counts = false, quiet = false;
    struct scratch *room = scratch.lookup(&zero);
    enum line kind = room ? line_kind(p, g, s, t, adj, room, word, reply, &counts, &quiet) : LINE_HELD;
    if (kind == LINE_HELD || !line_room(t, g->dir, &place))
        return false;
    bool copied = kind != LINE_PASSES;
    u64 expected = 0;
    if (UNKNOWN(room) & LINE_NAMES && !(expected = gate_visits(skb) ? expect_named(room, key, s, g->dir, now) : 0))
        return false; /* it is weighed, and read, if it wasn't yet */
    u64 next = counted_more(word, LINES_BYTES + 14 * (g->dir & 1), LINES_BYTES_MASK, g->payload);
    next = counted_more(next, reply ? LINES_REPLIES : LINES_COMMANDS, 127, counts);
    next = counted_more(next, LINES_COPIES, 63, copied);
    struct decision_key at;
    RETELL(room) = !!(UNKNOWN(room) & LINE_RETOLD);
    struct decision d = {.digest = digest, .verdict = VERDICT_PASS + RETELL(room)};
    decision_key_of(&at, s->id, g);
    bool passed = !decisions.update(&at, &d); /* a full table: nobody could tell its repetition from something else */
    if (!passed)
        goto held;
    if (kind == LINE_COPIED) /* before the count tells others of it */
        *(volatile u8 *)&t->opening = (next >> LINES_COPIES) & 63;
    passed = __sync_val_compare_and_swap(&t->lines, word, next) == word;
    if (passed)
        line_stamps(t, g);
    if (passed && UNKNOWN(room) & LINE_SETTLES) /* it is counted: no other line is taken for it */
        *(volatile u64 *)&t->settled = next;
    if (passed && copied &&
        !copy_line(skb, p, key, s, t, g, next, quiet, RETELL(room),
                   expected)) /* unless another line has already followed it */
        passed = __sync_val_compare_and_swap(&t->lines, next, word) != next;
held:
    if (!passed) {
        if (UNKNOWN(room) & LINE_SETTLES)
            *(volatile u64 *)&t->settled = 0;
        RETELL(room) = 0;
        decisions.delete(&at);
        if (expected)
            expectations.delete(&room->named_key);
        return false;
    }
    if (UNKNOWN(room) & LINE_AGREES)
        agree(t, adj);
#ifdef NAT64
    if (RETELL(room) & !reply)
        t->asked = next;
#endif
    t->line_seq[place & 3] = g->seq;
    t->line_size[place & 3] = g->payload | (RETELL(room) ? LINE_SIZE_RETOLD : 0);
    count(copied ? COUNT_LINES_COPIED : COUNT_LINES_PASSED, 1);
    return true;
}

/* The session is over: its lines no longer need decisions. */
static __always_inline void lines_forget(struct session_key *key)
{
    struct track *t = tracks.lookup(key);
    for (u32 i = 0; t && i < 4; i++)
        line_forget(t, i);
}

#endif
