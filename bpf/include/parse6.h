/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * parse6.h: an IPv6 frame to `struct packet`, with handles for its addresses: from there on it is a packet like any other.
 *
 * The law of this file: it writes nothing into a packet and interns nothing: an address without a handle is 0, which is in
 * no key. ICMPv6 is called IPPROTO_ICMP and its echo 8 and 0, as everywhere behind here. Of a protocol without ports they
 * are 0. What can't be read to its transport header is PARSED_MALFORMED, and `refused` says why. NAT64 (TURNS) answers more
 * senders than the filter, which says nothing: there a protocol that nobody knows is PARSED_OTHER, and a routing header
 * with segments left is `routed`.
 */
#ifndef ALGATE_PARSE6_H
#define ALGATE_PARSE6_H

#define IP6_HEADER 40
#define EXTENSIONS_MOST 8   /* headers: RFC 8504 section 5.3 lets a host refuse more */
#define HEADERS_MOST 248    /* bytes, IPv6 header included: header_size has 8 bits */
#define PROTOCOLS_KNOWN 148 /* from here on IANA has assigned none */
#define ECHO_REQUEST6 128
#define ECHO_REPLY6 129
#define TOO_BIG6 2

/* How far an address reaches. */
enum scope {
    SCOPE_GLOBAL,
    SCOPE_LINK,  /* fe80::/10 */
    SCOPE_GROUP, /* ff00::/8 */
    SCOPE_NONE,  /* ::, ::1, and IPv4 in the first 96 bits of zeros or ::ffff: (RFC 4291 section 2.5.5): on no wire */
};

static __always_inline u8 scope_of(const struct in6_addr *ip)
{
    const __be32 *word = ip->s6_addr32;
    if (ip->s6_addr[0] == 0xff)
        return SCOPE_GROUP;
    if (ip->s6_addr[0] == 0xfe && (ip->s6_addr[1] & 0xc0) == 0x80)
        return SCOPE_LINK;
    if (!word[0] && !word[1] && (!word[2] || word[2] == bpf_htonl(0xffff)))
        return SCOPE_NONE;
    return SCOPE_GLOBAL;
}

/* Asked where it is needed: carried along, it multiplies the verifier's work. */
static __always_inline u8 source_scope(struct __sk_buff *skb, const struct packet *p)
{
    struct in6_addr ip;
    return bpf_skb_load_bytes(skb, ip_at(p) + 8, &ip, sizeof(ip)) ? SCOPE_NONE : scope_of(&ip);
}

static __always_inline bool is_extension(u8 next)
{
    return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_FRAGMENT || next == IPPROTO_DSTOPTS;
}

static __always_inline int parse_refused(struct packet *p, u8 reason)
{
    p->refused = reason;
    return PARSED_MALFORMED;
}

/* A fragment header. An atomic fragment is a whole packet (RFC 6946). */
static __always_inline int parse_fragment6(struct packet *p, const u8 *head)
{
    u16 word = (u16)head[2] << 8 | head[3], bytes = word & 0xfff8;
    if (p->head)
        return parse_refused(p, DROP_EXTENSION);
    p->head = 1;
    p->fragment = word >> 3 | (word & 1 ? IP_MORE_FRAGMENTS : 0);
    __builtin_memcpy(&p->id6, head + 4, 4);
    u32 room = p->ip_size - p->header_size - 8;
    if (p->header_size + 8 > p->ip_size || (word & 1 && (room & 7 || !room)) || bytes + room > 65535)
        return parse_refused(p, DROP_MALFORMED);
    return PARSED_FLOW;
}

/* One extension header of the kind p->proto, its first 8 bytes in `head`. PARSED_FLOW: it is one that is passed over. */
static __always_inline int parse_extension(struct packet *p, const u8 *head, bool first)
{
    u32 size = (head[1] + 1) * 8;
#ifdef TURNS
    if (p->fragment) /* its parts would no longer fit together without it (RFC 7915 section 5.1.1) */
        return parse_refused(p, DROP_EXTENSION);
#endif
    if (p->proto == IPPROTO_FRAGMENT) {
        int parsed = parse_fragment6(p, head);
        if (parsed != PARSED_FLOW)
            return parsed;
        size = 8;
    } else if (p->proto == IPPROTO_HOPOPTS) {
        if (!first)
            return parse_refused(p, DROP_EXTENSION);
        p->options = 1;
    } else if (p->proto == IPPROTO_ROUTING) {
#ifdef TURNS
        if (head[3] && !p->routed) /* of whichever type, 0 too: RFC 5095 section 3 asks for no more */
            p->routed = p->header_size + 3;
#else
        if (head[2] == 0 || (head[3] && head[2] != 2))
            return parse_refused(p, DROP_ROUTING_HEADER);
        p->options |= head[3] != 0;
#endif
    }
    size += p->header_size;
    if (size > HEADERS_MOST)
        return parse_refused(p, DROP_EXTENSION);
    if (size > p->ip_size)
        return parse_refused(p, DROP_MALFORMED);
    p->header_size = size;
    p->proto = head[0];
    return PARSED_FLOW;
}

