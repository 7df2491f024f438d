/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * route6.h: where an IPv6 packet goes next, by the kernel's FIB: the names of forward.h and nexthop.h, and their promises.
 *
 * The law of this file: the FIB is asked with the addresses in the packet; handles are only the key of what it said last.
 */
#ifndef ALGATE_ROUTE6_H
#define ALGATE_ROUTE6_H

#define FAMILY_SIX 10 /* AF_INET6 */

struct next_hop {
    u32 ifindex;
    u32 gateway[4];
    u32 mtu; /* largest packet that the way takes; 0: the FIB didn't say */
};

enum route {
    ROUTE_FORWARD, /* can be redirected */
    ROUTE_STACK,   /* the stack must see it: no route, local */
    ROUTE_TOO_BIG, /* larger than `mtu` */
};

static __always_inline u32 hop_row(__be32 source, __be32 destination)
{
    return ((source * 0x85EBCA6B) ^ (destination * 0x9E3779B1)) >> 22; /* HOP_ROWS = 1 << 10 */
}

/* Asks the FIB for the way of this packet, or with `back` of one from its destination to its source. */
static __always_inline long ask_fib(struct __sk_buff *skb, const struct packet *p, u32 from, u32 size, bool back,
                                    struct bpf_fib_lookup *fib)
{
    u32 at = ip_at(p) + 8;
    struct config *cfg = get_config();
    fib->family = FAMILY_SIX;
    fib->ifindex = from;
    fib->l4_protocol = p->proto == IPPROTO_ICMP ? IPPROTO_ICMPV6 : p->proto;
    fib->tot_len = size;
    if (!cfg || bpf_skb_load_bytes(skb, back ? at + 16 : at, fib->ipv6_src, 16) ||
        bpf_skb_load_bytes(skb, back ? at : at + 16, fib->ipv6_dst, 16))
        return -1;
    return fib_six(skb, cfg, fib);
}

/* The device by which a packet, or an answer to it, would leave; 0 if the stack would not forward it. Asked for the smallest
 * packet: with no size the kernel holds the skb's own against the device, and one that is too large for it had no way. */
static __always_inline u32 way_of(struct __sk_buff *skb, const struct packet *p, u32 from, bool back)
{
    struct bpf_fib_lookup fib = {};
    long rc = ask_fib(skb, p, from, IP6_HEADER, back, &fib);
    return rc == BPF_FIB_LKUP_RET_SUCCESS || rc == BPF_FIB_LKUP_RET_NO_NEIGH ? fib.ifindex : 0;
}

/* The route to its source must leave by the device that the packet came in by (RFC 3704, strict). */
static __always_inline bool source_is_routed(struct __sk_buff *skb, const struct packet *p, u32 from, u32 expected)
{
    return source_scope(skb, p) == SCOPE_GLOBAL && way_of(skb, p, from, true) == expected;
}

static __always_inline u32 size_on_link(struct __sk_buff *skb, const struct packet *p)
{
    return skb->gso_size ? p->header_size + (p->tcp_header ? p->tcp_header : 8) + skb->gso_size : p->ip_size;
}

/* As the FIB says it now. What leaves must still have an inside source: a prefix may have gone a moment ago. */
static __always_inline int route_anew(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                      u32 ifindex, u32 size, struct next_hop *next)
{
    struct bpf_fib_lookup fib = {};
    long rc = ask_fib(skb, p, ifindex, size, false, &fib);
    next->ifindex = fib.ifindex;
    __builtin_memcpy(next->gateway, fib.ipv6_dst,
                     16); /* the next hop's address, or the destination's own on the link */
    next->mtu = rc == BPF_FIB_LKUP_RET_SUCCESS || rc == BPF_FIB_LKUP_RET_FRAG_NEEDED ? fib.tot_len : 0; /* a union */
    if (rc == BPF_FIB_LKUP_RET_FRAG_NEEDED)
        return ROUTE_TOO_BIG;
    if (rc != BPF_FIB_LKUP_RET_SUCCESS && rc != BPF_FIB_LKUP_RET_NO_NEIGH)
        return ROUTE_STACK;
    if (next->ifindex == cfg->wan && ifindex != cfg->wan && !source_is_routed(skb, p, cfg->wan, ifindex))
        return ROUTE_STACK; /* which brings it to WAN egress, where it is judged */
    return ROUTE_FORWARD;
}

