/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * turn_error.h: ICMP errors about sessions of NAT64, from one family to the other with the packet that they quote (RFC 7915
 * sections 4.2, 4.3, 5.2, 5.3).
 *
 * The law of this file: from outside, IPv4's programs have judged the error by what it quotes before it comes here; from inside,
 * they judge it afterwards, and put in the public end point. Of several quoted packets one within another, the first is
 * turned. What a message carries behind its quote (RFC 4884) is kept as it is, at its new place, where 128 bytes of the
 * quote fit in front of it; of ICMPv6 only some messages have one.
 */
#ifndef ALGATE_TURN_ERROR_H
#define ALGATE_TURN_ERROR_H

#define ROOM_SIX (XLAT_FLOOR - IP6_HEADER - 8) /* bytes behind the first 8 of an error: RFC 4443 section 2.4 (c) */
#define ROOM_FOUR TOLD_BYTES4
#define EXTENSION_MOST 2048 /* more than ROOM_SIX, a power of two for length_within */
#define PADDING_MOST 128

/* What an error carries behind the headers of its quote, to scratch.words: the quote from `l4` on, and extensions from `at` on. `heads`:
 * what those headers will have. Returns the bytes, 0: they can't be read. */
static __always_inline u32 load_carried(struct __sk_buff *skb, struct scratch *room, u32 l4, u32 at, u32 heads,
                                        const struct xlat_shape *shape)
{
    u32 size = shape->quoted - heads, behind = shape->padded - heads, extension = shape->extension;
    u8 *bytes = (void *)room->words;
    if (bpf_skb_load_bytes(skb, l4, bytes, length_within(size, sizeof(room->words))))
        return 0;
    if (!extension)
        return size;
    OPAQUE(size);
    __builtin_memset(bytes + (size & 2047), 0, PADDING_MOST);
    OPAQUE(behind);
    behind &= 2047;
    if (bpf_skb_load_bytes(skb, at, bytes + behind, length_within(extension, EXTENSION_MOST)))
        return 0;
    return behind + extension;
}

/* What the transport header in a quote says, `size` bytes of which are in scratch.words: its sum, for another pseudo header, and a
 * port, or an echo's identifier, in place of another. */
static __always_inline void turn_quoted(u16 *words, u32 size, u8 proto, u32 change, bool port, __be16 inside)
{
    u32 with = 0;
    if (port && proto != IPPROTO_ICMP) {
        with = csum_change2(0, words[0], inside);
        words[0] = inside;
    }
    if (proto == IPPROTO_TCP && size >= 18)
        words[8] = csum_apply(words[8], csum_change4(change, 0, with));
    if (proto == IPPROTO_UDP && size >= 8 && words[3])
        words[3] = xlat_udp_sum(words[3], csum_change4(change, 0, with));
}

/* The same of an echo, of which the type changes too. */
static __always_inline void turn_quoted_echo(u16 *words, u8 type, u32 change, bool port, __be16 inside)
{
    u16 was = words[0];
    words[0] = bpf_htons((u16)type << 8);
    change = csum_change2(change, was, words[0]);
    if (port) {
        change = csum_change2(csum_fold(change), words[2], inside);
        words[2] = inside;
    }
    words[1] = csum_apply(words[1], change);
}

/* What stands in scratch6.heads: 96 bytes. */
struct turned6 {
    struct ipv6hdr ip;
    __be32 message[2];
    struct ipv6hdr inner;
    struct xlat_fragment fragment;
};

/* The sum of a message: `size` bytes in scratch.words behind `most` at `head`, where zeros are what it doesn't have. */
static __always_inline u32 sum_message(struct scratch *room, u32 size, void *head, u32 most, u32 sum)
{
    return csum_fold(sum_diff(0, 0, head, most, sum_pieces(room, size, sum)));
}

/* An error of the helper's: the gateway itself speaks, and by "host unreachable" it means that there is no room. */
static __always_inline void gateway_speaks(const struct config6 *six, struct ipv6hdr *ip, struct xlat_icmp *to)
{
    if (((const struct in6_addr *)six->address)->s6_addr32[0])
        __builtin_memcpy(&ip->saddr, six->address, 16);
    if (to->type == 1 && to->code == 0)
        to->code = 3; /* address unreachable: RFC 6146 section 3.5.1.1 */
}

