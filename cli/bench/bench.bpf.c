/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * bench.bpf.c: what `algate bench` sends with, receives with and compares to. No part of the gateway.
 *
 * `generate` runs as a live-frame test-run and writes every header byte each time, for a page comes back as the path left
 * it. The sinks count what arrives and learn under which public end point; they answer TCP in the hosts' names, so that
 * no socket limits a rate. `forward` and `refuse` are the bounds: XDP forwarding without NAT, and no forwarding at all.
 * `replay_tc` and `replay_xdp` give the program under test the same packet at each turn of a repeated test-run, which
 * alone would hand it its own output.
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/tcp.h>
#include <uapi/linux/udp.h>

#define MAX_FLOWS 1048576
#define MAGIC 0x616c6774
#define SPINS 7000 /* rounds of waiting, twice 20 to 40 ns each; the verifier allows 8,192 jumps in a row */
#define FRAME 60
#define REPLAY_WORDS 10 /* 80 bytes: all that a gateway writes into */
#define CLIENT_ISN 0x10000000
#define SERVER_ISN 0x50000000

enum order_kind {
    ORDER_OUT = 0,
    ORDER_IN = 1,
    ORDER_SYN = 2,
    ORDER_MIXED = 3, /* a burst out, a burst in */
};

/* What to send. Python writes it before a run and reads `next`, `late` and `spent` after it. */
struct order {
    u64 next;  /* number of the next frame; flow = next * step % flows */
    u64 start; /* ns, when frame 0 is due; 0: now */
    u64 gap;   /* ns between two frames, times 1024 */
    u64 late;  /* bursts that came too late and were not made up for */
    u32 flows;
    u32 step;      /* has no divisor in common with flows: every flow comes once a round */
    u32 endpoints; /* inside end points; flow / endpoints is the remote host's number */
    u32 hosts;     /* inside hosts that the end points are spread over */
    u32 inside;    /* first inside host, host order */
    u32 remote;    /* first remote host, host order */
    u32 kind;      /* enum order_kind */
    u32 burst;
    u16 inside_port; /* of end point 0, host order */
    u16 remote_port;
    u8 lan_mac[8]; /* the gateway's, two bytes of padding */
    u8 wan_mac[8];
    u32 learn;      /* the sink notes public end points */
    u32 six;        /* enum six: who speaks IPv6 */
    u32 inside6[4]; /* of end point 0, network order */
    u32 remote6[4]; /* first remote host, as the inside has it */
};

/* Public end point of a flow as the outside saw it, network order. */
struct seen {
    u32 ip;
    u16 port;
    u16 pad;
};

/* How one packet of a replay differs from the one before. */
enum vary {
    VARY_NOTHING = 0,
    VARY_SOURCE = 1,      /* source ports count up */
    VARY_DESTINATION = 2, /* both ports count up */
};

/* The packet that is put back before each run: its first `words` times 8 bytes. */
struct replay {
    u64 words[REPLAY_WORDS];
    u64 run; /* how many there were */
    u32 vary;
    u16 source; /* ports of the first run, host order */
    u16 destination;
};

struct mark {
    u32 magic;
    u32 flow;
};

struct frame {
    struct ethhdr eth;
    struct iphdr ip;
    union {
        struct udphdr udp;
        struct tcphdr tcp;
    };
} __attribute__((packed));

BPF_ARRAY(orders, struct order, 1);
BPF_DEVMAP(links, 2); /* 0: the client's device, 1: the server's, each in its own namespace */
BPF_ARRAY(replays, struct replay, 1);
BPF_PROG_ARRAY(tc_under_test, 1);
BPF_PROG_ARRAY(xdp_under_test, 1);
BPF_ARRAY(learned, struct seen, MAX_FLOWS);
/* Rows: 0 frames out, 1 frames in, 2 refused at the floor, 3 TCP sessions ended. */
BPF_PERCPU_ARRAY(arrived, u64, 8);

static __always_inline void arrive(u32 row)
{
    u64 *n = arrived.lookup(&row);
    if (n)
        *n += 1;
}

static __always_inline u16 fold(u64 sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return ~sum;
}

/* Sum of `words` 16-bit words. */
static __always_inline u64 sum_words(const u16 *at, int words)
{
    u64 sum = 0;
#pragma unroll
    for (int i = 0; i < words; i++)
        sum += at[i];
    return sum;
}

