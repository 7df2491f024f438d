/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * session.h: the state and age of one session. It knows no packet bytes and no ports.
 *
 * The race: two CPUs may handle one session at once. State changes by compare-and-swap; the loser's change is recomputed
 * from the winner's state (at most twice, then left to the next packet). last_seen is in the same word, so a change also
 * loses to a refresh, which happens at most once per tick.
 */
#ifndef ALGATE_SESSION_H
#define ALGATE_SESSION_H

#define STATE_WORD_REST (~0xffffULL) /* of the session's word: what isn't the state */
#define PACKETS_CARRY (1ULL << 56)   /* in session.bytes: 2^32 packets */

/* state, alg, flags and last_seen as one. */
static __always_inline u64 session_word(const struct session *s)
{
    return *(volatile const u64 *)&s->state;
}

/* Moves the state if the word is still `seen`. Returns the word that was found: `seen` if it moved. */
static __always_inline u64 session_move(struct session *s, u64 seen, u16 state)
{
    return __sync_val_compare_and_swap((u64 *)&s->state, seen, (seen & STATE_WORD_REST) | state);
}

/* The claim of whoever ends or restarts a session: only one wins. */
static __always_inline bool session_mark_dead(struct session *s, u64 seen)
{
    return (seen & STATE_MASK) != STATE_DEAD && session_move(s, seen, STATE_DEAD) == seen;
}

/* Network byte order; 0 if it isn't translated. */
static __always_inline __be16 session_port(const struct session *s)
{
    return s->public_ip ? bpf_htons(s->port_index & 0xffff) : 0;
}

static __always_inline u32 state_timeout(const struct config *cfg, u8 state, u8 proto)
{
    if (proto == IPPROTO_TCP) {
        switch (state) {
        case STATE_NEW:
            return cfg->timeouts[TIMEOUT_TCP_OPENING];
        case STATE_ESTABLISHED:
        case STATE_FIN_IN: /* half-closed streams may still carry data: RFC 6146 section 3.5.2.2 */
        case STATE_FIN_OUT:
            return cfg->timeouts[TIMEOUT_TCP_ESTABLISHED];
        case STATE_RESET:
            return cfg->timeouts[TIMEOUT_TCP_RESET];
        default:
            return cfg->timeouts[TIMEOUT_TCP_CLOSING];
        }
    }
#ifdef SIX /* there other protocols have sessions too */
    return proto == IPPROTO_ICMP ? cfg->timeouts[TIMEOUT_ICMP] : cfg->timeouts[TIMEOUT_UDP];
#else
    return proto == IPPROTO_UDP ? cfg->timeouts[TIMEOUT_UDP] : cfg->timeouts[TIMEOUT_ICMP];
#endif
}

static __always_inline bool session_alive(const struct config *cfg, const struct session *s, u8 proto, u32 now)
{
    u8 state = s->state & STATE_MASK;
    /* Signed: another CPU may have refreshed it a tick after this one read the clock. */
    return state != STATE_DEAD && (s32)(now - s->last_seen) < (s32)state_timeout(cfg, state, proto);
}

/* Whether both ends have closed it, or one has reset it. */
static __always_inline bool session_over(u16 word)
{
    u8 state = word & STATE_MASK;
    return state == STATE_TIME_WAIT || state == STATE_RESET;
}

/* A SYN that begins a new connection on the 5-tuple of one that is over (RFC 7857 section 2.1 via RFC 6146), or that both
 * ends have closed, but for the last acknowledgement: then from outside only with a number above the old ones (RFC 9293 section
 * 3.6.1), while the inside host knows itself whether its port is free. On a connection that one end has closed, or none, its
 * receiver answers by a challenge, and if that shows that the other end is gone, a RST ends the session first. */
static __always_inline bool tcp_reopens(const struct session *s, const struct packet *p, u8 dir)
{
    u8 state = s->state & STATE_MASK;
    if ((p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) != TCP_SYN)
        return false;
    return session_over(state) || (state == STATE_CLOSING && (dir == DIR_OUT || seq_after(p->seq, s->next[DIR_IN])));
}

/* Whether a packet of this 5-tuple belongs to the session as it is: alive, and no SYN that begins another. */
static __always_inline bool session_carries(const struct config *cfg, const struct session *s, const struct packet *p,
                                            u8 dir, u32 now)
{
    return session_alive(cfg, s, p->proto, now) && !(p->proto == IPPROTO_TCP && tcp_reopens(s, p, dir));
}

/* What became of a session by one segment. */
enum touched {
    TOUCH_ENDED = 1,
    TOUCH_ANSWERED = 2, /* its host counts it as unanswered no more */
};

/* What a TCP segment does to its session. Returns enum touched; `sound`: whether its receiver would accept it. */
static __always_inline u32 session_segment(struct session *s, const struct numbers *n, bool *sound)
{
    u64 word = session_word(s);
    *sound = true;
    if (window_slides(s, word, n))
        return 0;
    u16 was = word, left = 0, is = tcp_next(s, was, n);
    if (is != was) {
        u64 seen = session_move(s, word, is);
        if (seen == word) {
            left = was; /* the word that this segment moved it from */
        } else if ((seen & STATE_MASK) != STATE_DEAD) {
            was = seen;
            is = tcp_next(s, was, n);
            if (is != was && session_move(s, seen, is) == seen)
                left = was;
        }
    }
    bool opening = (was & STATE_MASK) == STATE_NEW && !(n->flags & TCP_RST);
    *sound = is != was || opening || (ack_fits(s, n) && !(n->flags & (TCP_SYN | TCP_RST)));
    if (!*sound && n->flags & (TCP_SYN | TCP_FIN | TCP_RST) && !session_over(was))
        count(COUNT_IGNORED, 1);
    window_follow(s, was, is, n);
    return (is != was && session_over(is) && !session_over(was) ? TOUCH_ENDED : 0) |
           (left & ~is & BIT_UNANSWERED ? TOUCH_ANSWERED : 0);
}

/* The usual segment, whose only news are numbers; false: session_segment is to look at it. */
static __always_inline bool session_slides(struct session *s, struct packet *p, u8 dir)
{
    struct numbers n = numbers_of(p, dir);
    p->sound = 1;
    return window_slides(s, s->state, &n);
}

/* Accounts one packet, judged if it is of TCP. UDP and ICMP live on what the inside sends: inbound junk must not keep them
 * alive (RFC 7857 section 7). Nor does TCP live on what nobody accepts, or on RSTs. */
static __always_inline void session_touch(struct session *s, const struct packet *p, u8 dir, u32 now)
{
    bool refresh = p->proto == IPPROTO_TCP ? p->sound : dir == DIR_OUT;
    if (!refresh && p->proto != IPPROTO_TCP) {
        u64 word = session_word(s);
        refresh = (word & STATE_MASK) == STATE_UNREPLIED;
        if (refresh)
            session_move(s, word, STATE_ACTIVE);
    }
    if (refresh && s->last_seen != now)
        s->last_seen = now;
    u32 packets = s->packets[dir & 1] + 1;
    s->packets[dir & 1] = packets;
    s->bytes[dir & 1] += p->ip_size + (packets ? 0 : PACKETS_CARRY);
}

#endif
