/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * parse.h: from frame bytes to `struct packet`. Pure: no map, no helper, no verdict.
 *
 * Contract: parse_ip() checks every bound against data_end and fills the packet, or returns a reason to leave the
 * fast path. Offsets are from the start of the frame. Addresses and ports stay in network byte order.
 */
#ifndef ALGATE_PARSE_H
#define ALGATE_PARSE_H

#define ETH_HEADER 14
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_URG 0x20
#define IP_MORE_FRAGMENTS 0x2000
#define IP_DONT_FRAGMENT 0x4000
#define IP_OFFSET_MASK 0x1fff

enum parsed {
    PARSED_FLOW,       /* TCP, UDP, ICMP query: has ports */
    PARSED_ICMP_ERROR, /* ICMP with a quoted packet */
    PARSED_FRAGMENT,   /* any fragment, the first included: `fragment` says which */
    PARSED_OTHER,      /* IPv4, a protocol without ports */
    PARSED_MALFORMED,
};

struct hop6;

struct packet {
    __be32 source;
    __be32 destination;
    __be16 source_port; /* ICMP query: the identifier, in both */
    __be16 destination_port;
    u16 ip_size;  /* total length of the IP packet */
    u16 l4;       /* offset of the transport header */
    u16 fragment; /* offset and flags of the fragment, host order */
    __be16 ip_id;
    u8 header_size; /* of IP, bytes */
    u8 proto;
    u8 ttl;
    u8 tcp_flags;
    u8 icmp_type;
    u8 tcp_header; /* bytes */
    u8 l3;         /* offset of the IP header: 0 or ETH_HEADER, see ip_at */
    u16 sum;       /* transport checksum as it stands */
    u32 seq;       /* TCP, host order */
    u32 ack;
    u32 end;    /* the number behind its payload */
    u8 control; /* 1: of a control session, and its way is to be asked for anew */
    u8 sound;   /* 1: TCP that its receiver would accept */
#ifdef SIX
    u8 options;       /* 1: it has headers that routers read */
    u8 refused;       /* drop reason of what is PARSED_MALFORMED */
    u8 to;            /* enum scope of its destination, in a first stage */
    u8 head;          /* 1: a fragment header precedes */
    u8 routed;        /* where a routing header says how many segments are left, 0: none are; NAT64 alone asks */
    u8 fresh;         /* 1: `row` is of this pair, and young enough */
    __be32 id6;       /* of a fragment */
    u32 tick;         /* now */
    struct hop6 *row; /* what is kept of its pair of addresses, or of another; 0: its ends weren't looked up */
#endif
};

static __always_inline bool icmp_is_query(u8 type)
{
    return type == 8 || type == 0;
}

static __always_inline bool icmp_is_error(u8 type)
{
    return type == 3 || type == 11 || type == 12 || type == 4;
}

/* Offset of the IP header; the mask is for the verifier, which forgets bytes that were on the stack. */
static __always_inline u32 ip_at(const struct packet *p)
{
    return p->l3 & 15;
}

/* Transport header at `l4`. `room`: bytes of IP payload according to the IP header. */
static __always_inline int parse_transport(struct packet *p, void *l4, void *data_end, u32 room)
{
    if (p->proto == IPPROTO_TCP) {
        struct tcphdr *tcp = l4;
        if ((void *)(tcp + 1) > data_end || room < sizeof(*tcp))
            return PARSED_MALFORMED;
        p->source_port = tcp->source;
        p->destination_port = tcp->dest;
        p->tcp_flags = ((u8 *)tcp)[13];
        p->tcp_header = tcp->doff * 4;
        p->sum = tcp->check;
        p->seq = bpf_ntohl(tcp->seq);
        p->ack = bpf_ntohl(tcp->ack_seq);
        p->end = p->seq + room - p->tcp_header;
        return p->tcp_header < sizeof(*tcp) || p->tcp_header > room ? PARSED_MALFORMED : PARSED_FLOW;
    }
    if (p->proto == IPPROTO_UDP) {
        struct udphdr *udp = l4;
        if ((void *)(udp + 1) > data_end || room < sizeof(*udp))
            return PARSED_MALFORMED;
        p->source_port = udp->source;
        p->destination_port = udp->dest;
        p->sum = udp->check;
        return PARSED_FLOW;
    }
    if (p->proto == IPPROTO_ICMP) {
        struct icmphdr *icmp = l4;
        if ((void *)(icmp + 1) > data_end || room < sizeof(*icmp))
            return PARSED_MALFORMED;
        p->icmp_type = icmp->type;
        p->sum = icmp->checksum;
        if (icmp_is_error(icmp->type))
            return PARSED_ICMP_ERROR;
        if (!icmp_is_query(icmp->type))
            return PARSED_OTHER;
        p->source_port = icmp->un.echo.id;
        p->destination_port = icmp->un.echo.id;
        return PARSED_FLOW;
    }
    return PARSED_OTHER;
}

/* IPv4 header at offset l3 of a frame; frame_size is the whole frame's, which may be longer than what is linear. */
static __always_inline int parse_ip(struct packet *p, void *data, void *data_end, u32 l3, u32 frame_size)
{
    struct iphdr *ip = data + l3;
    if ((void *)(ip + 1) > data_end || ip->version != 4)
        return PARSED_MALFORMED;
    p->header_size = ip->ihl * 4;
    p->ip_size = bpf_ntohs(ip->tot_len);
    p->source = ip->saddr;
    p->destination = ip->daddr;
    p->proto = ip->protocol;
    p->ttl = ip->ttl;
    p->ip_id = ip->id;
    p->fragment = bpf_ntohs(ip->frag_off) & (IP_MORE_FRAGMENTS | IP_OFFSET_MASK);
    p->l3 = l3;
    p->l4 = l3 + p->header_size;
    if (p->header_size < sizeof(*ip) || p->ip_size < p->header_size || p->ip_size + l3 > frame_size)
        return PARSED_MALFORMED;
    if (p->fragment)
        return PARSED_FRAGMENT;
    u32 room = p->ip_size - p->header_size;
    void *l4 = (void *)ip + p->header_size;
    return parse_transport(p, l4, data_end, room);
}

static __always_inline bool is_first_fragment(const struct packet *p)
{
    return !(p->fragment & IP_OFFSET_MASK);
}

/* Offset of the TCP payload, and its size according to the IP header (link padding is not payload). */
static __always_inline u32 tcp_payload(const struct packet *p)
{
    return p->l4 + p->tcp_header;
}

static __always_inline u32 tcp_payload_size(const struct packet *p)
{
    return p->ip_size - p->header_size - p->tcp_header;
}

static __always_inline bool begins_session(const struct packet *p)
{
    if (p->proto == IPPROTO_TCP)
        return (p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
    return p->proto != IPPROTO_ICMP || p->icmp_type == 8;
}

#endif
