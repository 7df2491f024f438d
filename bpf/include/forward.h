/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * forward.h: where a packet goes next. The kernel's FIB knows the routes; nothing is dropped here for lack of a
 * neighbour: bpf_redirect_neigh resolves it.
 */
#ifndef ALGATE_FORWARD_H
#define ALGATE_FORWARD_H

struct next_hop {
    u32 ifindex;
    __be32 gateway;
    u32 mtu;          /* largest packet that the way takes; 0: the FIB didn't say */
    struct hop *near; /* where the answer is kept; 0: nowhere */
};

enum route {
    ROUTE_FORWARD, /* can be redirected */
    ROUTE_STACK,   /* the stack must see it: no route, local */
    ROUTE_TOO_BIG, /* larger than `mtu` */
};

/* What the FIB says of a packet with these addresses that came in by `ifindex`. Of a GSO packet each segment must fit:
 * without a length the look-up lets any GSO packet pass. For a control session the FIB is asked anew: its segments are
 * cut by what this says, and a link may just have become smaller. */
static __always_inline int route_packet(struct __sk_buff *skb, const struct packet *p, __be32 source,
                                        __be32 destination, u32 ifindex, struct next_hop *next)
{
    u32 size = p->ip_size;
    if (skb->gso_size)
        size = p->header_size + (p->tcp_header ? p->tcp_header : 8) + skb->gso_size;
    struct hop *hop = p->control ? 0 : next_hop_of(skb, p, source, destination, ifindex, size, now_tick());
    if (hop) {
        next->near = hop;
        next->ifindex = hop->ifindex;
        next->gateway = hop->gateway;
        next->mtu = hop->mtu;
        return ROUTE_FORWARD;
    }
    struct bpf_fib_lookup fib = {};
    long rc = ask_fib(skb, p, source, destination, ifindex, size, &fib);
    next->ifindex = fib.ifindex;
    next->gateway = fib.ipv4_dst; /* the next hop's address, or the destination's own on the link */
    next->mtu = rc == BPF_FIB_LKUP_RET_SUCCESS || rc == BPF_FIB_LKUP_RET_FRAG_NEEDED ? fib.tot_len : 0; /* a union */
    if (rc == BPF_FIB_LKUP_RET_FRAG_NEEDED)
        return ROUTE_TOO_BIG;
    return rc == BPF_FIB_LKUP_RET_SUCCESS || rc == BPF_FIB_LKUP_RET_NO_NEIGH ? ROUTE_FORWARD : ROUTE_STACK;
}

/* The route to an address must leave by the device that the packet came in by (RFC 3704, strict). */
static __always_inline bool source_is_routed(struct __sk_buff *skb, const struct packet *p, u32 from, u32 expected)
{
    struct next_hop back = {};
    struct packet none = {.proto = p->proto};
    if (is_martian(p->source))
        return false;
    return route_packet(skb, &none, p->destination, p->source, from, &back) == ROUTE_FORWARD &&
           back.ifindex == expected;
}

static __always_inline int redirect_to(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                       const struct next_hop *next)
{
    struct bpf_redir_neigh params = {};
    params.nh_family = 2;
    params.ipv4_nh = next->gateway;
    return redirect_by(skb, cfg, p, next->ifindex, &params);
}

/* The same with the neighbour's address, where that is kept, but for the first packet of each answer that comes here: the kernel
 * must go on asking for the neighbour, which XDP never does. */
static __always_inline int redirect_kept(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                         const struct next_hop *next)
{
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    struct hop *near = next->near;
    if (!near || near->sought != 1 || !ip_at(p) || data + ETH_HEADER > data_end) {
        if (near && !near->sought)
            near->sought = 1;
        return redirect_to(skb, cfg, p, next);
    }
    __builtin_memcpy(data, near->to_mac, 6);
    __builtin_memcpy(data + 6, near->from_mac, 6);
    return redirect_near(skb, next->ifindex);
}

/* Row block of a public address, or -1. */
static __always_inline int public_slot(const struct config *cfg, __be32 ip)
{
    for (int i = 0; i < MAX_PUBLIC; i++) {
        if (i >= cfg->public_count)
            return -1;
        if (cfg->public_ip[i] == ip)
            return i;
    }
    return -1;
}

static __always_inline enum speaker speaker_of(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                               int at)
{
    if (at != AT_WAN_OUT)
        return OF_INSIDE;
    if (!skb->ingress_ifindex)
        return OF_GATEWAY;
    if (public_slot(cfg, p->source) >= 0) /* so is what it wraps and sends on for the inside: ESP, a tunnel */
        return OF_GATEWAY;
    return is_lan(cfg, skb->ingress_ifindex) ? OF_INSIDE : OF_OTHERS;
}

#endif
