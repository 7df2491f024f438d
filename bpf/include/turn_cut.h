/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * turn_cut.h: what others may fragment is fragmented where it becomes IPv6, whose routers don't (RFC 7915 section 4), or where
 * an IPv6 packet of 1280 bytes, which every link carries, meets an IPv4 link that doesn't (section 5.1: DF is clear).
 *
 * The law of this file: the payload is kept, and the packet becomes each piece in turn. All but the last leave as copies, for
 * which their neighbour must be known; the packet itself is the last, and asks for one. A packet whose checksum a device
 * is to finish isn't cut: it came from this host or its guests, and can be finished over all of it alone.
 */
#ifndef ALGATE_TURN_CUT_H
#define ALGATE_TURN_CUT_H

#define CUT6_AT (ETH_HEADER + IP6_HEADER + 8) /* where the payload of a piece of IPv6 begins */
#define CUT4_AT (ETH_HEADER + 20)
#define PIECES_MOST 32 /* of 16 KiB by 1232 bytes, or of 1260 by 48, which is as small as an IPv4 link may be */

/* The largest IPv6 packet that one without DF may become: [nat64] lowest_ipv6_mtu, but no more than its way takes. That isn't known
 * (0) where its neighbour isn't. */
static __always_inline u32 cut_most(const struct config6 *six, u32 mtu)
{
    return mtu > XLAT_FLOOR && six->lowest_mtu > XLAT_FLOOR ? xlat_min(mtu, six->lowest_mtu) : XLAT_FLOOR;
}

/* Whether a packet that becomes IPv6 may be cut, and is large enough for it. */
static __always_inline bool cut_wanted(struct __sk_buff *skb, const struct iphdr *ip, const struct packet *p, u32 size)
{
    u16 sum = 0;
    if (ip->frag_off & bpf_htons(XLAT_DF) || skb->gso_size || size_turned(skb, p) <= XLAT_FLOOR)
        return false;
    if (p->fragment || (p->proto != IPPROTO_TCP && p->proto != IPPROTO_UDP))
        return true;
    return bpf_skb_load_bytes(skb, p->l4 + (p->proto == IPPROTO_TCP ? 16 : 6), &sum, 2) ||
           sum != pseudo_sum(ip->saddr, ip->daddr, p->proto, size);
}

/* Makes the packet a piece: `part` bytes of what is kept, `at` where payload begins. */
static __always_inline int put_part(struct __sk_buff *skb, struct cut *kept, u32 at, u32 off, u32 part)
{
    OPAQUE(off);
    off &= CUT_MOST - 1;
    return bpf_skb_change_tail(skb, at + part, 0) ||
           bpf_skb_store_bytes(skb, at, kept->bytes + off, length_within(part, CUT_MOST), BPF_F_RECOMPUTE_CSUM);
}

static __always_inline int put_head6(struct __sk_buff *skb, const struct xlat_fragment *fragment, u32 part)
{
    __be16 length = bpf_htons(part + sizeof(*fragment));
    u8 next = IPPROTO_FRAGMENT;
    return bpf_skb_store_bytes(skb, ETH_HEADER + 4, &length, 2, 0) ||
           bpf_skb_store_bytes(skb, ETH_HEADER + 6, &next, 1, 0) ||
           bpf_skb_store_bytes(skb, ETH_HEADER + IP6_HEADER, fragment, sizeof(*fragment), 0);
}

static __always_inline int put_head4(struct __sk_buff *skb, struct iphdr *ip, u16 place, u32 part)
{
    ip->tot_len = bpf_htons(part + sizeof(*ip));
    ip->frag_off = bpf_htons(place);
    ip->check = 0;
    ip->check = xlat_sum4(ip);
    return bpf_skb_store_bytes(skb, ETH_HEADER, ip, sizeof(*ip), 0);
}

