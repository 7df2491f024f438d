/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * named.h: the data connection that a server's 227 or 229 names, expected as the line passes.
 *
 * The law of this file: it makes expectations only where they let nothing through that wouldn't pass anyway, from inside to
 * the server itself (struct opening): they say whose a connection is. Only the usual form is read, of a port that isn't a
 * service's; what is doubtful, or expected already, is left to the helper, who reads every such line afterwards, and takes
 * back what it would not have expected. A row goes as soon as it is used (expect.h).
 */
#ifndef ALGATE_NAMED_H
#define ALGATE_NAMED_H

#define NAMED_BEHIND 3 /* characters at most behind the last parenthesis or stroke: ")." and one more */
#define NAMED_LEAST 1024
#define NAMED_CLOCK ((1ULL << EXPECT_NAMED_PORT) - 1)
#define SIX_NUMBERS 5 /* commas */
#define ONE_NUMBER 3  /* strokes */

/* Takes one more character of a line, from its end on. True: that was the last one. All that it knows is in memory: the
 * verifier would follow each number. */
static __always_inline bool named_step(struct named *n, u8 c)
{
    u32 scale = *(volatile u32 *)&n->scale, number = *(volatile u32 *)&n->number;
    u32 fields = *(volatile u32 *)&n->fields, most = *(volatile u32 *)&n->most;
    bool digits = scale > 1;
    if (c >= '0' && c <= '9') {
        n->number = number + (c - '0') * scale;
        n->scale = scale * 10;
        return scale > 10000; /* a sixth digit, which is one too many */
    }
    if (digits && !fields && (c == ',' || c == '|'))
        n->most = most = c == ',' ? SIX_NUMBERS : ONE_NUMBER;
    if (number > 65535 || (most == SIX_NUMBERS && number > 255))
        return true;
    if (c == '(') {
        n->numbers |= (u64)number << 40;
        n->found = most && fields == most && digits == (most == SIX_NUMBERS);
        return true;
    }
    if (fields < most && c == (most == SIX_NUMBERS ? ',' : '|') && digits == (most == SIX_NUMBERS || !fields)) {
        n->numbers |= (u64)number << (8 * (fields & 7));
        n->number = 0;
        n->scale = 1;
        n->fields = fields + 1;
        return false;
    }
    n->behind++;
    return digits || fields || *(volatile u32 *)&n->behind > NAMED_BEHIND;
}

/* Looks at the end of a server's line for the numbers in parentheses: six between commas, or the one of (|||port|). */
static __always_inline void read_named(struct __sk_buff *skb, const struct packet *p, struct scratch *room)
{
    struct named *n = &room->named;
    u32 size = tcp_payload_size(p);
    __builtin_memset(n, 0, sizeof(*n));
    n->scale = 1;
    if (size < NAMED_END + 4 || size > LINE_MAX ||
        bpf_skb_load_bytes(skb, tcp_payload(p) + size - NAMED_END, n->end, NAMED_END))
        return;
    UNKNOWN(room) = NAMED_END - 3; /* in front of CR LF */
    for (u32 i = 0; i < NAMED_END - 2; i++) {
        u32 at = UNKNOWN(room);
        if (named_step(n, n->end[at & (NAMED_END - 1)]))
            break;
        UNKNOWN(room) = at - 1;
    }
    n->opens = UNKNOWN(room);
    n->closes = NAMED_END - 2 - n->behind;
}

/* How long what a line names is expected without the helper, in ticks; 0: it isn't. Only a server outside is believed. */
static __always_inline u32 named_lasts(const struct session_key *key, const struct session *s, u8 dir)
{
    u32 row = opening_row(key, s);
    struct opening *o = dir == DIR_IN && !(s->flags & SESSION_FORWARD) ? openings.lookup(&row) : 0;
    return o ? o->lasts : 0;
}

/* Expects what read_named() found: its id, 0 if it can't. Its key stays in room->named_key. */
static __always_inline u64 expect_named(struct scratch *room, const struct session_key *key, const struct session *s,
                                        u8 dir, u32 now)
{
    u64 numbers = *(volatile u64 *)&room->named.numbers;
    u32 lasts = named_lasts(key, s, dir), ip = numbers >> 16;
    u16 port = numbers;
    if (!lasts || !*(volatile u32 *)&room->named.found || port < NAMED_LEAST || (ip && ip != bpf_ntohl(key->remote_ip)))
        return 0;
    struct expectation_key *at = &room->named_key;
    struct expectation *e = &room->expected;
    __builtin_memset(e, 0, sizeof(*e));
    at->from = key->inside_ip;
    at->to = key->remote_ip;
    at->to_port = bpf_htons(port);
    at->proto = IPPROTO_TCP;
    at->dir = DIR_OUT;
    e->id = 1ULL << EXPECT_NAMED | (u64)port << EXPECT_NAMED_PORT | (bpf_ktime_get_ns() & NAMED_CLOCK);
    e->control_id = s->id;
    e->control_key = *key;
    e->state = EXPECT_OPEN;
    e->port_index = s->public_ip ? s->port_index & 0xffff0000 : 0; /* which public address */
    e->alg = s->alg;
    e->expires = now + lasts;
    return expectations.insert(at, e) ? 0 : e->id;
}

#endif
