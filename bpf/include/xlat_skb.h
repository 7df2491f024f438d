/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * xlat_skb.h: a TCP segment, UDP datagram, fragment of one, or echo in an skb, from one family to the other, in place.
 *
 * The law of this file: the caller has read the headers, chosen the addresses, and knows that the packet may go on. What
 * becomes of ports is its own business (nat.h), as are errors. TC alone: XDP knows no partial sums.
 */
#ifndef ALGATE_XLAT_SKB_H
#define ALGATE_XLAT_SKB_H

#define XLAT_PLACE 0x1fff /* of frag_off: where a fragment's bytes belong */
#define XLAT_MANGLED 0x20 /* BPF_F_MARK_MANGLED_0 */
#define XLAT_PSEUDO 0x10  /* BPF_F_PSEUDO_HDR: a partial sum is of the pseudo header alone */

#define XLAT_SUMMED 1480 /* bytes of a UDP datagram without a checksum: what an Ethernet frame has */

/* The transport checksum at l4, after the addresses changed by `change`. */
static __always_inline long xlat_store_sum(struct __sk_buff *skb, u32 l4, u8 proto, u32 change)
{
    u32 at = l4 + (proto == IPPROTO_TCP ? 16 : proto == IPPROTO_UDP ? 6 : 2);
    return bpf_l4_csum_replace(skb, at, 0, change, XLAT_PSEUDO | (proto == IPPROTO_UDP ? XLAT_MANGLED : 0));
}

/* An echo's type, with the sum that it has a part in. ICMPv6 sums a pseudo header too: `pseudo`, what that changes. */
static __always_inline long xlat_store_echo(struct __sk_buff *skb, u32 l4, u8 from, u8 to, u32 pseudo)
{
    u32 change = csum_change2(pseudo, bpf_htons((u16)from << 8), bpf_htons((u16)to << 8));
    if (bpf_l4_csum_replace(skb, l4 + 2, 0, change, 0))
        return -1;
    return bpf_skb_store_bytes(skb, l4, &to, 1, 0);
}

/* A UDP datagram that came without a checksum gets one, which IPv6 asks for: the sum of all `size` bytes at l4 under its pseudo
 * header. Returns 0, or -1: it is larger than XLAT_SUMMED, or isn't all there. */
static __always_inline int xlat_make_sum(struct __sk_buff *skb, u32 l4, const struct ipv6hdr *ip, u32 size)
{
    u32 sum = csum_change4(csum_change4(0, 0, bpf_htonl(size)), 0, bpf_htonl(IPPROTO_UDP));
    u32 at = 0;
    for (int i = 0; i < 4; i++) {
        sum = csum_change4(sum, 0, XLAT_WORD(&ip->saddr, i));
        sum = csum_change4(sum, 0, XLAT_WORD(&ip->daddr, i));
    }
    if (size > XLAT_SUMMED)
        return -1;
    for (int i = 0; i < XLAT_SUMMED / 64; i++) {
        u32 block[16];
        if (at + sizeof(block) > size)
            break;
        if (bpf_skb_load_bytes(skb, l4 + at, block, sizeof(block)))
            return -1;
        sum = csum_fold(sum_diff(0, 0, block, sizeof(block), csum_fold(sum)));
        at += sizeof(block);
    }
    for (int i = 0; i < 15; i++) {
        u32 word = 0;
        if (at + 4 > size)
            break;
        if (bpf_skb_load_bytes(skb, l4 + at, &word, 4))
            return -1;
        sum = csum_change4(sum, 0, word);
        at += 4;
    }
    for (int i = 0; i < 3; i++) {
        u8 byte = 0;
        if (at >= size)
            break;
        if (bpf_skb_load_bytes(skb, l4 + at, &byte, 1))
            return -1;
        sum = csum_change2(sum, 0, at & 1 ? bpf_htons(byte) : bpf_htons((u16)byte << 8));
        at += 1;
    }
    u16 made = xlat_udp_sum(0xffff, sum);
    return bpf_skb_store_bytes(skb, l4 + 6, &made, 2, BPF_F_RECOMPUTE_CSUM) ? -1 : 0;
}

