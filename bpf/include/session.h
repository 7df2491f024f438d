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

#define STATE_MASK 0xff
#define STATE_WORD_REST (~0xffffULL) /* of the session's word: what isn't the state */

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
    return proto == IPPROTO_UDP ? cfg->timeouts[TIMEOUT_UDP] : cfg->timeouts[TIMEOUT_ICMP];
}

static __always_inline bool session_alive(const struct config *cfg, const struct session *s, u8 proto, u32 now)
{
    u8 state = s->state & STATE_MASK;
    /* Signed: another CPU may have refreshed it a tick after this one read the clock. */
    return state != STATE_DEAD && (s32)(now - s->last_seen) < (s32)state_timeout(cfg, state, proto);
}

/* The next state word for a TCP segment, after RFC 6146 section 3.5.2.2 and RFC 7857 section 2. */
static __always_inline u16 tcp_next(u16 word, u8 flags, u8 dir)
{
    u8 state = word & STATE_MASK;
    u16 syns = word & (BIT_SYN_OUT | BIT_SYN_IN);
    if (flags & TCP_RST)
        return STATE_RESET | syns;
    if (flags & TCP_SYN) {
        u16 both = syns | (dir == DIR_OUT ? BIT_SYN_OUT : BIT_SYN_IN);
        if (state == STATE_NEW || state == STATE_RESET)
            return (both == (BIT_SYN_OUT | BIT_SYN_IN) ? STATE_ESTABLISHED : STATE_NEW) | both;
        return word;
    }
    if (flags & TCP_FIN) {
        u8 own = dir == DIR_OUT ? STATE_FIN_OUT : STATE_FIN_IN;
        u8 other = dir == DIR_OUT ? STATE_FIN_IN : STATE_FIN_OUT;
        if (state == STATE_ESTABLISHED || state == STATE_RESET)
            return own | syns;
        if (state == other)
            return STATE_CLOSING | syns;
        return word;
    }
    if (state == STATE_CLOSING)
        return STATE_TIME_WAIT | syns;
    if (state == STATE_RESET) /* anything but another RST revives: RFC 7857 section 2.2 */
        return STATE_ESTABLISHED | syns;
    return word;
}

/* A SYN that begins a new connection on the 5-tuple of one that is ending: RFC 7857 section 2.1 via RFC 6146. */
static __always_inline bool tcp_reopens(u16 word, u8 flags)
{
    u8 state = word & STATE_MASK;
    return (flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN && state >= STATE_FIN_IN && state <= STATE_RESET;
}

/* Whether a packet of this 5-tuple belongs to the session as it is: alive, and no SYN that begins another. */
static __always_inline bool session_carries(const struct config *cfg, const struct session *s, const struct packet *p,
                                            u32 now)
{
    return session_alive(cfg, s, p->proto, now) && !(p->proto == IPPROTO_TCP && tcp_reopens(s->state, p->tcp_flags));
}

static __always_inline u16 next_state(u16 word, const struct packet *p, u8 dir)
{
    if (p->proto == IPPROTO_TCP) {
        u16 next = tcp_next(word, p->tcp_flags, dir);
        if ((next & STATE_MASK) == STATE_NEW)
            next |= word & BIT_UNANSWERED;
        bool ends = (next & STATE_MASK) == STATE_TIME_WAIT;
        return ends && tcp_payload_size(p) ? word : next; /* what repeats data isn't the last ACK */
    }
    if (dir == DIR_IN && (word & STATE_MASK) == STATE_UNREPLIED)
        return STATE_ACTIVE;
    return word;
}

/* Whether both ends have closed it, or one has reset it. */
static __always_inline bool session_over(u16 word)
{
    u8 state = word & STATE_MASK;
    return state == STATE_TIME_WAIT || state == STATE_RESET;
}

/* Accounts one packet. UDP and ICMP live on what the inside sends: inbound junk must not keep them alive (RFC 7857 section 7).
 * Returns what became of it by this packet. */
enum touched {
    TOUCH_ENDED = 1,
    TOUCH_ANSWERED = 2, /* its host counts it as unanswered no more */
};

static __always_inline u32 session_touch(struct session *s, const struct packet *p, u8 dir, u32 now)
{
    u64 word = session_word(s);
    u16 state = word, next = next_state(state, p, dir);
    bool moves = next != state;
    u16 left = 0; /* the word that this packet moved it from */
    if (moves) {
        u64 seen = session_move(s, word, next);
        if (seen == word)
            left = word;
        else if ((seen & STATE_MASK) != STATE_DEAD) {
            next = next_state(seen, p, dir);
            if (next != (u16)seen && session_move(s, seen, next) == seen)
                left = seen;
        }
    }
    bool refresh = p->proto == IPPROTO_TCP ? !(p->tcp_flags & TCP_RST) || moves : dir == DIR_OUT || moves;
    if (refresh && s->last_seen != now)
        s->last_seen = now;
    s->packets[dir & 1] += 1;
    s->bytes[dir & 1] += p->ip_size;
    return (moves && session_over(next) && !session_over(state) ? TOUCH_ENDED : 0) |
           (left & ~next & BIT_UNANSWERED ? TOUCH_ANSWERED : 0);
}

#endif
