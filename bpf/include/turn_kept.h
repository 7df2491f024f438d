/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * turn_kept.h: what most packets of NAT64 are, of a session that carries them as they come, by what is kept of their addresses:
 * turned, translated and sent at once. What must be judged first is only turned.
 *
 * The law of this file: a row of `turns` is filled where a packet went the whole way (turn_out.h, turn_in.h), so all that was
 * asked there of its addresses holds for HOP_TICKS; kept.h says until when a handle counts. Whatever else a packet is goes
 * that way again, as does one packet of each pair in HOP_TICKS, so that the kernel goes on asking for the neighbour whose address the
 * others leave with. Headers are made by xlat.h, and written directly once no helper follows that moves the packet.
 */
#ifndef ALGATE_TURN_KEPT_H
#define ALGATE_TURN_KEPT_H

#define IP6_BYTES 40 /* of an IPv6 header; to IPv4's programs too */

/* Sum of a pair of IPv6 addresses. */
static __always_inline u32 ends_sum(const u64 *ends)
{
    const u32 *word = (const void *)ends;
    u32 sum = 0;
    for (int i = 0; i < 8; i++)
        sum = csum_change4(sum, 0, word[i]);
    return sum;
}

static __always_inline bool is_turnable(const struct packet *p)
{
    return p->proto == IPPROTO_TCP || (p->proto == IPPROTO_UDP && p->sum);
}

/* Whether a row is of this way, and young enough. */
static __always_inline bool turn_stands(const struct hop6 *h, u8 proto, u32 from, u32 now)
{
    return h->proto == proto && h->from == from && now - h->since < HOP_TICKS && h->freed == handles_freed();
}

/* The id of a packet that others may fragment, before it is counted: a session's own count up, from where nobody outside knows, so
 * that none comes again soon. */
static __always_inline u16 turn_id(const struct session *s)
{
    return (s->id * 0x9E3779B97F4A7C15ULL >> 48) + s->packets[DIR_OUT];
}

/* The transport checksum, once the addresses changed by `change` and a port from `was` to `port`: 0, or -1. */
static __always_inline int turn_sum(struct __sk_buff *skb, u32 l4, u8 proto, u32 change, __be16 was, __be16 port)
{
    u32 at = l4 + (proto == IPPROTO_TCP ? 16 : 6);
    u64 flags = proto == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
    if (bpf_l4_csum_replace(skb, at, 0, change, BPF_F_PSEUDO_HDR | flags))
        return -1;
    return was != port && bpf_l4_csum_replace(skb, at, was, port, 2 | flags) ? -1 : 0;
}

/* What a turned frame begins with: the link's addresses that `near` has, if there is one, the headers, and the source port (`place`
 * 0) or the other one. 0, or -1: it isn't that long. */
static __always_inline int turn_head(struct __sk_buff *skb, const struct hop6 *near, u16 family, const void *to,
                                     u32 size, u32 place, __be16 port)
{
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    __be16 *ports = data + ETH_HEADER + size;
    if ((void *)(ports + 2) > data_end)
        return -1;
    if (near) {
        __builtin_memcpy(data, near->to_mac, 6);
        __builtin_memcpy(data + 6, near->from_mac, 6);
    }
    *(__be16 *)(data + 12) = bpf_htons(family);
    __builtin_memcpy(data + ETH_HEADER, to, size);
    ports[place] = port;
    return 0;
}

#ifdef TURNS
/* Keeps what was found of an outbound packet. `freed`: read before its handle was looked up; `since`: of the oldest answer. */
static __always_inline void turn_keep_out(const struct packet *p, const struct ipv6hdr *ip, const struct hop *hop,
                                          u32 from, u32 freed, u32 since)
{
    u64 ends[4];
    __builtin_memcpy(ends, &ip->saddr, sizeof(ends));
    u32 row = ends_row(ends);
    struct hop6 *h = turns.lookup(&row);
    if (!h || !is_turnable(p))
        return;
    __builtin_memcpy(h->ends, ends, sizeof(ends));
    h->sum = ends_sum(h->ends);
    h->from = from;
    h->since = since;
    h->gateway[0] = hop->gateway;
    h->mtu = hop->mtu;
    h->proto = p->proto;
    h->source = p->source;
    h->destination = p->destination;
    h->freed = freed;
    __builtin_memcpy(h->to_mac, hop->to_mac, 6);
    __builtin_memcpy(h->from_mac, hop->from_mac, 6);
    h->near = hop->sought != 2;
}

/* What has become IPv4 goes on to one of IPv4's programs. */
static __always_inline int on_turned(struct __sk_buff *skb, u32 stage)
{
    skb->cb[0] = AT_TURNED;
    skb->cb[1] = DIR_OUT;
    skb->cb[2] = skb->cb[3] = 0;
    stages.call(skb, stage);
    return drop(DROP_REWRITE_FAILED);
}

#else
/* From inside. What its session doesn't carry as it comes is turned, and goes on to the gate, or to where it is judged. -1: it is
 * for the whole way. */
