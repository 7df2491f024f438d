/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * xlat.h: IPv4 headers to IPv6 ones and back (RFC 7915 sections 4.1 and 5.1), and IPv4 addresses within IPv6 ones (RFC 6052).
 *
 * The law of this file: pure arithmetic over structs that the caller has read; it sees no packet, map or clock.
 * Addresses are chosen by the caller: which stands for which is a question of sessions, not of headers.
 */
#ifndef ALGATE_XLAT_H
#define ALGATE_XLAT_H

#define XLAT_SMALL 1260 /* an IPv4 packet that becomes at most 1280 bytes may be fragmented on its way (RFC 7915 5.1) */
#define XLAT_FLOOR 1280 /* every IPv6 link carries this (RFC 8200 section 5) */
#define XLAT_DF 0x4000
#define XLAT_MF 0x2000

/* A prefix that stands for IPv4. What follows its `bits` is zero. */
struct xlat_prefix {
    struct in6_addr ip;
    u32 bits; /* 32, 40, 48, 56, 64 or 96 */
};

/* A fragment header of IPv6 (RFC 8200 section 4.5), which UAPI headers don't have. */
struct xlat_fragment {
    u8 next;
    u8 reserved;
    __be16 place; /* offset in units of 8 bytes, two reserved bits, more */
    __be32 id;
};

#define XLAT_WORD(address, n) ((address)->in6_u.u6_addr32[n])

/* The IPv6 address of an IPv4 one. Bits 64 to 71 and what follows the IPv4 address are zero. */
static __always_inline void xlat_embed(struct in6_addr *to, const struct xlat_prefix *prefix, __be32 v4)
{
    *to = prefix->ip;
    if (prefix->bits == 96) {
        XLAT_WORD(to, 3) = v4;
        return;
    }
    u64 wide = (u64)bpf_ntohl(v4) << ((64 - prefix->bits) & 63);
    XLAT_WORD(to, 1) |= bpf_htonl((u32)(wide >> 32));
    XLAT_WORD(to, 2) = bpf_htonl((u32)wide >> 8);
    XLAT_WORD(to, 3) = bpf_htonl((u32)wide << 24);
}

/* Whether an address is in the prefix, whatever follows. */
static __always_inline bool xlat_within(const struct in6_addr *ip, const struct xlat_prefix *prefix)
{
    if (XLAT_WORD(ip, 0) != XLAT_WORD(&prefix->ip, 0))
        return false;
    if (prefix->bits == 96)
        return XLAT_WORD(ip, 1) == XLAT_WORD(&prefix->ip, 1) && XLAT_WORD(ip, 2) == XLAT_WORD(&prefix->ip, 2);
    u32 mask = (u32)(0xffffffff00000000ULL >> ((prefix->bits - 32) & 63));
    return (bpf_ntohl(XLAT_WORD(ip, 1)) & mask) == bpf_ntohl(XLAT_WORD(&prefix->ip, 1));
}

/* The IPv4 address in an IPv6 one; false if it isn't in the prefix, or isn't what xlat_embed makes of any: an answer
 * would come from another address than the sender wrote to. */
static __always_inline bool xlat_extract(const struct in6_addr *ip, const struct xlat_prefix *prefix, __be32 *v4)
{
    if (!xlat_within(ip, prefix))
        return false;
    if (prefix->bits == 96) {
        *v4 = XLAT_WORD(ip, 3);
        return true;
    }
    u32 third = bpf_ntohl(XLAT_WORD(ip, 2)), last = bpf_ntohl(XLAT_WORD(ip, 3));
    u64 wide = (u64)bpf_ntohl(XLAT_WORD(ip, 1)) << 32 | third << 8 | last >> 24;
    u32 shift = (64 - prefix->bits) & 63;
    *v4 = bpf_htonl((u32)(wide >> shift));
    return !(third >> 24) && !(last & 0xffffff) && !(wide & ((1ULL << shift) - 1));
}

/* Whether an IPv4 address means the same host everywhere: behind the well-known prefix only those may stand
 * (RFC 6052 section 3.1, RFC 5735 section 3; shared addresses by RFC 6598). */
static __always_inline bool xlat_global(__be32 v4)
{
    u32 ip = bpf_ntohl(v4);
    u32 b8 = ip >> 24, b12 = ip >> 20, b15 = ip >> 17, b16 = ip >> 16, b24 = ip >> 8;
    if (b24 == 0xc05863 || b8 == 0 || b8 == 10 || b8 == 127 || b8 >= 224)
        return false;
    if (ip >> 22 == 0x64400000 >> 22 || b12 == 0xac1 || b15 == 0xc612 >> 1)
        return false;
    if (b16 == 0xa9fe || b16 == 0xc0a8)
        return false;
    return b24 != 0xc00000 && b24 != 0xc00002 && b24 != 0xc63364 && b24 != 0xcb0071;
}

static __always_inline bool xlat_well_known(const struct xlat_prefix *prefix)
{
    return prefix->bits == 96 && XLAT_WORD(&prefix->ip, 0) == bpf_htonl(0x64ff9b) && !XLAT_WORD(&prefix->ip, 1) &&
           !XLAT_WORD(&prefix->ip, 2);
}

/* Whether an IPv4 host may be shown behind the prefix. */
static __always_inline bool xlat_shown(const struct xlat_prefix *prefix, __be32 v4)
{
    return !xlat_well_known(prefix) || xlat_global(v4);
}

