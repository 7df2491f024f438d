/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * way64.h: where a packet goes that becomes IPv6: its addresses, its route, what the programs that turn it know of it.
 *
 * The law of this file: it looks, and writes nothing into a packet.
 */
#ifndef ALGATE_WAY64_H
#define ALGATE_WAY64_H

/* From an IPv4 host to a handle: the addresses. False: the handle is gone. */
static __always_inline bool ends_turned(const struct config6 *six, __be32 remote, __be32 handle, struct ipv6hdr *to)
{
    struct interned *row = addresses6.lookup(&handle);
    if (!row)
        return false;
    __builtin_memcpy(&to->daddr, row->bytes, 16);
    xlat_embed(&to->saddr, prefix_of(six), remote);
    return true;
}

/* Where it goes, of `size` bytes of IPv6; `kept`: the FIB's last answer will do; `freed`: read before its handle was looked up. */
static __always_inline int route_six(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                     const struct ipv6hdr *to, u32 size, bool kept, u32 freed, struct next_hop *next)
{
    u32 row = hop_row4(p->source, p->destination), now = now_tick();
    struct hop6 *h = kept ? turns.lookup(&row) : 0;
    struct bpf_fib_lookup fib = {};
    if (h && h->source == p->source && h->destination == p->destination && now - h->since < HOP_TICKS &&
        h->freed == freed && hop_kept(h, p, cfg->wan, size, next))
        return ROUTE_FORWARD;
    fib.family = FAMILY_SIX;
    fib.ifindex = cfg->wan;
    fib.l4_protocol = p->proto == IPPROTO_ICMP ? IPPROTO_ICMPV6 : p->proto;
    fib.tot_len = size;
    __builtin_memcpy(fib.ipv6_src, &to->saddr, 16);
    __builtin_memcpy(fib.ipv6_dst, &to->daddr, 16);
    long rc = fib_six(skb, cfg, &fib);
    next->ifindex = fib.ifindex;
    __builtin_memcpy(next->gateway, fib.ipv6_dst, 16);
    next->mtu = rc == BPF_FIB_LKUP_RET_SUCCESS || rc == BPF_FIB_LKUP_RET_FRAG_NEEDED ? fib.tot_len : 0;
    if (rc == BPF_FIB_LKUP_RET_FRAG_NEEDED)
        return ROUTE_TOO_BIG;
    if ((rc != BPF_FIB_LKUP_RET_SUCCESS && rc != BPF_FIB_LKUP_RET_NO_NEIGH) || !is_lan(cfg, fib.ifindex))
        return ROUTE_STACK;
    if (!h || !next->mtu)
        return ROUTE_FORWARD;
    __builtin_memcpy(h->ends, &to->saddr, sizeof(h->ends));
    h->sum = ends_sum(h->ends);
    h->freed = freed;
    __builtin_memcpy(h->to_mac, fib.dmac, 6);
    __builtin_memcpy(h->from_mac, fib.smac, 6);
    h->near = rc == BPF_FIB_LKUP_RET_SUCCESS && is_mac(fib.dmac);
    h->source = p->source;
    h->destination = p->destination;
    hop_fill(h, p, cfg->wan, now, next);
    return ROUTE_FORWARD;
}

/* The IPv4 packet that `ip` begins, to a handle. */
static __always_inline void describe4(const struct iphdr *ip, u32 l3, __be32 handle, struct packet *p)
{
    p->l3 = l3;
    p->header_size = ip->ihl * 4;
    p->l4 = l3 + p->header_size;
    p->ip_size = bpf_ntohs(ip->tot_len);
    p->proto = ip->protocol;
    p->ttl = ip->ttl;
    p->source = ip->saddr;
    p->destination = handle;
    p->fragment = bpf_ntohs(ip->frag_off) & (IP_MORE_FRAGMENTS | IP_OFFSET_MASK);
}

/* Of IPv6 on its link: of a super-packet each segment. */
static __always_inline u32 size_turned(struct __sk_buff *skb, const struct packet *p)
{
    u8 words = 0;
    if (!skb->gso_size)
        return p->ip_size - p->header_size + IP6_HEADER + (p->fragment ? sizeof(struct xlat_fragment) : 0);
    if (p->proto != IPPROTO_TCP || bpf_skb_load_bytes(skb, p->l4 + 12, &words, 1))
        return IP6_HEADER + 8 + skb->gso_size;
    return IP6_HEADER + (words >> 4) * 4 + skb->gso_size;
}

#endif
