/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * xdp_turn.h: NAT64's fast path: established sessions by what TC keeps of their addresses (turn_kept.h), neighbour and all.
 *
 * The law of this file: as of xdp.h. It asks neither the FIB nor for a handle: once in HOP_TICKS a packet of each pair goes to
 * TC, which does, and which keeps the kernel asking for the neighbour. The frame is moved by the 20 bytes that the families'
 * headers differ by, after all else is known; what a helper could still refuse is dropped.
 */
#ifndef ALGATE_XDP_TURN_H
#define ALGATE_XDP_TURN_H

/* The sum of a turned packet's transport header, its addresses changed by `change` and one port from `was` to `port`. */
static __always_inline u16 xdp_turned_sum(const struct packet *p, u32 change, __be16 was, __be16 port)
{
    u16 sum = csum_apply(p->sum, csum_change2(change, was, port));
    return p->proto == IPPROTO_UDP && !sum ? 0xffff : sum;
}

/* Accounts the packet, and gives its frame's front to the other family: 0, or -1 if the kernel refused. */
static __always_inline int xdp_moved(struct xdp_md *ctx, const struct packet *p, struct session *s, u8 dir, u32 now)
{
    session_touch(s, p, dir, now);
    account(dir, p->ip_size);
    count(COUNT_XDP_REDIRECTED, 1);
    return bpf_xdp_adjust_head(ctx, dir == DIR_OUT ? 20 : -20) ? -1 : 0;
}

static __always_inline void xdp_ether(struct ethhdr *eth, const struct hop6 *h, u16 family)
{
    __builtin_memcpy(eth->h_dest, h->to_mac, 6);
    __builtin_memcpy(eth->h_source, h->from_mac, 6);
    eth->h_proto = bpf_htons(family);
}

/* The port at `place` of the transport header, and the sum: 0, or -1: they aren't there. */
static __always_inline int xdp_put(void *l4, void *data_end, u8 proto, u32 place, __be16 port, u16 sum)
{
    __be16 *check = l4 + (proto == IPPROTO_TCP ? 16 : 6), *at = l4 + place;
    if ((void *)(check + 1) > data_end || (void *)(at + 1) > data_end)
        return -1;
    *check = sum;
    *at = port;
    return 0;
}

/* An IPv6 frame from inside, for this gateway. */
static __always_inline int xdp_turn_out(struct xdp_md *ctx, const struct config *cfg)
{
    void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
    struct ipv6hdr *ip = data + ETH_HEADER, head = {};
    struct iphdr to = {};
    struct packet p = {};
    struct session_key key;
    u32 now = now_tick();
    if ((void *)(ip + 1) > data_end || ip->version != 6)
        return XDP_PASS;
    u64 *ends = (void *)&ip->saddr;
    u32 row = ends_row(ends), size = bpf_ntohs(ip->payload_len);
    struct hop6 *h = turns.lookup(&row);
    if (!h || !h->near || !same_ends(h, ends) || is_handle(h->destination) ||
        !turn_stands(h, ip->nexthdr, ctx->ingress_ifindex, now))
        return XDP_PASS;
    p.proto = ip->nexthdr;
    p.ip_size = size + 20;
    p.source = h->source;
    p.destination = h->destination;
    __builtin_memcpy(&head, ip, 8);
    if (head.hop_limit <= 1 || p.ip_size > h->mtu || size + IP6_BYTES + ETH_HEADER > data_end - data ||
        parse_transport(&p, ip + 1, data_end, size) != PARSED_FLOW || !is_turnable(&p) ||
        p.tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST))
        return XDP_PASS;
    u32 partial = csum_change4(csum_change4(h->sum, 0, bpf_htonl(p.proto)), 0, bpf_htonl(size));
    struct session *s = p.sum == csum_fold(partial) ? 0 : find_out(&p, &key);
    if (!s || !s->public_ip || !xdp_eligible(cfg, s, &p, DIR_OUT, now) || is_bare(cfg, cfg->wan))
        return XDP_PASS;
    if (p.proto == IPPROTO_TCP && !session_slides(s, &p, DIR_OUT))
        return XDP_PASS;
    to.saddr = s->public_ip;
    to.daddr = p.destination;
    u32 change = csum_change4(csum_change4(csum_change4(0, h->sum, 0), 0, to.saddr), 0, to.daddr);
    u16 port = session_port(s), sum = xdp_turned_sum(&p, change, p.source_port, port);
    if (!xlat_head4(&head, 0, p.proto, size, 1, turn_id(s), &to) || xdp_moved(ctx, &p, s, DIR_OUT, now))
        return XDP_DROP;
    data = (void *)(long)ctx->data;
    data_end = (void *)(long)ctx->data_end;
    if (data + ETH_HEADER + sizeof(to) > data_end ||
        xdp_put(data + ETH_HEADER + sizeof(to), data_end, p.proto, 0, port, sum))
        return XDP_DROP;
    xdp_ether(data, h, ETH_P_IP);
    __builtin_memcpy(data + ETH_HEADER, &to, sizeof(to));
    return bpf_redirect(cfg->wan, 0);
}

/* What came for a session whose inside end point is a handle; judged by xdp_inbound. */
static __always_inline int xdp_turn_in(struct xdp_md *ctx, const struct config *cfg, struct packet *p,
                                       struct session *s, const struct session_key *key, u32 now)
{
    void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
    struct iphdr *ip = data + ETH_HEADER, was;
    struct xlat_fragment none = {};
    struct ipv6hdr to = {};
    u32 row = hop_row(p->source, key->inside_ip), size = p->ip_size - sizeof(was);
    struct hop6 *h = turns.lookup(&row);
    if (!h || !h->near || h->source != p->source || h->destination != key->inside_ip ||
        !turn_stands(h, p->proto, cfg->wan, now))
        return XDP_PASS;
    if ((void *)(ip + 1) > data_end || !is_turnable(p) || is_bare(cfg, h->ifindex))
        return XDP_PASS;
    was = *ip;
    if (size + IP6_BYTES > h->mtu || (size + IP6_BYTES > XLAT_FLOOR && !(was.frag_off & bpf_htons(XLAT_DF))))
        return XDP_PASS;
    if (p->proto == IPPROTO_TCP && !session_slides(s, p, DIR_IN))
        return XDP_PASS;
    __builtin_memcpy(&to.saddr, h->ends, sizeof(h->ends));
    u32 change = csum_change4(csum_change4(csum_change4(0, was.saddr, 0), was.daddr, 0), 0, h->sum), out = h->ifindex;
    u16 sum = xdp_turned_sum(p, change, p->destination_port, key->inside_port);
    if (!xlat_head6(&was, size, 1, &to, &none) || xdp_moved(ctx, p, s, DIR_IN, now))
        return XDP_DROP;
    data = (void *)(long)ctx->data;
    data_end = (void *)(long)ctx->data_end;
    if (data + ETH_HEADER + sizeof(to) > data_end ||
        xdp_put(data + ETH_HEADER + sizeof(to), data_end, p->proto, 2, key->inside_port, sum))
        return XDP_DROP;
    xdp_ether(data, h, ETH_P_IPV6);
    __builtin_memcpy(data + ETH_HEADER, &to, sizeof(to));
    return bpf_redirect(out, 0);
}

#endif