/* Takes the FIB's last answer about this pair if the packet came the same way and fits. */
static __always_inline bool hop_kept(const struct hop6 *h, const struct packet *p, u32 ifindex, u32 size,
                                     struct next_hop *next)
{
    if (h->from != ifindex || h->proto != p->proto || size > h->mtu)
        return false;
    next->ifindex = h->ifindex;
    __builtin_memcpy(next->gateway, h->gateway, 16);
    next->mtu = h->mtu;
    return true;
}

static __always_inline void hop_fill(struct hop6 *h, const struct packet *p, u32 ifindex, u32 now,
                                     const struct next_hop *next)
{
    h->from = ifindex;
    h->since = now;
    h->ifindex = next->ifindex;
    __builtin_memcpy(h->gateway, next->gateway, 16);
    h->mtu = next->mtu;
    h->proto = p->proto;
}

/* Keeps an answer. The handles follow with the next packet. */
static __always_inline void hop_keep(struct __sk_buff *skb, const struct packet *p, u32 ifindex,
                                     const struct next_hop *next)
{
    struct hop6 *h = p->row;
    if (!h)
        return;
    h->source = p->fresh ? h->source : 0;
    h->since = p->tick - HOP_TICKS;
    bpf_skb_load_bytes(skb, ip_at(p) + 8, h->ends, sizeof(h->ends)); /* which leaves zeros where it fails */
    hop_fill(h, p, ifindex, p->tick, next);
}

/* Whether the FIB said a moment ago that such a packet leaves by the WAN; then its source was judged, too (route_anew). */
static __always_inline bool kept_outward(struct __sk_buff *skb, const struct config *cfg, const struct packet *p)
{
    struct hop6 *h = p->fresh ? p->row : 0;
    return h && h->ifindex == cfg->wan && h->from == skb->ingress_ifindex && h->proto == p->proto &&
           size_on_link(skb, p) <= h->mtu;
}

/* What the FIB says of a packet that came in by `ifindex`. Of a GSO packet each segment must fit. For a control session it is
 * asked anew. The addresses are the packet's own. */
static __always_inline int route_packet(struct __sk_buff *skb, const struct packet *p, __be32 source,
                                        __be32 destination, u32 ifindex, struct next_hop *next)
{
    u32 size = size_on_link(skb, p);
    struct config *cfg = get_config();
    struct hop6 *h = p->fresh && !p->control ? p->row : 0;
    if (!cfg)
        return ROUTE_STACK;
    if (h && hop_kept(h, p, ifindex, size, next))
        return ROUTE_FORWARD;
    int route = route_anew(skb, cfg, p, ifindex, size, next);
    if (route == ROUTE_FORWARD && next->mtu && !p->control)
        hop_keep(skb, p, ifindex, next);
    return route;
}

static __always_inline int redirect_to(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                       const struct next_hop *next)
{
    struct bpf_redir_neigh params = {};
    params.nh_family = FAMILY_SIX;
    __builtin_memcpy(params.ipv6_nh, next->gateway, 16);
    return redirect_by(skb, cfg, p, next->ifindex, &params);
}

static __always_inline enum speaker speaker_of(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                               int at)
{
    if (at != AT_WAN_OUT)
        return OF_INSIDE;
    if (!skb->ingress_ifindex)
        return OF_GATEWAY;
    return is_lan(cfg, skb->ingress_ifindex) ? OF_INSIDE : OF_OTHERS;
}

#endif
