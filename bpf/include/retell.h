/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * retell.h: a line between two IP families that goes on in the other one's words without waiting for the helper: EPSV as PASV,
 * and the 227 that answers it as a 229 (RFC 6384 section 6).
 *
 * The law of this file: what leaves is as long as what came, so no number shifts, and it is what the helper would say
 * (algate.alg.protocols.ftp.families). Which lines, words.h has decided. As behind the helper's own replacements, the bytes
 * stay in `replacements` for whoever repeats the line.
 */
#ifndef ALGATE_RETELL_H
#define ALGATE_RETELL_H

#define STROKES 3
#define TEXT_AT 4    /* behind the code and a blank */
#define TEXT_SIZE 30 /* bytes of the text of a 229, RFC 2428 section 3 */

/* Writes the port between strokes in front of the closing parenthesis, in the room of the six numbers, with blanks before
 * them. Through memory, as in named.h. */
static __always_inline void write_extended(struct named *n)
{
    n->number = n->numbers & 0xffff;
    n->fields = 0; /* strokes, and then a parenthesis, that were written in front */
    for (u32 i = 0; i < NAMED_END - 3; i++) {
        u32 at = *(volatile u32 *)&n->closes - 1 - i, number = *(volatile u32 *)&n->number;
        u32 fields = *(volatile u32 *)&n->fields;
        if (at < *(volatile u32 *)&n->opens || at >= NAMED_END)
            return;
        u8 c = i && number ? '0' + number % 10 : !i || fields < STROKES ? '|' : fields == STROKES ? '(' : ' ';
        if (c == '(')
            n->behind = at; /* where it stands now */
        if (i && number)
            n->number = number / 10;
        else if (i)
            n->fields = fields + 1;
        OPAQUE(at); /* the mask repeats what was tested: see length_within */
        n->end[at & (NAMED_END - 1)] = c;
    }
}

/* The bytes of a line, and zeros behind them, in room->words. */
static __always_inline int load_line(struct __sk_buff *skb, const struct segment *g, struct scratch *room)
{
    __builtin_memset(room->words, 0, LINE_MAX);
    return bpf_skb_load_bytes(skb, g->payload_at, room->words, length_within(g->payload, LINE_MAX));
}

/* Writes the other words; `reply`: of a 227. */
static __always_inline int write_words(struct __sk_buff *skb, const struct segment *g, struct scratch *room, bool reply)
{
    u8 nine = '9';
    char asks[] = {'P', 'A', 'S', 'V'}, text[] = "Entering Extended Passive Mode";
    if (!reply)
        return bpf_skb_store_bytes(skb, g->payload_at, asks, sizeof(asks), BPF_F_RECOMPUTE_CSUM);
    struct named *n = &room->named;
    write_extended(n);
    u32 end = g->payload - NAMED_END, opened = end + *(volatile u32 *)&n->opens,
        opens = end + *(volatile u32 *)&n->behind;
    if (bpf_skb_store_bytes(skb, g->payload_at + end, n->end, NAMED_END, BPF_F_RECOMPUTE_CSUM))
        return -1;
    if (opened <= TEXT_AT + TEXT_SIZE && opens > TEXT_AT + TEXT_SIZE &&
        bpf_skb_store_bytes(skb, g->payload_at + TEXT_AT, text, TEXT_SIZE, BPF_F_RECOMPUTE_CSUM))
        return -1;
    return bpf_skb_store_bytes(skb, g->payload_at + 2, &nine, 1, BPF_F_RECOMPUTE_CSUM);
}

/* The line at hand, which the gate let pass, in the other words; from here on its repetitions meet the decision. */
static __always_inline int retell(struct __sk_buff *skb, int at, bool in)
{
    struct packet p = {};
    struct session_key key;
    struct segment g = {};
    struct decision_key place;
    u32 zero = 0, seq = skb->cb[2];
    OPAQUE(seq); /* as in judge() */
    struct scratch *room = scratch.lookup(&zero);
    struct config *cfg = parse_flow(skb, at, &p, false);
    if (!cfg || !room || p.proto != IPPROTO_TCP)
        return drop(DROP_REWRITE_FAILED);
    struct session *s = in ? find_in(cfg, &p, &key) : find_out(&p, &key);
    if (!s || load_segment(skb, &p, in, &g) || g.payload > LINE_MAX || g.payload < ASKS_SIZE)
        return drop(DROP_REWRITE_FAILED);
    g.seq = seq; /* the sender's own */
    decision_key_of(&place, s->id, &g);
    if (load_line(skb, &g, room))
        return drop(DROP_REWRITE_FAILED);
    u32 change = bpf_csum_diff((__be32 *)room->words, LINE_MAX, 0, 0, 0);
    if (write_words(skb, &g, room, in) || load_line(skb, &g, room))
        return drop(DROP_REWRITE_FAILED);
    change = bpf_csum_diff(0, 0, (__be32 *)room->words, LINE_MAX, change);
    if (bpf_l4_csum_replace(skb, p.l4 + 16, 0, change, 0))
        return drop(DROP_REWRITE_FAILED);
    replacements.update(&place, (struct replacement *)room->words);
    struct decision *d = decisions.lookup(&place);
    if (d) {
        d->sum_change = change;
        d->new_size = g.payload;
    }
    RETELL(room) = 0;
    return leave_gate(skb, &p, at, in);
}

#endif