/* Sends a copy of what is a piece now, if its neighbour is known. */
static __always_inline void send_copy(struct __sk_buff *skb, const struct bpf_fib_lookup *fib, bool known)
{
    if (!known)
        return;
    skb->tc_index = TRANSLATED;
    bpf_clone_redirect(skb, fib->ifindex, 0);
}

static __always_inline int put_macs(struct __sk_buff *skb, const struct bpf_fib_lookup *fib)
{
    return bpf_skb_store_bytes(skb, 0, fib->dmac, 6, 0) || bpf_skb_store_bytes(skb, 6, fib->smac, 6, 0);
}

/* What has become IPv6; skb->cb[2] is the id that it had. */
static __always_inline int cut6(struct __sk_buff *skb)
{
    struct ipv6hdr ip;
    struct xlat_fragment fragment = {};
    struct packet p = {.l3 = ETH_HEADER};
    struct next_hop next = {};
    u32 zero = 0, id = skb->cb[2];
    OPAQUE(id);
    struct config *cfg = get_config();
    struct config6 *six = get_config6();
    struct scratch6 *room = scratch6.lookup(&zero);
    struct cut *kept = cuts.lookup(&zero);
    if (!cfg || !six || !room || !kept || bpf_skb_load_bytes(skb, ETH_HEADER, &ip, sizeof(ip)))
        return drop(DROP_MALFORMED);
    bool part_of = ip.nexthdr == IPPROTO_FRAGMENT;
    fragment.next = ip.nexthdr;
    fragment.id = bpf_htonl(bpf_ntohs((__be16)id));
    if (part_of ? bpf_skb_load_bytes(skb, ETH_HEADER + IP6_HEADER, &fragment, sizeof(fragment))
                : bpf_skb_adjust_room(skb, sizeof(fragment), BPF_ADJ_ROOM_NET, 0))
        return drop(DROP_REWRITE_FAILED);
    u32 size = bpf_ntohs(ip.payload_len) - (part_of ? sizeof(fragment) : 0), start = bpf_ntohs(fragment.place);
    p.proto = fragment.next == IPPROTO_ICMPV6 ? IPPROTO_ICMP : fragment.next;
    if (size - 1 >= CUT_MOST)
        return drop(DROP_NAT64_TOO_BIG);
    if (bpf_skb_load_bytes(skb, CUT6_AT, kept->bytes, length_within(size, CUT_MOST)))
        return drop(DROP_REWRITE_FAILED);
    struct bpf_fib_lookup fib = {.family = FAMILY_SIX, .ifindex = cfg->wan, .tot_len = XLAT_FLOOR};
    fib.l4_protocol = p.proto;
    __builtin_memcpy(fib.ipv6_src, &ip.saddr, 16);
    __builtin_memcpy(fib.ipv6_dst, &ip.daddr, 16);
    long rc = fib_six(skb, cfg, &fib);
    if ((rc != BPF_FIB_LKUP_RET_SUCCESS && rc != BPF_FIB_LKUP_RET_NO_NEIGH) || !is_lan(cfg, fib.ifindex))
        return drop(DROP_NAT64_ROUTE);
    bool bare = is_bare(cfg, fib.ifindex), known = bare || rc == BPF_FIB_LKUP_RET_SUCCESS;
    if (known && !bare && put_macs(skb, &fib))
        return drop(DROP_REWRITE_FAILED);
    next.ifindex = fib.ifindex;
    __builtin_memcpy(next.gateway, fib.ipv6_dst, 16);
    u32 most = (cut_most(six, rc == BPF_FIB_LKUP_RET_SUCCESS ? fib.tot_len : 0) - IP6_HEADER - sizeof(fragment)) & ~7u;
    UNKNOWN(room) = 0; /* a known number would be followed for each piece */
    for (u32 i = 0; i < PIECES_MOST; i++) {
        u32 off = UNKNOWN(room), left = size - off;
        bool last = left <= most;
        u32 part = last ? left : most;
        fragment.place = bpf_htons((u16)((start & ~7) + off) | (last ? start & 1 : 1));
        if (put_part(skb, kept, CUT6_AT, off, part) || put_head6(skb, &fragment, part))
            return drop(DROP_REWRITE_FAILED);
        if (last)
            return redirect_to(skb, cfg, &p, &next);
        send_copy(skb, &fib, known);
        UNKNOWN(room) = off + part;
    }
    return drop(DROP_NAT64_TOO_BIG);
}

