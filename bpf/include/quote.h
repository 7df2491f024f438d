/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * quote.h: the packet that an ICMP error quotes, of either family: its numbers as its sender wrote them, and whether it can be
 * one under way.
 */
#ifndef ALGATE_QUOTE_H
#define ALGATE_QUOTE_H

/* The first 28 bytes of the quote, which every error carries (RFC 792), and where it is. */
struct quote {
    u32 at; /* offset of the quoted IP header */
    u32 l4; /* offset of the quoted transport header */
    struct packet inner;
};

/* `sum` and `size` bytes of a message that was loaded to room->words, not folded. */
static __always_inline u64 sum_words(const struct scratch *room, u32 size, u64 sum)
{
    for (u32 i = 0; i < DIGEST_MAX / 8; i++) {
        if (i * 8 >= size)
            break;
        u64 word = room->words[i];
        u32 left = size - i * 8;
        if (left < 8)
            word &= (1ULL << (left * 8)) - 1;
        sum += (word & 0xffffffff) + (word >> 32);
    }
    return sum;
}

/* A changed field inside the quote: the ICMP checksum covers it. */
static __always_inline int put_quoted(struct __sk_buff *skb, u32 icmp_sum_at, u32 at, u32 from, u32 to, u32 size)
{
    if (bpf_l4_csum_replace(skb, icmp_sum_at, from, to, size))
        return -1;
    return bpf_skb_store_bytes(skb, at, &to, size, 0);
}

/* One quoted TCP number at `at`, turned back to what its sender wrote; adjusts the quoted checksum if it is there. */
static __always_inline int restore_number(struct __sk_buff *skb, const struct packet *p, const struct quote *q,
                                          const struct adjust *adj, u8 dir, bool seq)
{
    u32 at = q->l4 + (seq ? 4 : 8), icmp_sum = p->l4 + 2, sum_at = q->l4 + 16, end = ip_at(p) + p->ip_size;
    __be32 was, is;
    __be16 sum;
    if (at + 4 > end || bpf_skb_load_bytes(skb, at, &was, sizeof(was)))
        return 0;
    is = bpf_htonl(seq ? unshift_ack(adj, dir, bpf_ntohl(was)) : shift_seq(adj, !dir, bpf_ntohl(was)));
    if (is == was)
        return 0;
    if (put_quoted(skb, icmp_sum, at, was, is, 4))
        return -1;
    if (sum_at + 2 > end || bpf_skb_load_bytes(skb, sum_at, &sum, sizeof(sum)))
        return 0;
    return put_quoted(skb, icmp_sum, sum_at, sum, csum_apply(sum, csum_change4(0, was, is)), 2);
}

/* The quoted segment of a control session went out by its receiver's count: a host ignores an error about a number that
 * it never sent (RFC 5927 section 4.1). */
static __always_inline int restore_numbers(struct __sk_buff *skb, const struct packet *p, const struct quote *q,
                                           const struct session_key *key, const struct session *s, u8 dir)
{
    struct adjust *adj = s->alg ? adjusts.lookup((struct session_key *)key) : 0;
    if (!adj || adj->id != s->id || q->inner.proto != IPPROTO_TCP)
        return 0;
    return restore_number(skb, p, q, adj, dir, true) || restore_number(skb, p, q, adj, dir, false) ? -1 : 0;
}

/* Whether the quoted segment, its numbers restored, can be one under way (RFC 5927 section 4.1). Of what came from outside
 * some may have passed beyond a gap. */
static __always_inline bool quote_under_way(struct __sk_buff *skb, const struct quote *q, const struct session *s,
                                            u8 dir)
{
    __be32 number = 0;
    if (q->inner.proto != IPPROTO_TCP || s->state & BIT_DOUBT)
        return true;
    if (bpf_skb_load_bytes(skb, q->l4 + 4, &number, sizeof(number)))
        return false;
    u32 first = s->acked[dir & 1] - 1,
        most = s->next[dir & 1] - first; /* a SYN, or what asks whether one still lives */
    return bpf_ntohl(number) - first <= most + (dir == DIR_IN && !s->alg ? NEAR : 0);
}

#endif