static __always_inline void write_ip(struct iphdr *ip, u32 source, u32 destination, u8 proto, u16 size)
{
    ip->ihl = 5;
    ip->version = 4;
    ip->tos = 0;
    ip->tot_len = bpf_htons(size);
    ip->id = 0;
    ip->frag_off = bpf_htons(0x4000);
    ip->ttl = 64;
    ip->protocol = proto;
    ip->check = 0;
    ip->saddr = source;
    ip->daddr = destination;
    ip->check = fold(sum_words((void *)ip, 10));
}

static __always_inline u64 pseudo(u32 source, u32 destination, u8 proto, u16 size)
{
    return (u64)source + destination + bpf_htons(proto) + bpf_htons(size);
}

/* Waits until the burst is due. A late one isn't made up for: bursts never grow beyond the receiver's ring. */
static __always_inline void pace(struct order *o)
{
    u64 now = bpf_ktime_get_ns();
    if (!o->start)
        o->start = now;
    u64 due = o->start + ((o->next * o->gap) >> 10);
    if (now > due + ((o->burst * o->gap) >> 10)) {
        o->start += now - due;
        o->late++;
        return;
    }
    for (int i = 0; i < SPINS; i++) {
        bpf_ktime_get_ns();
        if (bpf_ktime_get_ns() >= due)
            break;
    }
}

static __always_inline int write_syn(struct frame *f, u32 inside, u32 remote, u16 inside_port, u16 remote_port)
{
    u32 *tcp = (void *)&f->tcp;
    write_ip(&f->ip, inside, remote, IPPROTO_TCP, 40);
    f->tcp.source = inside_port;
    f->tcp.dest = remote_port;
    f->tcp.seq = bpf_htonl(CLIENT_ISN);
    f->tcp.ack_seq = 0;
    tcp[3] = bpf_htonl(0x5002ffff); /* 20 bytes, SYN, window 65,535 */
    tcp[4] = 0;
    f->tcp.check = fold(pseudo(inside, remote, IPPROTO_TCP, 20) + sum_words((void *)tcp, 10));
    return links.redirect_map(0, 0);
}

static __always_inline void write_udp(struct frame *f, u32 source, u32 destination, u16 from, u16 to, u32 flow)
{
    struct mark *m = (void *)(&f->udp + 1);
    write_ip(&f->ip, source, destination, IPPROTO_UDP, FRAME - ETH_HLEN);
    f->udp.source = from;
    f->udp.dest = to;
    f->udp.len = bpf_htons(FRAME - ETH_HLEN - 20);
    f->udp.check = 0;
    __builtin_memset(m, 0, FRAME - ETH_HLEN - 28);
    m->magic = MAGIC;
    m->flow = flow;
    f->udp.check =
        fold(pseudo(source, destination, IPPROTO_UDP, FRAME - ETH_HLEN - 20) + sum_words((void *)&f->udp, 13));
}

static __always_inline void swap_macs(struct ethhdr *eth)
{
    u8 mac[6];
    __builtin_memcpy(mac, eth->h_dest, 6);
    __builtin_memcpy(eth->h_dest, eth->h_source, 6);
    __builtin_memcpy(eth->h_source, mac, 6);
}

#include "frames6.h"

/* Writes a frame between IPv6 hosts, of inside host `host` and remote host `remote`. */
static __always_inline int write_six(struct frame6 *f, const struct order *o, u32 host, u32 remote, u16 inside_port,
                                     bool in, u32 flow)
{
    u16 remote_port = bpf_htons(o->remote_port);
    f->eth.h_proto = bpf_htons(ETH_P_IPV6);
    count_up(in ? f->ip.destination : f->ip.source, o->inside6, host);
    count_up(in ? f->ip.source : f->ip.destination, o->remote6, remote);
    if (o->kind == ORDER_SYN)
        write_tcp6(f, inside_port, remote_port, CLIENT_ISN, 0, 2);
    else
        write_udp6(f, in ? remote_port : inside_port, in ? inside_port : remote_port, flow);
    return links.redirect_map(in ? 1 : 0, 0);
}

