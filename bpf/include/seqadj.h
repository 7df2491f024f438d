/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * seqadj.h: TCP numbers through the corrections of a control session. algate.alg.engine.corrections is the same in
 * Python, and a test holds the two together.
 *
 * A stretch [start, end) of the sender's stream left as end - start + after - before bytes. Numbers before it shift by
 * `before`, from its end on by `after`. A receiver that acknowledges part of a stretch has acknowledged none of it.
 */
#ifndef ALGATE_SEQADJ_H
#define ALGATE_SEQADJ_H

/* A sender's number as the receiver must see it. */
static __always_inline u32 shift_seq(const struct adjust *adj, u8 dir, u32 seq)
{
    s32 delta = adj->base[dir & 1];
    u32 kept = adj->count[dir & 1];
    for (u32 i = 0; i < MAX_CORRECTIONS; i++) {
        OPAQUE(kept); /* else clang ends the loop at i == min(kept, 8), which Linux 6.1 can't follow */
        if (i >= kept)
            break;
        const struct correction *c = &adj->at[(dir & 1) * MAX_CORRECTIONS + i];
        if (!seq_after(c->end, seq)) {
            delta = c->after;
            continue;
        }
        if (seq_after(seq, c->start)) {
            u32 inside = seq - c->start, room = c->end - c->start + c->after - c->before;
            return c->start + c->before + (inside < room ? inside : room);
        }
        break;
    }
    return seq + delta;
}

/* A receiver's acknowledgement (or SACK edge) of the data of `dir` in the sender's numbers. */
static __always_inline u32 unshift_ack(const struct adjust *adj, u8 dir, u32 ack)
{
    s32 delta = adj->base[dir & 1];
    u32 kept = adj->count[dir & 1];
    for (u32 i = 0; i < MAX_CORRECTIONS; i++) {
        OPAQUE(kept); /* else clang ends the loop at i == min(kept, 8), which Linux 6.1 can't follow */
        if (i >= kept)
            break;
        const struct correction *c = &adj->at[(dir & 1) * MAX_CORRECTIONS + i];
        if (!seq_after(c->end + c->after, ack)) {
            delta = c->after;
            continue;
        }
        if (seq_after(ack, c->start + c->before))
            return c->start;
        break;
    }
    return ack - delta;
}

/* Writes one changed 32-bit number of the TCP header. */
static __always_inline int put_number(struct __sk_buff *skb, const struct packet *p, u32 offset, __be32 from, __be32 to)
{
    if (from == to)
        return 0;
    if (bpf_l4_csum_replace(skb, p->l4 + 16, from, to, 4))
        return -1;
    return bpf_skb_store_bytes(skb, p->l4 + offset, &to, 4, 0);
}

/* Maps every SACK edge (RFC 2018 section 3; the first block may be a D-SACK, RFC 2883). */
static __always_inline int shift_sack(struct __sk_buff *skb, const struct packet *p, const struct adjust *adj,
                                      u8 data_dir)
{
    u32 size = 0;
    struct scratch *room = p->tcp_header > 20 ? load_options(skb, p, &size) : 0;
    u32 first = room ? find_option(room, size, 5) : 0;
    u32 edges = first ? ((u32)room->options[(first - 1) & 63] - 2) >> 2 : 0;
    if (!first || first + edges * 4 > size)
        return 0;
    __builtin_memcpy(room->changed, room->options, sizeof(room->changed));
    for (u32 i = 0; i < 8; i++) {
        u32 at = first + i * 4;
        if (i >= edges)
            break;
        u32 value = unshift_ack(adj, data_dir, get_be32(room->options, at));
        room->changed[at & 63] = value >> 24;
        room->changed[(at + 1) & 63] = value >> 16;
        room->changed[(at + 2) & 63] = value >> 8;
        room->changed[(at + 3) & 63] = value;
    }
    return store_options(skb, p, room, size);
}

/* The urgent pointer counts from the sequence number `seq`, which leaves as `shifted` (RFC 6093 section 3.1): what was
 * inserted or removed between them moves it, else another byte would be the urgent one (FTP-39). */
static __always_inline int shift_urgent(struct __sk_buff *skb, const struct packet *p, const struct adjust *adj, u8 dir,
                                        u32 seq, u32 shifted)
{
    __be16 from = 0;
    if (!(p->tcp_flags & TCP_URG))
        return 0;
    if (bpf_skb_load_bytes(skb, p->l4 + 18, &from, sizeof(from)))
        return -1;
    __be16 to = bpf_htons((u16)(shift_seq(adj, dir, seq + bpf_ntohs(from)) - shifted));
    if (from == to)
        return 0;
    if (bpf_l4_csum_replace(skb, p->l4 + 16, from, to, 2))
        return -1;
    return bpf_skb_store_bytes(skb, p->l4 + 18, &to, sizeof(to), 0);
}

/* Sequence number, urgent pointer, acknowledgement and SACK edges of a segment of direction `dir`. */
static __always_inline int adjust_segment(struct __sk_buff *skb, const struct packet *p, const struct adjust *adj,
                                          u8 dir, __be32 seq, __be32 ack)
{
    u32 shifted = shift_seq(adj, dir, bpf_ntohl(seq));
    if (put_number(skb, p, 4, seq, bpf_htonl(shifted)) || shift_urgent(skb, p, adj, dir, bpf_ntohl(seq), shifted))
        return -1;
    u8 data_dir = !dir;
    if (!(p->tcp_flags & TCP_ACK) || (!adj->count[data_dir] && !adj->base[data_dir]))
        return 0;
    if (put_number(skb, p, 8, ack, bpf_htonl(unshift_ack(adj, data_dir, bpf_ntohl(ack)))))
        return -1;
    return shift_sack(skb, p, adj, data_dir);
}

#endif
