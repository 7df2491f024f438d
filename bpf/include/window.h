/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * window.h: which TCP segments their receiver would accept, and what those do to the state of a session. It knows no packet
 * bytes.
 *
 * The law of this file: a segment that its receiver would refuse moves nothing (RFC 5961). What a receiver would do follows
 * from two numbers for each direction: `acked`, what it said last, and `next`, what it expects if all that passed has come
 * to it; in between is what is under way. An acknowledgement counts if it is of data under way, or not much older. Data
 * moves `next` only in order. A RST counts at exactly one of the two numbers, or behind a FIN at that FIN's own: elsewhere in the
 * window the receiver answers by a challenge, which passes, and the RST that answers that is exact. A FIN counts where it stands in order, or once it is
 * acknowledged. A SYN begins nothing on a live session.
 *
 * Doubt: segments may have passed elsewhere (another route, no program attached, lost before they came here), or the session
 * was loaded without numbers. What the inside host says then replaces the numbers, and until the outside agrees
 * (BIT_DOUBT) no SYN or FIN counts, and a RST only from outside at the very number that the inside acknowledged. So nobody
 * outside can bring doubt, nobody alone can end it, and any exchange of both ends does. A FIN from outside that answers what
 * passed elsewhere doesn't count, or one guessed number would do: unless it comes again, the session ends by its timeout.
 * One that waited for what stands before it when doubt came is kept.
 *
 * All numbers are serial (RFC 1982), and the sender's own: those of a control session before any shift. Plain stores: what a
 * race loses the next segment brings.
 */
#ifndef ALGATE_WINDOW_H
#define ALGATE_WINDOW_H

#define ACK_SLACK 65536 /* an acknowledgement that another has overtaken by more than this isn't believed */
#define NEAR (1 << 20)  /* further from what is expected a segment confirms nothing and waits for nothing */
#define STATE_MASK 0xff
#define BITS_SYN (BIT_SYN_OUT | BIT_SYN_IN)
#define BITS_LATE (BIT_LATE_OUT | BIT_LATE_IN)
#define BITS_FIN (BIT_FIN_OUT | BIT_FIN_IN)

/* What a segment says, in its sender's numbers. */
struct numbers {
    u32 seq;
    u32 end; /* behind its payload */
    u32 ack;
    u8 flags;
    u8 dir;
};

static __always_inline struct numbers numbers_of(const struct packet *p, u8 dir)
{
    struct numbers n = {.seq = p->seq, .end = p->end, .ack = p->ack, .flags = p->tcp_flags, .dir = dir & 1};
    return n;
}

/* Whether its acknowledgement is of data under way, or not much older. */
static __always_inline bool ack_fits(const struct session *s, const struct numbers *n)
{
    u32 acked = s->acked[!n->dir], flight = s->next[!n->dir] - acked;
    return n->flags & TCP_ACK && n->ack - acked + ACK_SLACK <= flight + ACK_SLACK;
}

static __always_inline bool seq_near(const struct session *s, const struct numbers *n)
{
    return n->seq - s->next[n->dir & 1] + NEAR <= 2 * NEAR;
}

/* The segment of an established connection that moves numbers alone: nearly every one. False: see tcp_next. */
static __always_inline bool window_slides(struct session *s, u16 word, const struct numbers *n)
{
    u8 dir = n->dir & 1, other = !dir;
    u32 acked = s->acked[other], next = s->next[dir];
    if ((word & (STATE_MASK | BITS_LATE | BIT_DOUBT)) != STATE_ESTABLISHED ||
        (n->flags & (TCP_SYN | TCP_FIN | TCP_RST)) || !ack_fits(s, n))
        return false;
    if (seq_after(n->seq, next)) {
        if (dir == DIR_OUT)
            return false;
    } else if (seq_after(n->end, next)) {
        s->next[dir] = n->end;
    }
    if (seq_after(n->ack, acked))
        s->acked[other] = n->ack;
    return true;
}

/* Whether the FIN of a direction counts. No branches, for the verifier's sake; nor in what follows. */
static __always_inline bool has_closed(u16 word, u8 dir)
{
    u32 closed = 1 << STATE_CLOSING | 1 << (dir == DIR_OUT ? STATE_FIN_OUT : STATE_FIN_IN);
    return closed >> (word & STATE_MASK & 15) & 1;
}

/* RFC 9293 section 3.10.7.3 for a receiver that has sent its SYN alone, RFC 5961 section 3.2 for any other. An end that has closed
 * and is gone takes the number of its RST from what it answers, which may have been sent before its FIN came: the FIN's own.
 * Receivers take that one, too. */