int generate(struct xdp_md *ctx)
{
    u32 row = 0;
    struct order *o = orders.lookup(&row);
    void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
    struct frame *f = data;
    if (!o || !o->burst || !o->flows || !o->endpoints || !o->hosts || data + FRAME > data_end)
        return XDP_ABORTED;
    if (o->next % o->burst == 0)
        pace(o);
    u64 number = o->next++, burst = number / o->burst;
    bool in = o->kind == ORDER_IN || (o->kind == ORDER_MIXED && burst & 1);
    if (o->kind == ORDER_MIXED)
        number = burst / 2 * o->burst + number % o->burst;
    u32 flow = (number * o->step) % o->flows;
    u32 endpoint = flow % o->endpoints;
    u32 inside = bpf_htonl(o->inside + endpoint % o->hosts), remote = bpf_htonl(o->remote + flow / o->endpoints);
    u16 inside_port = bpf_htons(o->inside_port + endpoint), remote_port = bpf_htons(o->remote_port);
    __builtin_memcpy(f->eth.h_dest, in ? o->wan_mac : o->lan_mac, 6);
    __builtin_memset(f->eth.h_source, 2, 6);
    if (o->six & (in ? SIX_OUTSIDE : SIX_INSIDE)) {
        if (data + FRAME6 > data_end)
            return XDP_ABORTED;
        return write_six(data, o, endpoint % o->hosts, flow / o->endpoints, inside_port, in, flow);
    }
    f->eth.h_proto = bpf_htons(ETH_P_IP);
    if (o->kind == ORDER_SYN)
        return write_syn(f, inside, remote, inside_port, remote_port);
    if (!in) {
        write_udp(f, inside, remote, inside_port, remote_port, flow);
        return links.redirect_map(0, 0);
    }
    struct seen *public = learned.lookup(&flow);
    if (!public)
        return XDP_ABORTED;
    bool translated = public->ip; /* nothing learned: the gateway doesn't translate */
    write_udp(f, remote, translated ? public->ip : inside, remote_port, translated ? public->port : inside_port, flow);
    return links.redirect_map(1, 0);
}

/* The mark of a generated datagram, or null. */
static __always_inline struct mark *marked(void *data, void *data_end)
{
    struct frame *f = data;
    if (data + FRAME > data_end || f->eth.h_proto != bpf_htons(ETH_P_IP) || f->ip.protocol != IPPROTO_UDP)
        return 0;
    struct mark *m = (void *)(&f->udp + 1);
    return m->magic == MAGIC ? m : 0;
}

/* Turns the frame around with these numbers and flags and sends it back. Not by XDP_TX, with which veth wakes no peer that
 * has no XDP program. */
static __always_inline int answer(struct xdp_md *ctx, struct frame *f, u32 seq, u32 ack, u16 flags)
{
    swap_macs(&f->eth);
    u32 source = f->ip.daddr, destination = f->ip.saddr;
    u16 port = f->tcp.source;
    write_ip(&f->ip, source, destination, IPPROTO_TCP, 40);
    u32 *tcp = (void *)&f->tcp;
    f->tcp.source = f->tcp.dest;
    f->tcp.dest = port;
    f->tcp.seq = bpf_htonl(seq);
    f->tcp.ack_seq = bpf_htonl(ack);
    tcp[3] = bpf_htonl(0x5000ffff | (u32)flags << 16);
    tcp[4] = 0;
    f->tcp.check = fold(pseudo(source, destination, IPPROTO_TCP, 20) + sum_words((void *)tcp, 10));
    return bpf_redirect(ctx->ingress_ifindex, 0);
}

/* A TCP segment of the sessions that the bench opens, or null. */
static __always_inline struct frame *bench_tcp(void *data, void *data_end)
{
    struct frame *f = data;
    u32 row = 0;
    struct order *o = orders.lookup(&row);
    if (!o || o->kind != ORDER_SYN || data + sizeof(*f) > data_end || f->eth.h_proto != bpf_htons(ETH_P_IP))
        return 0;
    u16 port = bpf_htons(o->remote_port);
    return f->ip.protocol == IPPROTO_TCP && (f->tcp.dest == port || f->tcp.source == port) ? f : 0;
}

static __always_inline void learn(const struct frame *f, u32 flow)
{
    u32 row = 0;
    struct order *o = orders.lookup(&row);
    struct seen *s = learned.lookup(&flow);
    if (o && s && o->learn) {
        s->ip = f->ip.saddr;
        s->port = f->udp.source;
    }
}

int sink_outside(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
    struct mark *m = marked(data, data_end);
    if (m) {
        arrive(0);
        learn(data, m->flow);
        return XDP_DROP;
    }
    if (marked6(data, data_end)) {
        arrive(0);
        return XDP_DROP;
    }
    u32 row = 0;
    struct frame6 *six = bench_tcp6(orders.lookup(&row), data, data_end);
    if (six && six->tcp.syn)
        return answer6(ctx, six, SERVER_ISN, CLIENT_ISN + 1, 0x12);
    if (six && six->tcp.fin)
        return answer6(ctx, six, SERVER_ISN + 1, CLIENT_ISN + 2, 0x11);
    struct frame *f = bench_tcp(data, data_end);
    if (!f && !six)
        return XDP_PASS;
    if (f && f->tcp.syn)
        return answer(ctx, f, SERVER_ISN, CLIENT_ISN + 1, 0x12);
    if (f && f->tcp.fin)
        return answer(ctx, f, SERVER_ISN + 1, CLIENT_ISN + 2, 0x11);
    arrive(3);
    return XDP_DROP;
}

