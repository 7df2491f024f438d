/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * tell64.h: what NAT64 refuses, and whom it tells: the sender of a packet that can't go on gets an ICMP error from an address of
 * the gateway's own (RFC 7915 sections 4.4 and 5.4, RFC 6791), made of the packet in its place.
 *
 * The law of this file: a packet comes here as its sender sent it, and every one counts as dropped. No error answers an error that can be read, or
 * a fragment behind the first; of errors each CPU sends TOLD_MOST in a window (RFC 4443 section 2.4 (f)).
 */
#ifndef ALGATE_TELL64_H
#define ALGATE_TELL64_H

#define TOLD_MOST 64
#define TOLD_WINDOW 16                            /* ticks */
#define TOLD_BYTES6 (XLAT_FLOOR - IP6_HEADER - 8) /* quoted: RFC 4443 section 2.4 (c) */
#define TOLD_BYTES4 (576 - 20 - 8)                /* RFC 1812 section 4.3.2.3 */

/* To an inside host; `told`: the MTU of IPv6, or where in the packet the fault is. */
static __always_inline int tell6(struct __sk_buff *skb, int at, u32 reason, u32 told)
{
    return next_with(skb, STAGE_TELL6 - FAMILY_STAGES, at, DIR_OUT, reason, told);
}

/* To an outside one. */
static __always_inline int tell4(struct __sk_buff *skb, int at, u32 reason, u32 mtu)
{
    return next_with(skb, STAGE_TELL4 - FAMILY_STAGES, at, DIR_IN, reason, mtu);
}

static __always_inline bool may_tell(struct scratch6 *room, u32 now)
{
    if (now - room->told_since > TOLD_WINDOW) {
        room->told_since = now;
        room->told = 0;
    }
    return room->told++ < TOLD_MOST;
}

/* What a sum gains by `left` bytes at `words`, but by 512 at most. */
static __always_inline u32 sum_piece(void *words, s32 left, u32 sum)
{
    if (left <= 0)
        return sum;
    u32 size = left > 512 ? 512 : left;
    return csum_fold(sum_diff(0, 0, words, length_within(size, 512), csum_fold(sum)));
}

/* The sum of `size` bytes in scratch.words, 1536 at most: by the kernel in pieces, since a loop of ours would be followed word by
 * word. */
static __always_inline u32 sum_pieces(struct scratch *room, u32 size, u32 sum)
{
    u8 *bytes = (void *)room->words;
    u32 end = size, whole = (size + 3) & 0x7fc;
    OPAQUE(end);
    bytes[end & 2047] = bytes[(end + 1) & 2047] = bytes[(end + 2) & 2047] = 0;
    sum = sum_piece(room->words, whole, sum);
    sum = sum_piece(room->words + 64, whole - 512, sum);
    return sum_piece(room->words + 128, whole - 1024, sum);
}

/* The sum of the first `size` bytes of a packet, which is cut off behind them. A transport checksum that the device is to finish
 * will be finished in the quote too, over what is left there: so it is taken for what it will be, if it follows right
 * behind the IP header of `header` bytes. -1: the packet can't be read. */
static __always_inline s64 sum_quoted(struct __sk_buff *skb, const struct packet *p, u32 size, u32 header, u16 sum,
                                      u16 pseudo)
{
    u32 zero = 0;
    struct scratch *room = scratch.lookup(&zero);
    if (!room || size < 28 || size > TOLD_BYTES6)
        return -1;
    if (skb->len > ip_at(p) + size && bpf_skb_change_tail(skb, ip_at(p) + size, 0))
        return -1;
    if (bpf_skb_load_bytes(skb, ip_at(p), room->words, length_within(size, sizeof(room->words))))
        return -1;
    u32 whole = sum_pieces(room, size, 0);
    if (sum != pseudo || p->header_size != header || (p->proto != IPPROTO_TCP && p->proto != IPPROTO_UDP))
        return whole;
    u16 made = ~csum_fold(sum_diff(room->words, header, 0, 0, whole));
    return csum_fold(csum_change2(whole, sum, p->proto == IPPROTO_UDP && !made ? 0xffff : made));
}

