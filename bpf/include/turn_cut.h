/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * turn_cut.h: what others may fragment is fragmented where it becomes IPv6, whose routers don't (RFC 7915 section 4).
 *
 * The law of this file: two pieces, which an IPv4 packet of up to 2,484 bytes needs; what is larger is dropped. The first leaves as
 * a copy, for which its neighbour must be known; the packet itself is the second, and asks for one.
 */
#ifndef ALGATE_TURN_CUT_H
#define ALGATE_TURN_CUT_H

#define CUT_FIRST (XLAT_FLOOR - IP6_HEADER - 8) /* bytes of payload in the first piece, a multiple of 8 */
#define CUT_AT (ETH_HEADER + IP6_HEADER + 8)    /* where a piece's payload begins */

/* Whether a packet has to be cut. Not one whose checksum a device is to finish, which came from this host or its guests: that
 * can be finished over all of it alone. */
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

/* The two fields that differ between pieces: how long it is, and where it belongs. */
static __always_inline int put_piece(struct __sk_buff *skb, const struct xlat_fragment *fragment, u32 size)
{
    __be16 length = bpf_htons(size + sizeof(*fragment));
    u8 next = IPPROTO_FRAGMENT;
    return bpf_skb_store_bytes(skb, ETH_HEADER + 4, &length, 2, 0) ||
           bpf_skb_store_bytes(skb, ETH_HEADER + 6, &next, 1, 0) ||
           bpf_skb_store_bytes(skb, ETH_HEADER + IP6_HEADER, fragment, sizeof(*fragment), 0);
}

/* Sends a copy of what is the first piece now. */
static __always_inline void send_copy(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                      const struct ipv6hdr *to)
{
    struct bpf_fib_lookup fib = {.family = FAMILY_SIX, .ifindex = cfg->wan};
    fib.l4_protocol = p->proto == IPPROTO_ICMP ? IPPROTO_ICMPV6 : p->proto;
    __builtin_memcpy(fib.ipv6_src, &to->saddr, 16);
    __builtin_memcpy(fib.ipv6_dst, &to->daddr, 16);
    fib.tot_len = XLAT_FLOOR;
    if (bpf_fib_lookup(skb, &fib, sizeof(fib), 0) != BPF_FIB_LKUP_RET_SUCCESS || !is_lan(cfg, fib.ifindex))
        return;
    if (bpf_skb_store_bytes(skb, 0, fib.dmac, 6, 0) || bpf_skb_store_bytes(skb, 6, fib.smac, 6, 0))
        return;
    skb->tc_index = TRANSLATED;
    bpf_clone_redirect(skb, fib.ifindex, 0);
}

/* On in two pieces; the packet is IPv6 already, `size` bytes behind its headers. */
static __always_inline int leave_cut(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                     const struct iphdr *ip, const struct ipv6hdr *to, u32 size,
                                     const struct next_hop *next)
{
    u16 place = bpf_ntohs(ip->frag_off);
    u32 zero = 0, left = size - CUT_FIRST, start = (place & XLAT_PLACE) << 3;
    struct scratch *room = scratch.lookup(&zero);
    struct xlat_fragment fragment = {.next = p->proto == IPPROTO_ICMP ? IPPROTO_ICMPV6 : p->proto,
                                     .place = bpf_htons(start | 1),
                                     .id = bpf_htonl(bpf_ntohs(ip->id))};
    if (!room || size <= CUT_FIRST || left > CUT_FIRST)
        return drop(DROP_NAT64_TOO_BIG);
    if (!p->fragment && bpf_skb_adjust_room(skb, sizeof(fragment), BPF_ADJ_ROOM_NET, 0))
        return drop(DROP_REWRITE_FAILED);
    if (bpf_skb_load_bytes(skb, CUT_AT + CUT_FIRST, room->words, length_within(left, sizeof(room->words))) ||
        bpf_skb_change_tail(skb, CUT_AT + CUT_FIRST, 0) || put_piece(skb, &fragment, CUT_FIRST))
        return drop(DROP_REWRITE_FAILED);
    send_copy(skb, cfg, p, to);
    fragment.place = bpf_htons((u16)(start + CUT_FIRST) | !!(place & XLAT_MF));
    if (bpf_skb_change_tail(skb, CUT_AT + left, 0) || put_piece(skb, &fragment, left) ||
        bpf_skb_store_bytes(skb, CUT_AT, room->words, length_within(left, sizeof(room->words)), BPF_F_RECOMPUTE_CSUM))
        return drop(DROP_REWRITE_FAILED);
    return redirect_to(skb, cfg, p, next);
}

#endif