/* The transport header's sum, or an echo's type, in IPv6 at l4. */
static __always_inline int xlat_finish6(struct __sk_buff *skb, const struct iphdr *ip, u32 size, u32 l4,
                                        const struct ipv6hdr *to)
{
    u16 told = 0;
    u8 type = 0;
    if (ip->protocol == IPPROTO_ICMP) {
        if (xlat_is_fragment(ip) || bpf_skb_load_bytes(skb, l4, &type, 1) || (type != 8 && type != 0))
            return -1;
        return xlat_store_echo(skb, l4, type, type == 8 ? 128 : 129, xlat_icmp_pseudo(to, size)) ? -1 : 0;
    }
    if (ip->frag_off & bpf_htons(XLAT_PLACE))
        return 0;
    if (ip->protocol == IPPROTO_UDP && bpf_skb_load_bytes(skb, l4 + 6, &told, 2))
        return -1;
    if (ip->protocol == IPPROTO_UDP && !told)
        return xlat_is_fragment(ip) ? -1 : xlat_make_sum(skb, l4, to, size);
    return xlat_store_sum(skb, l4, ip->protocol, xlat_pair_change(ip, to)) ? -1 : 0;
}

/* To IPv6. `ip` has no options; `to` has its addresses; `size`: bytes after the header. Returns 0, or -1 if it can't:
 * the TTL has run out, it is a fragment of what is summed as a whole (ICMP, UDP without a checksum), or the kernel
 * refused. The packet must be dropped then. */
static __always_inline int xlat_turn6(struct __sk_buff *skb, const struct iphdr *ip, u32 size, struct ipv6hdr *to)
{
    struct xlat_fragment fragment = {};
    __be16 ether = bpf_htons(ETH_P_IPV6);
    u32 heads = xlat_head6(ip, size, 1, to, &fragment);
    if (!heads || bpf_skb_change_proto(skb, ether, 0))
        return -1;
    if (bpf_skb_store_bytes(skb, ETH_HLEN, to, sizeof(*to), 0) || bpf_skb_store_bytes(skb, 12, &ether, 2, 0))
        return -1;
    if (heads > sizeof(*to)) {
        if (bpf_skb_adjust_room(skb, sizeof(fragment), BPF_ADJ_ROOM_NET, 0))
            return -1;
        if (bpf_skb_store_bytes(skb, ETH_HLEN + sizeof(*to), &fragment, sizeof(fragment), 0))
            return -1;
    }
    return xlat_finish6(skb, ip, size, ETH_HLEN + heads, to);
}

/* An IPv6 packet, as its reader found it. */
struct xlat_six {
    struct ipv6hdr ip;
    struct xlat_fragment fragment; /* if `fragmented` */
    u32 extra;                     /* bytes of extension headers, the fragment header among them */
    u32 size;                      /* bytes after those */
    u8 proto;                      /* what those are */
    bool fragmented;
};

/* The same, in IPv4. A UDP datagram without a checksum, which IPv6 doesn't allow, isn't made a right one. */
static __always_inline int xlat_finish4(struct __sk_buff *skb, const struct xlat_six *from, const struct iphdr *to)
{
    u32 l4 = ETH_HLEN + sizeof(*to);
    bool part = from->fragmented && (from->fragment.place & bpf_htons(0xfff9));
    u16 told = 0;
    u8 type = 0;
    if (from->proto == IPPROTO_ICMPV6) {
        u32 pseudo = (u16)~csum_fold(xlat_icmp_pseudo(&from->ip, from->size));
        if (part || bpf_skb_load_bytes(skb, l4, &type, 1) || (type != 128 && type != 129))
            return -1;
        return xlat_store_echo(skb, l4, type, type == 128 ? 8 : 0, pseudo) ? -1 : 0;
    }
    if (part && (from->fragment.place & bpf_htons(0xfff8)))
        return 0;
    if (from->proto == IPPROTO_UDP && (bpf_skb_load_bytes(skb, l4 + 6, &told, 2) || !told))
        return -1;
    return xlat_store_sum(skb, l4, from->proto, xlat_pair_change_back(&from->ip, to)) ? -1 : 0;
}

/* To IPv4, the same way; extension headers go. `hop`: what is taken from the hop
 * limit; `id`: for a packet that has no fragment header and may be fragmented. */
static __always_inline int xlat_turn4(struct __sk_buff *skb, const struct xlat_six *from, u8 hop, u16 id,
                                      struct iphdr *to)
{
    __be16 ether = bpf_htons(ETH_P_IP);
    const struct xlat_fragment *fragment = from->fragmented ? &from->fragment : 0;
    if (!xlat_head4(&from->ip, fragment, from->proto, from->size, hop, id, to) || bpf_skb_change_proto(skb, ether, 0))
        return -1;
    if (bpf_skb_store_bytes(skb, ETH_HLEN, to, sizeof(*to), 0) || bpf_skb_store_bytes(skb, 12, &ether, 2, 0))
        return -1;
    if (from->extra && bpf_skb_adjust_room(skb, -(int)from->extra, BPF_ADJ_ROOM_NET, 0))
        return -1;
    return xlat_finish4(skb, from, to);
}

#endif
