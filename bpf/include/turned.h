/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * turned.h: IPv6 hosts as IPv4's programs meet them, behind NAT64: an inside address that is a handle.
 *
 * The law of this file: outbound, such a packet has become IPv4 before it comes here, with the handle for its source, and goes
 * the ordinary way. Inbound, whoever finds that the inside end point is a handle hands the packet, unchanged, to the program
 * that turns it (turn_in.h). Without NAT64 nothing of this is compiled.
 */
#ifndef ALGATE_TURNED_H
#define ALGATE_TURNED_H

/* skb->cb[3] for STAGE_TURN_IN and STAGE_TURN_ERROR_IN, whose skb->cb[2] is the handle. */
#define TURN_PORT 0x10000    /* the low half is the inside port; else the port in the packet is */
#define TURN_CONTROL 0x20000 /* of a control session, or of the helper: it is told of what finds no way */

static __always_inline bool is_turned(__be32 inside)
{
#ifdef NAT64
    return is_handle(inside);
#else
    return false;
#endif
}

static __always_inline bool turned_source(const struct packet *p)
{
    return is_turned(p->source);
}

/* On to the other family. */
static __always_inline int next_turn(struct __sk_buff *skb, u32 stage, int at, __be32 handle, u32 told)
{
    skb->cb[0] = at;
    skb->cb[1] = DIR_IN;
    skb->cb[2] = handle;
    skb->cb[3] = told;
    stages.call(skb, stage);
    return drop(DROP_REWRITE_FAILED);
}

/* Whether an outside host may speak to an inside one: behind the well-known prefix one whose address isn't global can't be
 * shown to an IPv6 host (RFC 6052 section 3.1). */
static __always_inline bool may_be_shown(__be32 outside, __be32 inside)
{
#ifdef NAT64
    struct config6 *six = is_turned(inside) ? get_config6() : 0;
    return !six || xlat_shown((const void *)six->prefix, outside);
#else
    return true;
#endif
}

/* Whether what has become IPv4 is to be cut to leave: its way would take it in pieces, and its sender can't send smaller ones, so
 * that turn_out.h let it come here. */
static __always_inline bool leaves_cut(int at, int route)
{
    return at_turned(at) && route == ROUTE_TOO_BIG;
}

#ifdef NAT64
/* The way to an IPv6 host, of a packet that would be 20 bytes longer there; `next` has what is known of it to IPv4: an MTU. */
static __always_inline int route_turned(struct __sk_buff *skb, const struct packet *p, __be32 handle,
                                        struct next_hop *next)
{
    struct interned *row = addresses6.lookup(&handle);
    struct config6 *six = get_config6();
    struct bpf_fib_lookup fib = {};
    struct config *cfg = get_config();
    u32 size = skb->gso_size ? p->header_size + (p->tcp_header ? p->tcp_header : 8) + skb->gso_size : p->ip_size;
    if (!row || !six || !cfg)
        return ROUTE_STACK;
    fib.family = 10; /* AF_INET6 */
    fib.ifindex = cfg->wan;
    fib.l4_protocol = p->proto;
    fib.tot_len = size + 20;
    __builtin_memcpy(fib.ipv6_src, six->prefix, 16);
    __builtin_memcpy(fib.ipv6_dst, row->bytes, 16);
    long rc = fib_six(skb, cfg, &fib);
    next->ifindex = fib.ifindex;
    next->mtu = rc == BPF_FIB_LKUP_RET_SUCCESS || rc == BPF_FIB_LKUP_RET_FRAG_NEEDED ? fib.tot_len - 20 : 0;
    if (rc == BPF_FIB_LKUP_RET_FRAG_NEEDED)
        return ROUTE_TOO_BIG;
    return rc == BPF_FIB_LKUP_RET_SUCCESS || rc == BPF_FIB_LKUP_RET_NO_NEIGH ? ROUTE_FORWARD : ROUTE_STACK;
}
#endif

/* The way of a packet from outside to an inside host. */
static __always_inline int route_inside(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                        __be32 inside, struct next_hop *next)
{
#ifdef NAT64
    if (is_turned(inside))
        return route_turned(skb, p, inside, next);
#endif
    return route_packet(skb, p, p->source, inside, cfg->wan, next);
}

#endif
