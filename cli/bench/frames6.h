/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * frames6.h: what bench.bpf.c sends and receives over IPv6: the same datagrams and segments, 20 bytes longer.
 */
#define FRAME6 80
#define HOP_LIMIT 64

/* Which sides of the gateway speak IPv6: both before a filter, the inside alone before NAT64. */
enum six {
    SIX_INSIDE = 1,
    SIX_OUTSIDE = 2,
};

struct six_header {
    __be32 first; /* version, traffic class, flow label */
    __be16 size;
    u8 next;
    u8 hops;
    u32 source[4];
    u32 destination[4];
} __attribute__((packed));

struct frame6 {
    struct ethhdr eth;
    struct six_header ip;
    union {
        struct udphdr udp;
        struct tcphdr tcp;
    };
} __attribute__((packed));

static __always_inline void copy6(u32 *to, const u32 *from)
{
#pragma unroll
    for (int i = 0; i < 4; i++)
        to[i] = from[i];
}

/* Address number `number` of those that begin with `first`. */
static __always_inline void count_up(u32 *to, const u32 *first, u32 number)
{
    copy6(to, first);
    to[3] = bpf_htonl(bpf_ntohl(first[3]) + number);
}

/* The header but for its addresses; returns the sum of what the transport's checksum takes from it and them. */
static __always_inline u64 write_ip6(struct six_header *ip, u8 proto, u16 size)
{
    ip->first = bpf_htonl(0x60000000);
    ip->size = bpf_htons(size);
    ip->next = proto;
    ip->hops = HOP_LIMIT;
    return sum_words((void *)ip->source, 16) + bpf_htons(proto) + bpf_htons(size);
}

static __always_inline void write_udp6(struct frame6 *f, u16 from, u16 to, u32 flow)
{
    struct mark *m = (void *)(&f->udp + 1);
    u16 size = FRAME6 - ETH_HLEN - sizeof(f->ip);
    u64 sum = write_ip6(&f->ip, IPPROTO_UDP, size);
    f->udp.source = from;
    f->udp.dest = to;
    f->udp.len = bpf_htons(size);
    f->udp.check = 0;
    __builtin_memset(m, 0, size - 8);
    m->magic = MAGIC;
    m->flow = flow;
    f->udp.check = fold(sum + sum_words((void *)&f->udp, 13));
}

static __always_inline void write_tcp6(struct frame6 *f, u16 from, u16 to, u32 seq, u32 ack, u16 flags)
{
    u32 *tcp = (void *)&f->tcp;
    u64 sum = write_ip6(&f->ip, IPPROTO_TCP, 20);
    f->tcp.source = from;
    f->tcp.dest = to;
    f->tcp.seq = bpf_htonl(seq);
    f->tcp.ack_seq = bpf_htonl(ack);
    tcp[3] = bpf_htonl(0x5000ffff | (u32)flags << 16); /* 20 bytes, window 65,535 */
    tcp[4] = 0;
    f->tcp.check = fold(sum + sum_words((void *)tcp, 10));
}

/* The mark of a generated datagram, or null. */
static __always_inline struct mark *marked6(void *data, void *data_end)
{
    struct frame6 *f = data;
    if (data + FRAME6 > data_end || f->eth.h_proto != bpf_htons(ETH_P_IPV6) || f->ip.next != IPPROTO_UDP)
        return 0;
    struct mark *m = (void *)(&f->udp + 1);
    return m->magic == MAGIC ? m : 0;
}

/* As `bench_tcp`; BCC knows maps by name in the main file alone, so the order is handed over. */
static __always_inline struct frame6 *bench_tcp6(const struct order *o, void *data, void *data_end)
{
    struct frame6 *f = data;
    if (!o || o->kind != ORDER_SYN || data + sizeof(*f) > data_end || f->eth.h_proto != bpf_htons(ETH_P_IPV6))
        return 0;
    u16 port = bpf_htons(o->remote_port);
    return f->ip.next == IPPROTO_TCP && (f->tcp.dest == port || f->tcp.source == port) ? f : 0;
}

/* As `answer`. */
static __always_inline int answer6(struct xdp_md *ctx, struct frame6 *f, u32 seq, u32 ack, u16 flags)
{
    u32 source[4];
    u16 port = f->tcp.source;
    swap_macs(&f->eth);
    copy6(source, f->ip.destination);
    copy6(f->ip.destination, f->ip.source);
    copy6(f->ip.source, source);
    write_tcp6(f, f->tcp.dest, port, seq, ack, flags);
    return bpf_redirect(ctx->ingress_ifindex, 0);
}