/* Whether the sum of IPv4's transport header is still to be finished. */
static __always_inline bool sum_unfinished(struct __sk_buff *skb, const struct iphdr *ip, u32 size)
{
    u16 sum = 0;
    if (ip->frag_off & bpf_htons(XLAT_PLACE | XLAT_MF) || (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP))
        return false;
    return bpf_skb_load_bytes(skb, CUT4_AT + (ip->protocol == IPPROTO_TCP ? 16 : 6), &sum, 2) ||
           sum == pseudo_sum(ip->saddr, ip->daddr, ip->protocol, size);
}

/* What has become IPv4, is translated, and larger than its link takes. */
static __always_inline int cut4(struct __sk_buff *skb)
{
    struct iphdr ip;
    struct packet p = {.l3 = ETH_HEADER};
    struct bpf_redir_neigh hop = {.nh_family = 2};
    struct bpf_fib_lookup fib = {};
    u32 zero = 0;
    struct config *cfg = get_config();
    struct scratch6 *room = scratch6.lookup(&zero);
    struct cut *kept = cuts.lookup(&zero);
    if (!cfg || !room || !kept || bpf_skb_load_bytes(skb, ETH_HEADER, &ip, sizeof(ip)))
        return drop(DROP_MALFORMED);
    u32 size = bpf_ntohs(ip.tot_len) - sizeof(ip), start = bpf_ntohs(ip.frag_off);
    if (size - 1 >= XLAT_SMALL || skb->gso_size || sum_unfinished(skb, &ip, size))
        return drop(DROP_NAT64_TOO_BIG);
    if (bpf_skb_load_bytes(skb, CUT4_AT, kept->bytes, length_within(size, 2048)))
        return drop(DROP_REWRITE_FAILED);
    p.proto = ip.protocol;
    if (ask_fib4(skb, &p, ip.saddr, ip.daddr, cfg->lan[0], 65535, &fib) != BPF_FIB_LKUP_RET_FRAG_NEEDED)
        return drop(DROP_NAT64_ROUTE);
    u32 most = ((u32)fib.tot_len - sizeof(ip)) & 0x7f8; /* of the way's MTU, which it says of what doesn't fit */
    long rc = ask_fib4(skb, &p, ip.saddr, ip.daddr, cfg->lan[0], 68, &fib);
    if ((rc != BPF_FIB_LKUP_RET_SUCCESS && rc != BPF_FIB_LKUP_RET_NO_NEIGH) || fib.ifindex != cfg->wan || most < 48)
        return drop(DROP_NAT64_ROUTE);
    bool bare = is_bare(cfg, cfg->wan), known = bare || rc == BPF_FIB_LKUP_RET_SUCCESS;
    if (known && !bare && put_macs(skb, &fib))
        return drop(DROP_REWRITE_FAILED);
    hop.ipv4_nh = fib.ipv4_dst;
    UNKNOWN(room) = 0;
    for (u32 i = 0; i < PIECES_MOST; i++) {
        u32 off = UNKNOWN(room), left = size - off;
        bool last = left <= most;
        u32 part = last ? left : most;
        u16 place = ((start & XLAT_PLACE) + (off >> 3)) | (last ? start & XLAT_MF : XLAT_MF);
        if (put_part(skb, kept, CUT4_AT, off, part) || put_head4(skb, &ip, place, part))
            return drop(DROP_REWRITE_FAILED);
        if (last)
            return redirect_by(skb, cfg, &p, fib.ifindex, &hop);
        send_copy(skb, &fib, known);
        UNKNOWN(room) = off + part;
    }
    return drop(DROP_NAT64_TOO_BIG);
}

#endif