/* Whose an error from outside is. A router whose address means nothing elsewhere may not stand behind the well-known prefix (RFC
 * 6052 section 3.1); but a path would swallow what it can't say, so the gateway speaks for it, as RFC 6791 has it where a
 * router has no address in the other family. False: it has none either. */
static __always_inline bool speaker_shown(const struct config6 *six, __be32 router, struct ipv6hdr *ip)
{
    if (xlat_shown(prefix_of(six), router))
        return true;
    __builtin_memcpy(&ip->saddr, six->address, 16);
    return XLAT_WORD(&ip->saddr, 0) != 0;
}

/* An error from outside, about a packet that an inside host sent. */
static __always_inline int turn_error_in(struct __sk_buff *skb, int at)
{
    struct iphdr ip, inner;
    struct bpf_fib_lookup fib = {};
    struct packet p = {};
    struct next_hop next = {};
    struct xlat_icmp from, to = {};
    struct xlat_carried has;
    struct xlat_shape shape;
    __be32 message[2];
    u32 zero = 0, told = skb->cb[3];
    __be32 handle = skb->cb[2];
    OPAQUE(handle);
    OPAQUE(told);
    struct config *cfg = get_config();
    struct config6 *six = get_config6();
    struct scratch *room = scratch.lookup(&zero);
    struct scratch6 *place = scratch6.lookup(&zero);
    if (!cfg || !six || !room || !place)
        return drop(DROP_MALFORMED);
    struct turned6 *head = (void *)place->heads;
    u32 l3 = link_header(skb, cfg, at);
    if (bpf_skb_load_bytes(skb, l3, &ip, sizeof(ip)) || ip.ihl < 5)
        return drop(DROP_MALFORMED);
    describe4(&ip, l3, handle, &p);
    u32 quote = p.l4 + 8;
    if (bpf_skb_load_bytes(skb, p.l4, message, sizeof(message)) ||
        bpf_skb_load_bytes(skb, quote, &inner, sizeof(inner)))
        return drop(DROP_ICMP_INVALID);
    u32 l4 = quote + inner.ihl * 4, end = l3 + p.ip_size;
    if (inner.ihl < 5 || l4 + 8 > end || p.ttl <= 1)
        return drop(p.ttl <= 1 ? DROP_NAT64_HOPS : DROP_ICMP_INVALID);
    __builtin_memset(head, 0, sizeof(*head));
    if (!ends_turned(six, ip.saddr, handle, &head->ip) || !ends_turned(six, inner.daddr, handle, &head->inner))
        return drop(DROP_RACE);
    struct in6_addr inside = head->inner.daddr;
    head->inner.daddr = head->inner.saddr;
    head->inner.saddr = inside;
    if (at != AT_TAP && !speaker_shown(six, ip.saddr, &head->ip))
        return drop(DROP_NAT64_ADDRESS);
    if (route_six(skb, cfg, &p, &head->ip, XLAT_FLOOR, false, 0, &next) != ROUTE_FORWARD)
        return drop(DROP_NAT64_ROUTE);
    ask_fib4(skb, &p, 0, inner.daddr, cfg->lan[0], 0, &fib);
    struct xlat_mtus mtus = {.v4 = fib.tot_len ? fib.tot_len : 65535, .v6 = next.mtu ? next.mtu : 65535};
    u32 first = bpf_ntohl(message[0]);
    from.type = first >> 24;
    from.code = first >> 16 & 0xff;
    from.rest = bpf_ntohl(message[1]);
    if (!xlat_icmp6(&from, bpf_ntohs(inner.tot_len), &mtus, &to))
        return drop(DROP_NAT64_ICMP);
    u16 *words = (void *)room->words;
    u32 length = bpf_ntohs(inner.tot_len) - inner.ihl * 4,
        heads = xlat_head6(&inner, length, 0, &head->inner, &head->fragment);
    xlat_carried(end - quote, xlat_length4(&from), bpf_ntohs(inner.tot_len), &has);
    if (has.quoted < inner.ihl * 4 + 8)
        return drop(DROP_ICMP_INVALID);
    xlat_reshape(has.quoted - inner.ihl * 4 + heads, has.extension, to.type == 1 || to.type == 3 ? 8 : 0, ROOM_SIX,
                 &shape);
    u32 quoted = shape.quoted - heads, size = load_carried(skb, room, l4, quote + has.at, heads, &shape);
    if (!size)
        return drop(DROP_ICMP_INVALID);
    to.rest |= shape.words << 24;
    bool port = told & TURN_PORT;
    if (inner.protocol == IPPROTO_ICMP)
        turn_quoted_echo(words, (u8)words[0] == 8 ? 128 : 129, xlat_icmp_pseudo(&head->inner, length), port, told);
    else /* from the public address, which is the quoted packet's source as it stands */
        turn_quoted(words, quoted, inner.protocol, xlat_pair_change(&inner, &head->inner), port, told);
    *(__be32 *)&head->ip = bpf_htonl(0x60000000 | (u32)ip.tos << 20);
    head->ip.nexthdr = IPPROTO_ICMPV6;
    head->ip.hop_limit = p.ttl - 1;
    if (at == AT_TAP)
        gateway_speaks(six, &head->ip, &to);
    u32 carried = 8 + heads + size;
    head->ip.payload_len = bpf_htons(carried);
    head->message[0] = bpf_htonl(to.type << 24 | to.code << 16);
    head->message[1] = bpf_htonl(to.rest);
    u32 sum = sum_message(room, size, head->message, 56, csum_fold(xlat_icmp_pseudo(&head->ip, carried)));
    head->message[0] |= bpf_htonl(bpf_ntohs((u16)~csum_fold(sum)));
    u32 before = IP6_HEADER + 8 + heads;
    if (!l3 && bpf_skb_change_head(skb, ETH_HEADER, 0))
        return drop(DROP_REWRITE_FAILED);
    __be16 ether = bpf_htons(ETH_P_IPV6);
    if (bpf_skb_change_proto(skb, ether, 0) || bpf_skb_change_tail(skb, ETH_HEADER + before + size, 0))
        return drop(DROP_REWRITE_FAILED);
    if (bpf_skb_store_bytes(skb, 12, &ether, 2, 0) ||
        bpf_skb_store_bytes(skb, ETH_HEADER, head, heads == IP6_HEADER ? 88 : 96, BPF_F_RECOMPUTE_CSUM) ||
        bpf_skb_store_bytes(skb, ETH_HEADER + before, room->words, length_within(size, sizeof(room->words)),
                            BPF_F_RECOMPUTE_CSUM))
        return drop(DROP_REWRITE_FAILED);
    p.l3 = ETH_HEADER;
    return redirect_to(skb, cfg, &p, &next);
}