static __always_inline bool rst_counts(const struct session *s, u16 word, const struct numbers *n)
{
    u8 dir = n->dir & 1, other = !dir;
    u16 late = BIT_LATE_OUT << dir, asked = BIT_SYN_OUT << other;
    if ((word & STATE_MASK) == STATE_NEW && (word & (BITS_SYN | BIT_DOUBT)) == asked)
        return n->flags & TCP_ACK && n->ack - s->acked[other] <= s->next[other] - s->acked[other];
    if (word & BIT_DOUBT && dir == DIR_OUT)
        return false;
    if (n->seq == s->acked[dir])
        return true;
    return !(word & late) && (n->seq == s->next[dir] || (n->seq + 1 == s->next[dir] && has_closed(word, dir)));
}

/* The word once a RST counts: it keeps which ends had closed. */
static __always_inline u16 rst_next(u16 word)
{
    u16 closed = has_closed(word, DIR_OUT) * BIT_FIN_OUT | has_closed(word, DIR_IN) * BIT_FIN_IN;
    return STATE_RESET | closed | (word & (BITS_FIN | BITS_SYN));
}

/* The state that data revives a session to. */
static __always_inline u8 revived(u16 word)
{
    u32 states = STATE_ESTABLISHED | STATE_FIN_OUT << 8 | STATE_FIN_IN << 16 | STATE_CLOSING << 24;
    return states >> (8 * (word / BIT_FIN_OUT & 3));
}

/* A SYN or SYN-ACK while the connection opens: the second must acknowledge the first, unless both ends open it. */
static __always_inline u16 syn_next(const struct session *s, u16 word, const struct numbers *n)
{
    u8 other = !n->dir;
    u16 own = BIT_SYN_OUT << (n->dir & 1), asked = BIT_SYN_OUT << other;
    if (!(n->flags & TCP_ACK))
        return word | own;
    bool answers = word & asked && n->ack - s->acked[other] <= s->next[other] - s->acked[other];
    return answers ? STATE_ESTABLISHED | own | asked : word;
}

/* The word once the FIN of a direction counts. */
static __always_inline u16 fin_next(u16 word, u8 dir)
{
    u8 state = word & STATE_MASK;
    u16 bits = word & ~(STATE_MASK | BIT_LATE_OUT << dir);
    if (state == STATE_ESTABLISHED)
        return bits | (dir == DIR_OUT ? STATE_FIN_OUT : STATE_FIN_IN);
    if (state == (dir == DIR_OUT ? STATE_FIN_IN : STATE_FIN_OUT))
        return bits | STATE_CLOSING;
    return bits | state;
}

/* From where on a direction's data is in order. */
static __always_inline u32 order_base(const struct session *s, u16 word, u8 dir)
{
    return word & (BIT_LATE_OUT << dir) ? s->acked[dir] : s->next[dir];
}

/* Whether its data, of which there may be none, joins what ends at this number. */
static __always_inline bool reaches(const struct numbers *n, u32 base)
{
    return !seq_after(n->seq, base) && !seq_after(base, n->end);
}

/* What an acceptable segment does to the FINs of both directions. A FIN that was lost before it came here may have been skipped:
 * then it joins what its receiver acknowledged, and nothing was sent behind it. */
static __always_inline u16 ends_next(const struct session *s, u16 word, const struct numbers *n)
{
    u8 dir = n->dir & 1, other = !dir;
    u32 base = order_base(s, word, dir), after = s->next[dir];
    if (word & (BIT_LATE_OUT << other) && n->ack == s->next[other])
        word = fin_next(word, other);
    if (dir == DIR_IN && word & BIT_LATE_IN && s->acked[DIR_IN] == s->next[DIR_IN]) /* acknowledged while in doubt */
        word = fin_next(word, DIR_IN);
    if (n->flags & TCP_FIN) {
        if (reaches(n, base) || (reaches(n, s->acked[dir]) && !seq_after(after, n->end + 1))) {
            word = fin_next(word, dir);
            after = n->end + 1;
        } else if (seq_after(n->seq, base)) {
            word |= seq_near(s, n) ? BIT_LATE_OUT << dir : 0;
        }
    }
    bool all = !seq_after(s->next[other], n->ack) && s->acked[dir] == after && !(word & BITS_LATE);
    if ((word & STATE_MASK) == STATE_CLOSING && all)
        word = (word & ~STATE_MASK) | STATE_TIME_WAIT;
    return word;
}

