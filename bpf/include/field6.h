/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * field6.h: the fields of an IPv6 header, changed in place, and what a transport checksum has of it: the names of nat.h.
 */
#ifndef ALGATE_FIELD6_H
#define ALGATE_FIELD6_H

/* Returns 0, or -1 if the kernel refused. */
static __always_inline int put_ttl(struct __sk_buff *skb, const struct packet *p, u8 hops)
{
    return bpf_skb_store_bytes(skb, ip_at(p) + 7, &hops, 1, BPF_F_RECOMPUTE_CSUM);
}

/* The same, written directly where the header is at hand. */
static __always_inline int put_hops(struct __sk_buff *skb, const struct packet *p, u8 hops)
{
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    struct ipv6hdr *ip = data + ip_at(p);
    if ((void *)(ip + 1) > data_end)
        return put_ttl(skb, p, hops);
    __be16 *word = (void *)&ip->nexthdr, from = *word; /* the two bytes that a sum takes together */
    ip->hop_limit = hops;
    bpf_csum_update(skb, csum_fold(csum_change2(0, from, *word)));
    return 0;
}

/* The length in the IP header. Returns 0, or -1 if the kernel refused. */
static __always_inline int put_size(struct __sk_buff *skb, const struct packet *p, u16 old, u16 size)
{
    __be16 to = bpf_htons(size - IP6_HEADER);
    return bpf_skb_store_bytes(skb, ip_at(p) + 4, &to, 2, BPF_F_RECOMPUTE_CSUM);
}

/* What a packet's transport checksum starts from, its addresses included (RFC 8200 section 8.1). */
static __always_inline u16 packet_pseudo_sum(struct __sk_buff *skb, const struct packet *p, u16 size)
{
    u32 words[8];
    if (bpf_skb_load_bytes(skb, ip_at(p) + 8, words, sizeof(words)))
        return 0;
    u8 proto = p->proto == IPPROTO_ICMP ? IPPROTO_ICMPV6 : p->proto;
    return csum_fold(sum_diff(0, 0, words, sizeof(words), bpf_htons(proto) + bpf_htons(size)));
}

/* What the MSS of a SYN of this inside host's is lowered to, 0: it isn't. */
static __always_inline u16 mss_towards(const struct config *cfg, __be32 inside)
{
    u32 zero = 0;
    struct config6 *six = configs6.lookup(&zero);
    return six ? six->mss_clamp : 0;
}

#endif