/* An error from inside, about a packet that came from outside; skb->cb[2] is the IPv4 host that it is for. */
static __always_inline int turn_error_out(struct __sk_buff *skb, int at)
{
    struct quote q = {};
    struct packet p = {};
    struct next_hop next = {};
    struct bpf_fib_lookup fib = {};
    struct xlat_icmp from, to = {};
    struct xlat_carried has;
    struct xlat_shape shape;
    __be32 message[2];
    __be32 remote = skb->cb[2];
    u32 zero = 0;
    OPAQUE(remote);
    struct config *cfg = get_config();
    struct config6 *six = get_config6();
    struct scratch *room = scratch.lookup(&zero);
    struct scratch6 *place = scratch6.lookup(&zero);
    if (!cfg || !six || !room || !place || parse_six(skb, cfg, at, &p, true, false) != PARSED_ICMP_ERROR)
        return drop(DROP_MALFORMED);
    struct turned4 *head = (void *)place->heads;
    struct ipv6hdr *inner = (void *)(head + 1);
    if (!icmp_sum_ok(skb, &p) || !parse_quote(skb, &p, &q) || !q.inner.destination || !has_ports(q.inner.proto) ||
        q.inner.routed)
        return drop(DROP_ICMP_INVALID);
    __builtin_memset(head, 0, sizeof(*head));
    if (bpf_skb_load_bytes(skb, q.at, inner, sizeof(*inner)) || bpf_skb_load_bytes(skb, p.l4, message, sizeof(message)))
        return drop(DROP_ICMP_INVALID);
    ask_fib4(skb, &p, 0, remote, cfg->lan[0], 0, &fib);
    route_six(skb, cfg, &p, inner, 0, false, 0, &next);
    struct xlat_mtus mtus = {.v4 = fib.tot_len ? fib.tot_len : 65535, .v6 = next.mtu ? next.mtu : 65535};
    u32 first = bpf_ntohl(message[0]), end = ip_at(&p) + p.ip_size;
    from.type = first >> 24;
    from.code = first >> 16 & 0xff;
    from.rest = bpf_ntohl(message[1]);
    if (!xlat_icmp4(&from, &mtus, &to))
        return drop(DROP_NAT64_ICMP);
    if (q.l4 + 8 > end)
        return drop(DROP_ICMP_INVALID);
    xlat_carried(end - q.at, xlat_length6(&from), bpf_ntohs(inner->payload_len) + IP6_HEADER, &has);
    if (has.quoted < q.inner.header_size + 8)
        return drop(DROP_ICMP_INVALID);
    xlat_reshape(has.quoted - q.inner.header_size + 20, has.extension, 4, ROOM_FOUR, &shape);
    u32 quoted = shape.quoted - 20, size = load_carried(skb, room, q.l4, q.at + has.at, 20, &shape);
    if (!size)
        return drop(DROP_ICMP_INVALID);
    to.rest |= shape.words << 16;
    struct xlat_fragment fragment = {
        .place = bpf_htons((q.inner.fragment & IP_OFFSET_MASK) << 3 | !!(q.inner.fragment & IP_MORE_FRAGMENTS)),
        .id = q.inner.id6};
    u32 length = bpf_ntohs(inner->payload_len) + IP6_HEADER - q.inner.header_size;
    head->inner.saddr = remote;
    head->inner.daddr = q.inner.destination;
    u8 proto = q.inner.proto == IPPROTO_ICMP ? IPPROTO_ICMPV6 : q.inner.proto;
    xlat_head4(inner, q.inner.head ? &fragment : 0, proto, length, 0, 0, &head->inner);
    u16 *words = (void *)room->words;
    if (q.inner.proto == IPPROTO_ICMP)
        turn_quoted_echo(words, (u8)words[0] == ECHO_REQUEST6 ? 8 : 0, (u16)~csum_fold(xlat_icmp_pseudo(inner, length)),
                         false, 0);
    else
        turn_quoted(words, quoted, q.inner.proto, xlat_pair_change_back(inner, &head->inner), false, 0);
    *(u8 *)&head->ip = 0x45;
    u8 class[2] = {};
    bpf_skb_load_bytes(skb, ip_at(&p), class, sizeof(class));
    head->ip.tos = class[0] << 4 | class[1] >> 4;
    head->ip.tot_len = bpf_htons(20 + 8 + 20 + size);
    head->ip.ttl = p.ttl;
    head->ip.protocol = IPPROTO_ICMP;
    head->ip.saddr = q.inner.destination;
    head->ip.daddr = remote;
    head->ip.check = xlat_sum4(&head->ip);
    head->message[0] = bpf_htonl(to.type << 24 | to.code << 16);
    head->message[1] = bpf_htonl(to.rest);
    u32 sum = sum_message(room, size, head->message, 28, 0);
    head->message[0] |= bpf_htonl(bpf_ntohs((u16)~csum_fold(sum)));
    if (!ip_at(&p) && bpf_skb_change_head(skb, ETH_HEADER, 0))
        return drop(DROP_REWRITE_FAILED);
    __be16 ether = bpf_htons(ETH_P_IP);
    if (bpf_skb_change_proto(skb, ether, 0) || bpf_skb_change_tail(skb, ETH_HEADER + sizeof(*head) + size, 0))
        return drop(DROP_REWRITE_FAILED);
    if (bpf_skb_store_bytes(skb, 12, &ether, 2, 0) ||
        bpf_skb_store_bytes(skb, ETH_HEADER, head, sizeof(*head), BPF_F_RECOMPUTE_CSUM) ||
        bpf_skb_store_bytes(skb, ETH_HEADER + sizeof(*head), room->words, length_within(size, sizeof(room->words)),
                            BPF_F_RECOMPUTE_CSUM))
        return drop(DROP_REWRITE_FAILED);
    skb->cb[0] = AT_TURNED;
    stages.call(skb, STAGE_FROM6);
    return drop(DROP_REWRITE_FAILED);
}

#endif