/* Whether what the inside host says in doubt is news of where it stands: an acknowledgement alone tells what it sends next,
 * data may be a repetition. */
static __always_inline bool says_anew(const struct session *s, const struct numbers *n)
{
    u32 next = s->next[DIR_OUT];
    return n->seq - s->acked[DIR_OUT] > NEAR || (n->seq == n->end ? n->end != next : seq_after(n->end, next));
}

/* The next word for a segment that doesn't just slide the window, after RFC 6146 section 3.5.2.2 and RFC 7857 section 2. */
static __always_inline u16 tcp_next(const struct session *s, u16 word, const struct numbers *n)
{
    u8 state = word & STATE_MASK;
    bool out = n->dir == DIR_OUT;
    if (n->flags & TCP_RST)
        return state != STATE_TIME_WAIT && rst_counts(s, word, n) ? rst_next(word) : word;
    if (n->flags & TCP_SYN)
        return state == STATE_NEW && !(word & BIT_DOUBT) ? syn_next(s, word, n) : word;
    bool fits = ack_fits(s, n) && (state != STATE_NEW || word & BIT_DOUBT || (word & BITS_SYN) == BITS_SYN);
    bool skips = seq_after(n->seq, s->next[n->dir & 1]) && !(n->flags & TCP_FIN);
    if (out && (word & BIT_DOUBT || !fits || skips)) { /* a FIN stands until more comes behind it */
        if (!(n->flags & TCP_ACK))
            return word;
        bool behind = word & BIT_LATE_OUT && !says_anew(s, n);
        u16 known = word & ~(fits ? BIT_LATE_OUT : BITS_LATE); /* what fits says nothing new of the outside's numbers */
        return known | BIT_DOUBT | (n->flags & TCP_FIN || behind ? BIT_LATE_OUT : 0);
    }
    if (!fits)
        return word;
    if (word & BIT_DOUBT || state == STATE_NEW || state == STATE_RESET) { /* data revives: RFC 7857 section 2.2 */
        if (!seq_near(s, n))
            return word;
        if (state == STATE_NEW || state == STATE_RESET)
            state = revived(word);
        word = state | (word & (BITS_SYN | BITS_LATE));
    }
    return ends_next(s, word, n);
}

/* Takes over the numbers of a segment that brought the word from `was` to `is`. */
static __always_inline void window_follow(struct session *s, u16 was, u16 is, const struct numbers *n)
{
    u8 dir = n->dir & 1, other = !dir;
    u32 end = n->end + (n->flags & TCP_FIN ? 1 : 0);
    if (n->flags & TCP_RST)
        return;
    if (n->flags & TCP_SYN) {
        if ((was & (STATE_MASK | BIT_DOUBT)) != STATE_NEW || (n->flags & TCP_ACK && (is & STATE_MASK) == STATE_NEW))
            return;
        s->acked[dir] = n->seq + 1;
        s->next[dir] = n->end + 1;
        return;
    }
    if (is & BIT_DOUBT) {
        if (dir == DIR_IN || !(n->flags & TCP_ACK))
            return;
        if (says_anew(s, n) || n->flags & TCP_FIN)
            s->next[DIR_OUT] = end;
        if (n->seq - s->acked[DIR_OUT] > NEAR)
            s->acked[DIR_OUT] = n->seq;
        s->acked[DIR_IN] = n->ack;
        if (!(is & BIT_LATE_IN))
            s->next[DIR_IN] = n->ack;
        return;
    }
    if (!ack_fits(s, n) || (is & STATE_MASK) == STATE_NEW)
        return;
    u32 base = order_base(s, was, dir);
    if (is & (BIT_LATE_OUT << dir)) {
        if (n->flags & TCP_FIN)
            s->next[dir] = end;
    } else if (!seq_after(n->seq, base) && seq_after(end, base)) {
        s->next[dir] = end;
    }
    if (seq_after(n->ack, s->acked[other]))
        s->acked[other] = n->ack;
}

/* Before the gate: whether an outsider's segment can be the other end's. What is far from the numbers known would mislead
 * the helper; what may bring a challenge passes. */
static __always_inline bool welcome(const struct session *s, const struct numbers *n)
{
    u16 word = s->state;
    bool opening = (word & STATE_MASK) == STATE_NEW;
    if (n->dir == DIR_OUT || word & BIT_DOUBT || (n->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
        return true;
    if (opening)
        return !(n->flags & TCP_SYN) || syn_next(s, word, n) != word;
    return seq_near(s, n) && (n->flags & (TCP_RST | TCP_SYN) || ack_fits(s, n));
}

#endif