static __always_inline int turn_out_kept(struct __sk_buff *skb, const struct config *cfg, u32 now)
{
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    struct ipv6hdr *ip = data + ETH_HEADER, head = {};
    struct bpf_redir_neigh params = {.nh_family = 2};
    struct iphdr to = {};
    struct packet p = {};
    struct session_key key;
    u32 device = skb->ingress_ifindex;
    OPAQUE(device);
    if ((void *)(ip + 1) > data_end || ip->version != 6 || is_bare(cfg, device) || lease_gone(cfg, now))
        return -1;
    u64 *ends = (void *)&ip->saddr;
    u32 row = ends_row(ends), size = bpf_ntohs(ip->payload_len);
    struct hop6 *h = turns.lookup(&row);
    if (!h || !same_ends(h, ends) || is_handle(h->destination) || !turn_stands(h, ip->nexthdr, device, now))
        return -1;
    p.proto = ip->nexthdr;
    p.l3 = ETH_HEADER;
    p.header_size = 20;
    p.ip_size = size + 20;
    p.source = h->source;
    p.destination = h->destination;
    __builtin_memcpy(&head, ip, 8);
    if (head.hop_limit <= 1 || size > 65515 || size + IP6_BYTES + ETH_HEADER > skb->len ||
        parse_transport(&p, ip + 1, data_end, size) != PARSED_FLOW || !is_turnable(&p))
        return -1;
    u32 gso = skb->gso_size, on_link = gso ? 20 + (p.tcp_header ? p.tcp_header : 8) + gso : p.ip_size;
    if (on_link > h->mtu)
        return -1;
    struct session *s = find_out(&p, &key);
    if (!s || !s->public_ip || !session_carries(cfg, s, &p, DIR_OUT, now))
        return -1;
    if (s->alg && (p.proto != IPPROTO_TCP || p.ip_size > LIGHT_MOST || gso))
        return -1;
    u32 stage = s->alg ? STAGE_ALG : p.proto == IPPROTO_TCP && !session_slides(s, &p, DIR_OUT) ? STAGE_JUDGE : 0;
    __be16 port = stage ? p.source_port : session_port(s);
    to.saddr = stage ? p.source : s->public_ip;
    to.daddr = p.destination;
    u32 change = csum_change4(csum_change4(csum_change4(0, h->sum, 0), 0, to.saddr), 0, to.daddr);
    params.ipv4_nh = h->gateway[0];
    const struct hop6 *near = h->near && !stage ? h : 0;
    u16 id = turn_id(s);
    if (!stage) {
        session_touch(s, &p, DIR_OUT, now);
        account(DIR_OUT, p.ip_size);
    }
    if (!xlat_head4(&head, 0, p.proto, size, !stage, id, &to) || bpf_skb_change_proto(skb, bpf_htons(ETH_P_IP), 0) ||
        turn_sum(skb, ETH_HEADER + sizeof(to), p.proto, change, p.source_port, port) ||
        turn_head(skb, near, ETH_P_IP, &to, sizeof(to), 0, port))
        return drop(DROP_REWRITE_FAILED);
    if (stage)
        return next_stage(skb, stage, AT_TURNED, DIR_OUT);
    return near ? redirect_near(skb, cfg->wan) : redirect_by(skb, cfg, &p, cfg->wan, &params);
}

/* From outside, its session known and judged. -1: it is for the whole way. */
static __always_inline int turn_in_kept(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                        struct session *s, const struct session_key *key, u32 now)
{
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    struct iphdr *ip = data + ETH_HEADER, was;
    struct bpf_redir_neigh params = {.nh_family = 10}; /* AF_INET6 */
    struct xlat_fragment none = {};
    struct ipv6hdr to = {};
    u32 row = hop_row(p->source, key->inside_ip), gso = skb->gso_size, size = p->ip_size - sizeof(was);
    struct hop6 *h = turns.lookup(&row);
    if (!h || h->source != p->source || h->destination != key->inside_ip || !turn_stands(h, p->proto, cfg->wan, now))
        return -1;
    if ((void *)(ip + 1) > data_end || p->l3 != ETH_HEADER || p->header_size != sizeof(was) || p->ttl <= 1 ||
        !is_turnable(p))
        return -1;
    was = *ip;
    u32 on_link = gso ? 40 + (p->tcp_header ? p->tcp_header : 8) + gso : size + 40;
    if (on_link > h->mtu || (!gso && on_link > XLAT_FLOOR && !(was.frag_off & bpf_htons(XLAT_DF))))
        return -1;
    __builtin_memcpy(&to.saddr, h->ends, sizeof(h->ends));
    __builtin_memcpy(params.ipv6_nh, h->gateway, sizeof(h->gateway));
    u32 change = csum_change4(csum_change4(csum_change4(0, was.saddr, 0), was.daddr, 0), 0, h->sum), out = h->ifindex;
    const struct hop6 *near = h->near ? h : 0;
    session_touch(s, p, DIR_IN, now);
    account(DIR_IN, p->ip_size);
    if (!xlat_head6(&was, size, 1, &to, &none) || bpf_skb_change_proto(skb, bpf_htons(ETH_P_IPV6), 0) ||
        turn_sum(skb, ETH_HEADER + sizeof(to), p->proto, change, p->destination_port, key->inside_port) ||
        turn_head(skb, near, ETH_P_IPV6, &to, sizeof(to), 1, key->inside_port))
        return drop(DROP_REWRITE_FAILED);
    return near ? redirect_near(skb, out) : redirect_by(skb, cfg, p, out, &params);
}
#endif

#endif