int sink_inside(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
    if (marked(data, data_end) || marked6(data, data_end)) {
        arrive(1);
        return XDP_DROP;
    }
    u32 row = 0;
    struct frame6 *six = bench_tcp6(orders.lookup(&row), data, data_end);
    if (six && six->tcp.syn)
        return answer6(ctx, six, CLIENT_ISN + 1, SERVER_ISN + 1, 0x11);
    if (six)
        return answer6(ctx, six, CLIENT_ISN + 2, SERVER_ISN + 2, 0x10);
    struct frame *f = bench_tcp(data, data_end);
    if (!f)
        return XDP_PASS;
    if (f->tcp.syn)
        return answer(ctx, f, CLIENT_ISN + 1, SERVER_ISN + 1, 0x11);
    return answer(ctx, f, CLIENT_ISN + 2, SERVER_ISN + 2, 0x10);
}

int refuse(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
    if (!marked(data, data_end) && !marked6(data, data_end))
        return XDP_PASS;
    arrive(2);
    return XDP_DROP;
}

int forward(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    struct iphdr *ip = data + ETH_HLEN;
    struct bpf_fib_lookup fib = {};
    if ((void *)(ip + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ttl <= 1)
        return XDP_PASS;
    fib.family = 2;
    fib.ifindex = ctx->ingress_ifindex;
    fib.l4_protocol = ip->protocol;
    fib.tot_len = bpf_ntohs(ip->tot_len);
    fib.ipv4_src = ip->saddr;
    fib.ipv4_dst = ip->daddr;
    if (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0) != BPF_FIB_LKUP_RET_SUCCESS)
        return XDP_PASS;
    u32 sum = (u32)ip->check + bpf_htons(0x0100);
    ip->check = sum + (sum >= 0xffff);
    ip->ttl--;
    __builtin_memcpy(eth->h_dest, fib.dmac, 6);
    __builtin_memcpy(eth->h_source, fib.smac, 6);
    return bpf_redirect(fib.ifindex, 0);
}

static __always_inline bool put_back(void *data, void *data_end)
{
    u32 row = 0;
    struct replay *r = replays.lookup(&row);
    if (!r || data + sizeof(r->words) > data_end)
        return false;
    u64 *to = data;
#pragma unroll
    for (int i = 0; i < REPLAY_WORDS; i++)
        to[i] = r->words[i];
    bool six = (u16)(r->words[1] >> 32) == bpf_htons(ETH_P_IPV6);
    u16 *ports = data + ETH_HLEN + (six ? 40 : 20);
    u64 run = r->run++;
    if (r->vary)
        ports[0] = bpf_htons(r->source + run);
    if (r->vary == VARY_DESTINATION)
        ports[1] = bpf_htons(r->destination + run);
    return true;
}

/* Makes it of that family again, if it has become one of the other. */
static __always_inline void turn_back(struct __sk_buff *skb)
{
    u32 row = 0;
    struct replay *r = replays.lookup(&row);
    __be16 ether = r ? (u16)(r->words[1] >> 32) : 0; /* bytes 12 and 13 of the frame */
    if (ether && skb->protocol != ether)
        bpf_skb_change_proto(skb, ether, 0);
}

int replay_tc(struct __sk_buff *skb)
{
    turn_back(skb);
    if (!put_back((void *)(long)skb->data, (void *)(long)skb->data_end))
        return 2;
    skb->tc_index = 0;
    skb->mark = 0;
    tc_under_test.call(skb, 0);
    return 2;
}

/* What restoring costs of a packet that becomes one of the other family is half of what this does. */
int turn_tc(struct __sk_buff *skb)
{
    bpf_skb_change_proto(skb, skb->protocol == bpf_htons(ETH_P_IP) ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP), 0);
    return 0;
}

int replay_xdp(struct xdp_md *ctx)
{
    if (put_back((void *)(long)ctx->data, (void *)(long)ctx->data_end))
        xdp_under_test.call(ctx, 0);
    return XDP_ABORTED;
}

/* What replay itself costs. */
int nothing_tc(struct __sk_buff *skb)
{
    return 0;
}

int nothing_xdp(struct xdp_md *ctx)
{
    return XDP_PASS;
}
