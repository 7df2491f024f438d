/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * turn_in.h: NAT64 from outside: a packet of a session whose inside end point is a handle becomes IPv6 and leaves by the LAN
 * (RFC 6146 section 3.5, RFC 7915 section 4).
 *
 * The law of this file: the packet comes here as the outside sent it, judged and accounted by IPv4's programs; skb->cb says
 * whom it is for (turned.h). Its way is asked for before anything is written, so that its sender can be told by the packet as
 * it came. One hop is taken here.
 */
#ifndef ALGATE_TURN_IN_H
#define ALGATE_TURN_IN_H

/* The inside port, or an echo's identifier, in place of the public one: 0, or -1. */
static __always_inline int put_inside_port(struct __sk_buff *skb, const struct packet *p, __be16 port)
{
    u32 at = p->l4 + (p->proto == IPPROTO_ICMP ? 4 : 2), sum_at = p->l4 + 16;
    __be16 was = 0, sum = 1;
    if (p->proto != IPPROTO_TCP)
        sum_at = p->l4 + (p->proto == IPPROTO_UDP ? 6 : 2);
    if (bpf_skb_load_bytes(skb, at, &was, 2) || bpf_skb_load_bytes(skb, sum_at, &sum, 2))
        return -1;
    if (was == port)
        return 0;
    bool summed = sum || p->proto != IPPROTO_UDP;
    if (summed && bpf_l4_csum_replace(skb, sum_at, was, port, 2 | (p->proto == IPPROTO_UDP ? XLAT_MANGLED : 0)))
        return -1;
    return bpf_skb_store_bytes(skb, at, &port, 2, 0) ? -1 : 0;
}

/* Whether its options, `size` bytes, have a source route that isn't at its end. */
static __always_inline bool source_routed(struct __sk_buff *skb, u32 l3, u32 size)
{
    u32 zero = 0;
    struct scratch *room = scratch.lookup(&zero);
    if (!room || size > OPTIONS_MAX || size < 4 ||
        bpf_skb_load_bytes(skb, l3 + 20, room->options, length_within(size, sizeof(room->options))))
        return true;
    u32 at = find_option(room, size, 131); /* loose */
    if (!at)
        at = find_option(room, size, 137); /* strict */
    return at && room->options[at & 63] <= room->options[(at - 1) & 63];
}

/* The id of the session that a packet of the helper, or behind its gate, is of. */
static __always_inline u64 owner_turned(struct __sk_buff *skb, const struct packet *p, u32 told)
{
    __be16 words[2] = {};
    struct session_key key = {.inside_ip = p->destination, .remote_ip = p->source, .proto = p->proto};
    if (bpf_skb_load_bytes(skb, p->l4, words, sizeof(words)))
        return 0;
    key.inside_port = told & TURN_PORT ? (__be16)told : words[1];
    key.remote_port = words[0];
    struct session *s = sessions.lookup(&key);
    return s ? s->id : 0;
}

/* What finds no way. */
static __always_inline int astray(struct __sk_buff *skb, const struct packet *p, int at, u32 told, int route, u32 mtu)
{
    u32 most = mtu > 20 ? mtu - 20 : 0;
    if (p->fragment && p->ip_size <= most)
        most -= sizeof(struct xlat_fragment); /* its sender makes them that large already */
    if (told & TURN_CONTROL)
        return unsent(skb, p, owner_turned(skb, p, told), DIR_IN, route, most);
    return tell4(skb, at, route == ROUTE_TOO_BIG ? DROP_NAT64_TOO_BIG : DROP_NAT64_ROUTE, most);
}

static __always_inline int turn_in(struct __sk_buff *skb, int at)
{
    struct iphdr ip;
    struct ipv6hdr to = {};
    struct packet p = {};
    struct next_hop next = {};
    struct config *cfg = get_config();
    struct config6 *six = get_config6();
    __be32 handle = skb->cb[2];
    u32 told = skb->cb[3];
    OPAQUE(handle); /* else the compiler keeps the address of a member, which the verifier refuses */
    OPAQUE(told);
    if (!cfg || !six)
        return drop(DROP_MALFORMED);
    u32 l3 = link_header(skb, cfg, at);
    if (bpf_skb_load_bytes(skb, l3, &ip, sizeof(ip)) || ip.ihl < 5)
        return drop(DROP_MALFORMED);
    u32 freed = handles_freed();
    if (!six->prefix_bits || !ends_turned(six, ip.saddr, handle, &to))
        return drop(DROP_RACE);
    describe4(&ip, l3, handle, &p);
    u32 extra = p.header_size - sizeof(ip), size = p.ip_size - p.header_size;
    if (extra && source_routed(skb, l3, extra))
        return tell4(skb, at, DROP_NAT64_SOURCE_ROUTE, 0);
    u32 turned = size_turned(skb, &p);
    bool cut = cut_wanted(skb, &ip, &p, size);
    bool kept = !(told & TURN_CONTROL) || (told & TURN_PORT && p.ip_size <= LIGHT_MOST);
    int route = route_six(skb, cfg, &p, &to, cut ? XLAT_FLOOR : turned, kept, freed, &next);
    if (route != ROUTE_FORWARD)
        return astray(skb, &p, at, told, route, next.mtu);
    cut = cut && turned > cut_most(six, next.mtu);
    if (p.ttl <= 1)
        return tell4(skb, at, DROP_NAT64_HOPS, 0);
    if (told & TURN_PORT && put_inside_port(skb, &p, told))
        return drop(DROP_REWRITE_FAILED);
    if (!l3 && bpf_skb_change_head(skb, ETH_HEADER, 0))
        return drop(DROP_REWRITE_FAILED);
    if (extra && bpf_skb_adjust_room(skb, -(int)extra, BPF_ADJ_ROOM_NET, 0))
        return drop(DROP_REWRITE_FAILED);
    if (xlat_turn6(skb, &ip, size, &to))
        return drop(p.fragment ? DROP_NAT64_SUM : DROP_REWRITE_FAILED);
    p.l3 = ETH_HEADER;
    if (cut)
        return next_with(skb, STAGE_CUT6 - FAMILY_STAGES, at, DIR_IN, ip.id, 0);
    return redirect_to(skb, cfg, &p, &next);
}

#endif
