/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * tuple.h: keys and port rows from packets. Pure: no map, no helper, no verdict.
 */
#ifndef ALGATE_TUPLE_H
#define ALGATE_TUPLE_H

/* A packet as it comes from inside: its source is the inside end point. */
static __always_inline void key_out(struct session_key *key, const struct packet *p)
{
    key->inside_ip = p->source;
    key->remote_ip = p->destination;
    key->inside_port = p->source_port;
    key->remote_port = p->destination_port;
    key->proto = p->proto;
    key->pad[0] = key->pad[1] = key->pad[2] = 0;
    /* An echo request and its reply carry one identifier: the remote side has none of its own. */
    if (p->proto == IPPROTO_ICMP)
        key->remote_port = 0;
}

/* A packet from outside, once the owner of its public port is known. */
static __always_inline void key_in(struct session_key *key, const struct packet *p, __be32 inside_ip,
                                   __be16 inside_port)
{
    key->inside_ip = inside_ip;
    key->remote_ip = p->source;
    key->inside_port = inside_port;
    key->remote_port = p->proto == IPPROTO_ICMP ? 0 : p->source_port;
    key->proto = p->proto;
    key->pad[0] = key->pad[1] = key->pad[2] = 0;
}

static __always_inline bool has_ports(u8 proto)
{
    return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_ICMP;
}

static __always_inline u32 proto_class(u8 proto)
{
    return proto == IPPROTO_TCP ? CLASS_TCP : proto == IPPROTO_UDP ? CLASS_UDP : CLASS_ICMP;
}

/* Row of `ports`: blocks of 65,536 rows, three protocol classes per address. port in host order. */
static __always_inline u32 port_index(u32 address, u8 proto, u16 port)
{
    return ((address * 3 + proto_class(proto)) << 16) | port;
}

static __always_inline u64 port_owner(__be32 inside_ip, __be16 inside_port, u8 kind)
{
    return (u64)inside_ip | (u64)inside_port << 32 | (u64)kind << 48;
}

static __always_inline __be32 owner_ip(u64 owner)
{
    return (u32)owner;
}

static __always_inline __be16 owner_port(u64 owner)
{
    return (u16)(owner >> 32);
}

static __always_inline u8 owner_kind(u64 owner)
{
    return (u8)(owner >> 48);
}

/* Sources and destinations that no packet on a wire may have: 0/8, 127/8, 224/3 (RFC 1122 section 3.2.1.3, RFC 5735). */
static __always_inline bool is_martian(__be32 ip)
{
    u8 first = (u8)ip;
    return first == 0 || first == 127 || first >= 224;
}

#define NETWORK_BIT 0x800000 /* of the number of a handle whose host counts as its /64 */
#define HOSTS_A_NETWORK 0xff /* addresses of one /64 that have a handle at once; bits of its number that say which */

/* Whether it stands for an IPv6 address (handles.h). */
static __always_inline bool is_handle(__be32 ip)
{
    return !(u8)ip && ip;
}

/* Multicast and the limited broadcast: the stack's, never translated. */
static __always_inline bool is_group(__be32 ip)
{
    return ((u8)ip >= 224 && (u8)ip < 240) || ip == 0xffffffff;
}

/* Addresses that mean nothing outside: RFC 1918, RFC 6598, RFC 3927, and loopback. */
static __always_inline bool is_private(__be32 ip)
{
    u32 host = bpf_ntohl(ip);
    return host >> 24 == 10 || host >> 20 == 0xac1 || host >> 16 == 0xc0a8 || host >> 22 == 0x191 ||
           host >> 16 == 0xa9fe || host >> 24 == 127;
}

static __always_inline bool seq_after(u32 a, u32 b)
{
    return (s32)(a - b) > 0;
}

#endif