static __always_inline int told6(struct __sk_buff *skb, int at)
{
    struct packet p = {};
    struct in6_addr to;
    struct next_hop next = {};
    u32 zero = 0, reason = skb->cb[2] & 127, told = skb->cb[3];
    OPAQUE(told); /* else the compiler keeps the address of a member, which the verifier refuses */
    struct config *cfg = get_config();
    struct config6 *six = get_config6();
    struct scratch6 *room = scratch6.lookup(&zero);
    int dropped = drop(reason);
    if (!cfg || !six || !room || XLAT_WORD((struct in6_addr *)six->address, 0) == 0)
        return dropped;
    int parsed = parse_six(skb, cfg, at, &p, true, false);
    if ((parsed == PARSED_MALFORMED && reason != DROP_EXTENSION) || parsed == PARSED_ICMP_ERROR ||
        p.fragment & IP_OFFSET_MASK)
        return dropped;
    if (!may_tell(room, now_tick()) || bpf_skb_load_bytes(skb, ip_at(&p) + 8, &to, sizeof(to)))
        return dropped;
    struct told6 *head = (void *)room->heads;
    u32 size = p.ip_size < TOLD_BYTES6 ? p.ip_size : TOLD_BYTES6;
    u16 pseudo = packet_pseudo_sum(skb, &p, p.ip_size - p.header_size);
    s64 sum = sum_quoted(skb, &p, size, IP6_HEADER, p.sum, pseudo);
    if (sum < 0)
        return dropped;
    __builtin_memset(head, 0, sizeof(*head));
    *(__be32 *)&head->ip = bpf_htonl(0x60000000);
    head->ip.payload_len = bpf_htons(size + 8);
    head->ip.nexthdr = IPPROTO_ICMPV6;
    head->ip.hop_limit = 64;
    __builtin_memcpy(&head->ip.saddr, six->address, 16);
    head->ip.daddr = to;
    head->type = reason == DROP_NAT64_HOPS ? 3 : reason == DROP_NAT64_TOO_BIG ? 2 : reason == DROP_NAT64_ROUTED ? 4 : 1;
    bool no_room = reason == DROP_SHARE_ADDRESSES || reason == DROP_ADDRESSES_FULL || reason == DROP_HOST_SESSIONS;
    bool refused = reason == DROP_NAT64_ADDRESS || reason == DROP_EXTENSION;
    head->code = no_room ? 3 : reason == DROP_NAT64_PROTOCOL ? 4 : refused; /* RFC 6146 section 3.5.1.1, RFC 7915 5.4 */
    head->rest = head->type == 2 || head->type == 4 ? bpf_htonl(told) : 0;
    u32 all = xlat_icmp_pseudo(&head->ip, size + 8);
    all = csum_change4(csum_change4(all, 0, *(u32 *)&head->type), 0, head->rest);
    head->check = ~csum_fold(csum_change4(all, 0, (u32)sum));
    if (route_six(skb, cfg, &p, &head->ip, size + sizeof(*head), false, 0, &next) != ROUTE_FORWARD)
        return dropped;
    if (bpf_skb_adjust_room(skb, sizeof(*head), BPF_ADJ_ROOM_MAC, 0) ||
        bpf_skb_store_bytes(skb, ip_at(&p), head, sizeof(*head), 0))
        return dropped;
    return redirect_to(skb, cfg, &p, &next);
}

static __always_inline int told4(struct __sk_buff *skb, int at)
{
    struct iphdr ip;
    struct bpf_fib_lookup fib = {};
    struct bpf_redir_neigh hop = {.nh_family = 2};
    struct packet p = {};
    __be16 words[10] = {};
    u32 zero = 0, reason = skb->cb[2] & 127, mtu = skb->cb[3];
    OPAQUE(mtu);
    struct config *cfg = get_config();
    struct scratch6 *room = scratch6.lookup(&zero);
    int dropped = drop(reason);
    if (!cfg || !room || at != AT_WAN_IN)
        return dropped;
    u32 l3 = link_header(skb, cfg, at);
    if (bpf_skb_load_bytes(skb, l3, &ip, sizeof(ip)) || ip.ihl < 5 || ip.frag_off & bpf_htons(XLAT_PLACE))
        return dropped;
    describe4(&ip, l3, 0, &p);
    if (bpf_skb_load_bytes(skb, p.l4, words, p.proto == IPPROTO_TCP ? 20 : 8))
        return dropped;
    if ((p.proto == IPPROTO_ICMP && (u8)words[0] != 8 && (u8)words[0] != 0) || !may_tell(room, now_tick()))
        return dropped;
    struct told4 *head = (void *)room->heads;
    u32 size = p.ip_size < TOLD_BYTES4 ? p.ip_size : TOLD_BYTES4;
    u16 pseudo = pseudo_sum(ip.saddr, ip.daddr, p.proto, p.ip_size - p.header_size);
    u16 told = p.proto == IPPROTO_TCP ? words[8] : words[3];
    s64 sum = sum_quoted(skb, &p, size, sizeof(ip), told, pseudo);
    if (sum < 0)
        return dropped;
    __builtin_memset(head, 0, sizeof(*head));
    *(u8 *)&head->ip = 0x45;
    head->ip.tos = 0xc0;
    head->ip.tot_len = bpf_htons(size + sizeof(*head));
    head->ip.ttl = 64;
    head->ip.protocol = IPPROTO_ICMP;
    head->ip.saddr = ip.daddr;
    head->ip.daddr = ip.saddr;
    head->ip.check = xlat_sum4(&head->ip);
    head->type = reason == DROP_NAT64_HOPS ? 11 : 3;
    head->code = reason == DROP_NAT64_HOPS           ? 0
                 : reason == DROP_NAT64_TOO_BIG      ? 4
                 : reason == DROP_NAT64_SOURCE_ROUTE ? 5
                                                     : 1;
    head->rest = reason == DROP_NAT64_TOO_BIG ? bpf_htonl(mtu & 0xffff) : 0;
    u32 all = csum_change4(csum_change4((u32)sum, 0, *(u32 *)&head->type), 0, head->rest);
    head->check = ~csum_fold(all);
    long rc = ask_fib4(skb, &p, ip.daddr, ip.saddr, cfg->lan[0], size + sizeof(*head), &fib);
    if ((rc != BPF_FIB_LKUP_RET_SUCCESS && rc != BPF_FIB_LKUP_RET_NO_NEIGH) || fib.ifindex != cfg->wan)
        return dropped;
    if (bpf_skb_adjust_room(skb, sizeof(*head), BPF_ADJ_ROOM_MAC, 0) ||
        bpf_skb_store_bytes(skb, l3, head, sizeof(*head), 0))
        return dropped;
    hop.ipv4_nh = fib.ipv4_dst;
    return redirect_by(skb, cfg, &p, fib.ifindex, &hop);
}

#endif
