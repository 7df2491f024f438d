/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * nat.h: changing an end point of a packet in place, with every checksum that covers it.
 *
 * TC: the transport checksum goes through bpf_l4_csum_replace, since only that knows whether the field is finished or
 * holds a partial sum for the device (CHECKSUM_PARTIAL). The IP header's is always finished and is changed directly.
 */
#ifndef ALGATE_NAT_H
#define ALGATE_NAT_H

/* Which end point, and what it becomes. */
struct rewrite {
    __be32 ip;
    __be16 port;
    bool source; /* the source end point; else the destination */
    bool hop;    /* the gateway forwards it past the stack: TTL goes down by one */
};

static __always_inline u32 sum_offset(u8 proto)
{
    return proto == IPPROTO_TCP ? 16 : proto == IPPROTO_UDP ? 6 : 2;
}

/* The IP header: one address and the TTL. */
static __always_inline void rewrite_ip(struct iphdr *ip, const struct rewrite *to)
{
    u32 change = 0;
    if (to->source) {
        change = csum_change4(change, ip->saddr, to->ip);
        ip->saddr = to->ip;
    } else {
        change = csum_change4(change, ip->daddr, to->ip);
        ip->daddr = to->ip;
    }
    if (to->hop) {
        u16 from = *(u16 *)&ip->ttl;
        ip->ttl -= 1;
        change = csum_change2(change, from, *(u16 *)&ip->ttl);
    }
    ip->check = csum_apply(ip->check, change);
}

/* The port, or an echo's identifier: 8 bytes of the transport header must be there. */
static __always_inline void put_port(__be16 *l4, u8 proto, const struct rewrite *to)
{
    l4[proto == IPPROTO_ICMP ? 2 : to->source ? 0 : 1] = to->port;
}

/* Returns 0, or -1 if the kernel refused. */
static __always_inline int put_ttl(struct __sk_buff *skb, const struct packet *p, u8 ttl)
{
    __be16 from = bpf_htons((u16)p->ttl << 8 | p->proto), to = bpf_htons((u16)ttl << 8 | p->proto);
    if (bpf_l3_csum_replace(skb, ip_at(p) + 10, from, to, 2))
        return -1;
    return bpf_skb_store_bytes(skb, ip_at(p) + 8, &to, 2, 0);
}

/* The length in the IP header. Returns 0, or -1 if the kernel refused. */
static __always_inline int put_size(struct __sk_buff *skb, const struct packet *p, u16 old, u16 size)
{
    __be16 from = bpf_htons(old), to = bpf_htons(size);
    return bpf_l3_csum_replace(skb, ip_at(p) + 10, from, to, 2) || bpf_skb_store_bytes(skb, ip_at(p) + 2, &to, 2, 0)
               ? -1
               : 0;
}

/* What a packet's transport checksum starts from, its addresses included. */
static __always_inline u16 packet_pseudo_sum(struct __sk_buff *skb, const struct packet *p, u16 size)
{
    return pseudo_sum(p->source, p->destination, p->proto, size);
}

/* What the MSS of a SYN of this inside host's is lowered to, 0: it isn't. */
static __always_inline u16 mss_towards(const struct config *cfg, __be32 inside)
{
#ifdef NAT64
    struct config6 *six = is_handle(inside) ? get_config6() : 0;
    if (six)
        return six->mss_turned;
#endif
    return cfg->mss_clamp;
}

/* Returns 0, or -1 if the kernel refused. Pointers into the packet are stale afterwards. */
static __always_inline int rewrite_skb(struct __sk_buff *skb, const struct packet *p, const struct rewrite *to)
{
    __be32 old_ip = to->source ? p->source : p->destination;
    __be16 old_port = to->source ? p->source_port : p->destination_port;
    u32 offset = p->l4 + sum_offset(p->proto);
    u64 flags = p->proto == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
    bool summed = p->proto != IPPROTO_UDP || p->sum;
    if (summed && p->proto != IPPROTO_ICMP && old_ip != to->ip &&
        bpf_l4_csum_replace(skb, offset, old_ip, to->ip, BPF_F_PSEUDO_HDR | flags | 4))
        return -1;
    if (summed && old_port != to->port && bpf_l4_csum_replace(skb, offset, old_port, to->port, flags | 2))
        return -1;
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    struct iphdr *ip = data + ip_at(p);
    if ((void *)(ip + 1) > data_end)
        return -1;
    rewrite_ip(ip, to);
    __be16 *ports_at = data + p->l4;
    if ((void *)(ports_at + 4) > data_end)
        return -1;
    put_port(ports_at, p->proto, to);
    return 0;
}

/* XDP: frames whose checksum is finished (the caller made sure); changed directly. */
static __always_inline int rewrite_direct(void *data, void *data_end, const struct packet *p, const struct rewrite *to)
{
    struct iphdr *ip = data + ETH_HEADER;
    u8 *l4 = (void *)(ip + 1);
    u32 at = sum_offset(p->proto);
    __be16 *check = (void *)(l4 + at), *ports_at = (void *)l4;
    if ((void *)(check + 1) > data_end || (void *)(ports_at + 4) > data_end)
        return -1;
    u32 change = 0;
    if (p->proto != IPPROTO_ICMP)
        change = csum_change4(change, to->source ? p->source : p->destination, to->ip);
    change = csum_change2(change, to->source ? p->source_port : p->destination_port, to->port);
    if (p->proto != IPPROTO_UDP || p->sum) {
        u16 sum = csum_apply(p->sum, change);
        *check = p->proto == IPPROTO_UDP && !sum ? 0xffff : sum; /* RFC 768: 0 means "none" */
    }
    put_port(ports_at, p->proto, to);
    rewrite_ip(ip, to);
    return 0;
}

#endif
