/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * nexthop.h: the FIB's last answers, per CPU. The lookup is a quarter of what an XDP packet costs; what it depends on
 * (addresses, protocol, device) is the key, and an answer is trusted for HOP_TICKS, so that a changed route or
 * neighbour is noticed within that time without being told.
 */
#ifndef ALGATE_NEXTHOP_H
#define ALGATE_NEXTHOP_H

#define HOP_TICKS 128 /* about 134 ms */

static __always_inline u32 hop_row(__be32 source, __be32 destination)
{
    return ((source * 0x85EBCA6B) ^ (destination * 0x9E3779B1)) >> 22; /* HOP_ROWS = 1 << 10 */
}

/* Asks the FIB for the route of such a packet: returns its code; the answer is in `fib`. */
static __always_inline long ask_fib(void *ctx, const struct packet *p, __be32 source, __be32 destination, u32 from,
                                    u32 size, struct bpf_fib_lookup *fib)
{
    fib->family = 2; /* AF_INET */
    fib->ifindex = from;
    fib->l4_protocol = p->proto;
    fib->tot_len = size;
    fib->ipv4_src = source;
    fib->ipv4_dst = destination;
    return bpf_fib_lookup(ctx, fib, sizeof(*fib), 0);
}

/* Early Linux 6.1 answers with a neighbour whose address is still being asked for. */
static __always_inline bool is_mac(const u8 *mac)
{
    return mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5];
}

/* The next hop of a packet of `size` bytes (of a GSO packet: of its segments) with these addresses that came in by `from`,
 * if the FIB knows it with its neighbour and the packet fits; else 0: the slower path will find out why. */
static __always_inline struct hop *next_hop_of(void *ctx, const struct packet *p, __be32 source, __be32 destination,
                                               u32 from, u32 size, u32 now)
{
    u32 row = hop_row(source, destination);
    struct hop *h = hops.lookup(&row);
    if (!h)
        return 0;
    if (h->source != source || h->destination != destination || h->from != from || h->proto != p->proto ||
        now - h->since >= HOP_TICKS) {
        struct bpf_fib_lookup fib = {};
        if (ask_fib(ctx, p, source, destination, from, size, &fib) != BPF_FIB_LKUP_RET_SUCCESS)
            return 0;
        h->source = source;
        h->destination = destination;
        h->from = from;
        h->since = now;
        h->ifindex = fib.ifindex;
        h->gateway = fib.ipv4_dst;
        h->mtu = fib.tot_len; /* a union: on success the route's MTU (Linux 5.12) */
        h->proto = p->proto;
        h->sought = is_mac(fib.dmac) ? 0 : 2;
        __builtin_memcpy(h->to_mac, fib.dmac, 6);
        __builtin_memcpy(h->from_mac, fib.smac, 6);
    }
    return size <= h->mtu ? h : 0;
}

#endif