/* What a sum gains when an IPv4 pair of addresses becomes an IPv6 pair. Adding the complement of a word takes it away. */
static __always_inline u32 xlat_pair_change(const struct iphdr *from, const struct ipv6hdr *to)
{
    u32 change = csum_change4(csum_change4(0, from->saddr, 0), from->daddr, 0);
    for (int i = 0; i < 4; i++) {
        change = csum_change4(change, 0, XLAT_WORD(&to->saddr, i));
        change = csum_change4(change, 0, XLAT_WORD(&to->daddr, i));
    }
    return change;
}

/* The opposite. */
static __always_inline u32 xlat_pair_change_back(const struct ipv6hdr *from, const struct iphdr *to)
{
    return (u16)~csum_fold(xlat_pair_change(to, from));
}

/* The pseudo header that ICMPv6 sums and ICMP doesn't: `change` of a whole message of `size` bytes that became ICMPv6. */
static __always_inline u32 xlat_icmp_pseudo(const struct ipv6hdr *ip, u32 size)
{
    u32 change = csum_change4(csum_change4(0, 0, bpf_htonl(size)), 0, bpf_htonl(IPPROTO_ICMPV6));
    for (int i = 0; i < 4; i++) {
        change = csum_change4(change, 0, XLAT_WORD(&ip->saddr, i));
        change = csum_change4(change, 0, XLAT_WORD(&ip->daddr, i));
    }
    return change;
}

/* The checksum of an IPv4 header of 20 bytes whose field for it is 0. By a copy: the compiler may read a field as part of a word before
 * it has written it. */
static __always_inline u16 xlat_sum4(const struct iphdr *ip)
{
    u32 words[5], sum = 0;
    __builtin_memcpy(words, ip, sizeof(words));
    for (int i = 0; i < 5; i++)
        sum = csum_change4(sum, 0, words[i]);
    return ~csum_fold(sum);
}

static __always_inline bool xlat_is_fragment(const struct iphdr *ip)
{
    return ip->frag_off & bpf_htons(0x3fff);
}

/* The IPv6 header, addresses apart, of an IPv4 one with `size` bytes after it. A fragment gets a fragment header, nothing
 * else does (RFC 8021). `hop`: how much the gateway takes from the TTL: 0 in a quoted packet, where it is history.
 * Returns the bytes of all headers, 0: the TTL has run out. */
static __always_inline u32 xlat_head6(const struct iphdr *ip, u32 size, u8 hop, struct ipv6hdr *to,
                                      struct xlat_fragment *fragment)
{
    u8 proto = ip->protocol == IPPROTO_ICMP ? IPPROTO_ICMPV6 : ip->protocol;
    if (hop && ip->ttl <= hop)
        return 0;
    *(__be32 *)to = bpf_htonl(0x60000000 | (u32)ip->tos << 20);
    to->hop_limit = ip->ttl - hop;
    if (!xlat_is_fragment(ip)) {
        to->payload_len = bpf_htons(size);
        to->nexthdr = proto;
        return sizeof(*to);
    }
    u16 place = bpf_ntohs(ip->frag_off);
    fragment->next = proto;
    fragment->reserved = 0;
    fragment->place = bpf_htons((u16)(place << 3) | !!(place & XLAT_MF));
    fragment->id = bpf_htonl(bpf_ntohs(ip->id));
    to->payload_len = bpf_htons(size + sizeof(*fragment));
    to->nexthdr = IPPROTO_FRAGMENT;
    return sizeof(*to) + sizeof(*fragment);
}

/* The 20-byte IPv4 header with its checksum, of an IPv6 one with `size` bytes after all its headers. `proto` is what follows
 * those; `fragment` may be null; `id` is for a packet that others may fragment. The caller has written the addresses
 * into `to`. False: the hop limit has run out. */
static __always_inline bool xlat_head4(const struct ipv6hdr *ip, const struct xlat_fragment *fragment, u8 proto,
                                       u32 size, u8 hop, u16 id, struct iphdr *to)
{
    if (hop && ip->hop_limit <= hop)
        return false;
    *(u8 *)to = 0x45;
    to->tos = bpf_ntohl(*(const __be32 *)ip) >> 20;
    to->tot_len = bpf_htons(size + sizeof(*to));
    to->ttl = ip->hop_limit - hop;
    to->protocol = proto == IPPROTO_ICMPV6 ? IPPROTO_ICMP : proto;
    if (fragment) {
        u16 place = bpf_ntohs(fragment->place);
        to->frag_off = bpf_htons(place >> 3 | (place & 1 ? XLAT_MF : 0));
        to->id = bpf_htons((u16)bpf_ntohl(fragment->id));
    } else {
        bool small = size + sizeof(*to) <= XLAT_SMALL;
        to->frag_off = small ? 0 : bpf_htons(XLAT_DF);
        to->id = small ? bpf_htons(id) : 0;
    }
    to->check = 0;
    to->check = xlat_sum4(to);
    return true;
}

/* A UDP checksum after a change. Zero means "none" in IPv4 and nothing in IPv6: a computed zero is sent as its other form. */
static __always_inline u16 xlat_udp_sum(u16 check, u32 change)
{
    u16 made = csum_apply(check, change);
    return made ? made : 0xffff;
}

#endif
