/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * turn_in.h: NAT64 from outside: a packet of a session whose inside end point is a handle becomes IPv6 and leaves by the LAN
 * (RFC 6146 section 3.5, RFC 7915 section 4).
 *
 * The law of this file: the packet comes here as the outside sent it, judged and accounted by IPv4's programs; skb->cb says
 * whom it is for (turned.h). Its way is asked for before anything is written, so that its sender can be told by the packet as
 * it came. One hop is taken here.
 */
#ifndef ALGATE_TURN_IN_H
#define ALGATE_TURN_IN_H

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

/* Where it goes, of `size` bytes of IPv6; `kept`: the FIB's last answer will do. */
static __always_inline int route_six(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                     const struct ipv6hdr *to, u32 size, bool kept, struct next_hop *next)
{
    u32 row = hop_row(p->source, p->destination), now = now_tick();
    struct hop6 *h = kept ? hops6.lookup(&row) : 0;
    struct bpf_fib_lookup fib = {};
    if (h && h->source == p->source && h->destination == p->destination && h->from == cfg->wan &&
        h->proto == p->proto && now - h->since < HOP_TICKS && size <= h->mtu) {
        next->ifindex = h->ifindex;
        __builtin_memcpy(next->gateway, h->gateway, 16);
        return ROUTE_FORWARD;
    }
    fib.family = FAMILY_SIX;
    fib.ifindex = cfg->wan;
    fib.l4_protocol = p->proto == IPPROTO_ICMP ? IPPROTO_ICMPV6 : p->proto;
    fib.tot_len = size;
    __builtin_memcpy(fib.ipv6_src, &to->saddr, 16);
    __builtin_memcpy(fib.ipv6_dst, &to->daddr, 16);
    long rc = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
    next->ifindex = fib.ifindex;
    __builtin_memcpy(next->gateway, fib.ipv6_dst, 16);
    next->mtu = rc == BPF_FIB_LKUP_RET_SUCCESS || rc == BPF_FIB_LKUP_RET_FRAG_NEEDED ? fib.tot_len : 0;
    if (rc == BPF_FIB_LKUP_RET_FRAG_NEEDED)
        return ROUTE_TOO_BIG;
    if ((rc != BPF_FIB_LKUP_RET_SUCCESS && rc != BPF_FIB_LKUP_RET_NO_NEIGH) || !is_lan(cfg, fib.ifindex))
        return ROUTE_STACK;
    if (!h || !next->mtu)
        return ROUTE_FORWARD;
    h->source = p->source;
    h->destination = p->destination;
    h->from = cfg->wan;
    h->since = now;
    h->ifindex = next->ifindex;
    __builtin_memcpy(h->gateway, next->gateway, 16);
    h->mtu = next->mtu;
    h->proto = p->proto;
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

/* The inside port, or an echo's identifier, in place of the public one: 0, or -1. */
static __always_inline int put_inside_port(struct __sk_buff *skb, const struct packet *p, __be16 port)
{
    u32 at = p->l4 + (p->proto == IPPROTO_ICMP ? 4 : 2), sum_at = p->l4 + 16;
    __be16 was = 0, sum = 1;
    if (p->proto != IPPROTO_TCP)
        sum_at = p->l4 + (p->proto == IPPROTO_UDP ? 6 : 2);
    if (bpf_skb_load_bytes(skb, at, &was, 2) || bpf_skb_load_bytes(skb, sum_at, &sum, 2))
        return -1;
    if (was == port)
        return 0;
    bool summed = sum || p->proto != IPPROTO_UDP;
    if (summed && bpf_l4_csum_replace(skb, sum_at, was, port, 2 | (p->proto == IPPROTO_UDP ? XLAT_MANGLED : 0)))
        return -1;
    return bpf_skb_store_bytes(skb, at, &port, 2, 0) ? -1 : 0;
}

/* The id of the session that a packet of the helper, or behind its gate, is of. */
static __always_inline u64 owner_turned(struct __sk_buff *skb, const struct packet *p, u32 told)
{
    __be16 words[2] = {};
    struct session_key key = {.inside_ip = p->destination, .remote_ip = p->source, .proto = p->proto};
    if (bpf_skb_load_bytes(skb, p->l4, words, sizeof(words)))
        return 0;
    key.inside_port = told & TURN_PORT ? (__be16)told : words[1];
    key.remote_port = words[0];
    struct session *s = sessions.lookup(&key);
    return s ? s->id : 0;
}

/* What finds no way. */
static __always_inline int astray(struct __sk_buff *skb, const struct packet *p, int at, u32 told, int route, u32 mtu)
{
    if (told & TURN_CONTROL)
        return unsent(skb, p, owner_turned(skb, p, told), DIR_IN, route, mtu > 20 ? mtu - 20 : 0);
    return tell4(skb, at, route == ROUTE_TOO_BIG ? DROP_NAT64_TOO_BIG : DROP_NAT64_ROUTE, mtu > 20 ? mtu - 20 : 0);
}

static __always_inline int turn_in(struct __sk_buff *skb, int at)
{
    struct iphdr ip;
    struct ipv6hdr to = {};
    struct packet p = {};
    struct next_hop next = {};
    struct config *cfg = get_config();
    struct config6 *six = get_config6();
    __be32 handle = skb->cb[2];
    u32 told = skb->cb[3];
    OPAQUE(handle); /* else the compiler keeps the address of a member, which the verifier refuses */
    OPAQUE(told);
    if (!cfg || !six)
        return drop(DROP_MALFORMED);
    u32 l3 = link_header(skb, cfg, at);
    if (bpf_skb_load_bytes(skb, l3, &ip, sizeof(ip)) || ip.ihl < 5)
        return drop(DROP_MALFORMED);
    if (!six->prefix_bits || !ends_turned(six, ip.saddr, handle, &to))
        return drop(DROP_RACE);
    describe4(&ip, l3, handle, &p);
    u32 extra = p.header_size - sizeof(ip), size = p.ip_size - p.header_size;
    int route = route_six(skb, cfg, &p, &to, size_turned(skb, &p), !(told & TURN_CONTROL), &next);
    if (route != ROUTE_FORWARD)
        return astray(skb, &p, at, told, route, next.mtu);
    if (p.ttl <= 1)
        return tell4(skb, at, DROP_NAT64_HOPS, 0);
    if (told & TURN_PORT && put_inside_port(skb, &p, told))
        return drop(DROP_REWRITE_FAILED);
    if (!l3 && bpf_skb_change_head(skb, ETH_HEADER, 0))
        return drop(DROP_REWRITE_FAILED);
    if (extra && bpf_skb_adjust_room(skb, -(int)extra, BPF_ADJ_ROOM_NET, 0))
        return drop(DROP_REWRITE_FAILED);
    if (xlat_turn6(skb, &ip, size, &to))
        return drop(p.fragment ? DROP_NAT64_SUM : DROP_REWRITE_FAILED);
    p.l3 = ETH_HEADER;
    return redirect_to(skb, cfg, &p, &next);
}

#endif