/* To the transport header, or to the end of what the first fragment has. */
static __always_inline int walk_extensions(struct __sk_buff *skb, struct packet *p)
{
    u8 head[8];
    for (int i = 0; i < EXTENSIONS_MOST; i++) {
        if (!is_extension(p->proto) || p->fragment & IP_OFFSET_MASK)
            return PARSED_FLOW;
        if (p->header_size + 8 > p->ip_size || bpf_skb_load_bytes(skb, ip_at(p) + p->header_size, head, sizeof(head)))
            return parse_refused(p, p->fragment ? DROP_FRAGMENT_TINY : DROP_MALFORMED);
        int parsed = parse_extension(p, head, i == 0);
        if (parsed != PARSED_FLOW)
            return parsed;
    }
    return is_extension(p->proto) ? parse_refused(p, DROP_EXTENSION) : PARSED_FLOW;
}

static __always_inline int parse_icmp6(struct packet *p, void *l4, void *data_end, u32 room)
{
    struct icmp6hdr *icmp = l4;
    if ((void *)(icmp + 1) > data_end || room < sizeof(*icmp))
        return parse_refused(p, DROP_MALFORMED);
    p->sum = icmp->icmp6_cksum;
    p->icmp_type = icmp->icmp6_type;
    if (icmp->icmp6_type >= 1 && icmp->icmp6_type <= 4)
        return PARSED_ICMP_ERROR;
    if (icmp->icmp6_type != ECHO_REQUEST6 && icmp->icmp6_type != ECHO_REPLY6)
        return PARSED_OTHER;
    p->icmp_type = icmp->icmp6_type == ECHO_REQUEST6 ? 8 : 0;
    p->source_port = p->destination_port = icmp->icmp6_dataun.u_echo.identifier;
    return PARSED_FLOW;
}

/* Transport header at p->l4. What has no ports is a flow of the two hosts and the protocol. */
static __always_inline int parse_transport6(struct packet *p, void *data, void *data_end)
{
    u32 room = p->ip_size - p->header_size;
    void *l4 = data + p->l4;
    if (p->proto == IPPROTO_ICMPV6) {
        p->proto = IPPROTO_ICMP;
        return parse_icmp6(p, l4, data_end, room);
    }
    if (p->proto == IPPROTO_TCP || p->proto == IPPROTO_UDP)
        return parse_transport(p, l4, data_end, room);
#ifdef TURNS
    if (is_extension(p->proto))
        return parse_refused(p, DROP_EXTENSION);
    if (p->proto == IPPROTO_ICMP) /* IPv4's: no ICMPv6, as behind here */
        p->proto = IPPROTO_RAW;
    return PARSED_OTHER;
#endif
    if (p->proto == IPPROTO_ICMP) /* IPv4's */
        return parse_refused(p, DROP_PROTOCOL);
    if (is_extension(p->proto) || p->proto >= PROTOCOLS_KNOWN || p->proto == IPPROTO_NONE || p->proto == 135 ||
        p->proto == 139 || p->proto == 140) /* mobility, HIP, Shim6: more of an extension than of a protocol */
        return parse_refused(p, DROP_EXTENSION);
    return PARSED_FLOW;
}

/* Keeps what a walk has found: done again in each stage it would be more than the verifier follows. */
static __always_inline void walk_keep(const struct packet *p)
{
    u32 zero = 0;
    struct scratch6 *room = scratch6.lookup(&zero);
    if (!room)
        return;
    room->header_size = p->header_size;
    room->proto = p->proto;
    room->options = p->options;
    room->head = p->head;
    room->routed = p->routed;
    room->fragment = p->fragment;
    room->id6 = p->id6;
}

/* What the first stage's walk found of this packet. */
static __always_inline int walk_recall(struct packet *p)
{
    u32 zero = 0;
    struct scratch6 *room = scratch6.lookup(&zero);
    if (!room)
        return PARSED_MALFORMED;
    p->header_size = room->header_size;
    p->proto = room->proto;
    p->options = room->options;
    p->head = room->head;
    p->routed = room->routed;
    p->fragment = room->fragment;
    p->id6 = room->id6;
    return p->header_size < IP6_HEADER || p->header_size > p->ip_size ? PARSED_MALFORMED : PARSED_FLOW;
}

/* The IPv6 header at offset l3, and what stands between it and the transport header; `again`: by a stage behind the first.
 * `named`: with the handles of both ends. */
static __always_inline int parse_ip6(struct __sk_buff *skb, struct packet *p, u32 l3, bool again, bool named)
{
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    struct ipv6hdr *ip = data + l3;
    if ((void *)(ip + 1) > data_end || ip->version != 6)
        return PARSED_MALFORMED;
    u32 size = bpf_ntohs(ip->payload_len) + IP6_HEADER;
    p->l3 = l3;
    p->ttl = ip->hop_limit;
    p->proto = ip->nexthdr;
    p->header_size = IP6_HEADER;
    p->ip_size = size;
    if (!again)
        p->to = scope_of(&ip->daddr);
    if (named && !name_ends(p, (void *)&ip->saddr))
        return PARSED_MALFORMED;
    if (size > 65535 || size + l3 > skb->len)
        return PARSED_MALFORMED;
    int parsed = PARSED_FLOW;
    if (is_extension(p->proto)) {
        parsed = again ? walk_recall(p) : walk_extensions(skb, p);
        if (!again)
            walk_keep(p);
    }
    p->l4 = l3 + p->header_size;
    return parsed;
}

#endif
