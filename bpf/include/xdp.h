/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * xdp.h: the fast path: sessions that exist, without ALG work. Whatever isn't clearly one of those goes on to TC
 * **unwritten**, or it would be translated twice.
 */
#ifndef ALGATE_XDP_H
#define ALGATE_XDP_H

static __always_inline bool same_mac(const u8 *frame, const u8 *mac)
{
    const u16 *a = (const void *)frame, *b = (const void *)mac;
    return a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
}

/* Frames with options, fragments, flags that move the state, or a checksum left to be finished are TC's. */
static __always_inline bool xdp_parse(struct xdp_md *ctx, struct packet *p)
{
    void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    struct iphdr *ip = data + ETH_HEADER;
    if ((void *)(ip + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5)
        return false;
    if (parse_ip(p, data, data_end, ETH_HEADER, data_end - data) != PARSED_FLOW || p->ttl <= 1 || !ip_sum_ok(ip))
        return false;
    if (p->proto == IPPROTO_ICMP)
        return true;
    if (p->proto == IPPROTO_TCP && p->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST))
        return false;
    return p->sum != pseudo_sum(p->source, p->destination, p->proto, p->ip_size - p->header_size);
}

/* What nobody has answered yet takes this way outbound alone (syslog, IPFIX, video): the answer that makes a session active
 * is TC's, as is all that leaves untranslated. */
static __always_inline bool xdp_eligible(const struct config *cfg, const struct session *s, const struct packet *p,
                                         u8 dir, u32 now)
{
    u8 state = s->state & STATE_MASK;
    if (state != STATE_ESTABLISHED && state != STATE_ACTIVE && (state != STATE_UNREPLIED || dir == DIR_IN))
        return false;
    return !s->alg && !(s->flags & SESSION_EXEMPT) && !lease_gone(cfg, now) && session_alive(cfg, s, p->proto, now);
}

static __always_inline int xdp_leave(struct xdp_md *ctx, const struct config *cfg, struct packet *p, struct session *s,
                                     u8 dir, const struct rewrite *to, u32 now)
{
    const struct hop *hop =
        next_hop_of(ctx, p, p->source, dir == DIR_OUT ? p->destination : to->ip, ctx->ingress_ifindex, p->ip_size, now);
    if (!hop || is_bare(cfg, hop->ifindex))
        return XDP_PASS;
    if (dir == DIR_OUT ? hop->ifindex != cfg->wan : !is_lan(cfg, hop->ifindex)) /* see leave_in */
        return XDP_PASS;
    void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    if ((void *)(eth + 1) > data_end)
        return XDP_PASS;
    if (p->proto == IPPROTO_TCP && !session_slides(s, p, dir))
        return XDP_PASS;
    if (rewrite_direct(data, data_end, p, to))
        return XDP_PASS;
    __builtin_memcpy(eth->h_dest, hop->to_mac, 6);
    __builtin_memcpy(eth->h_source, hop->from_mac, 6);
    session_touch(s, p, dir, now);
    account(dir, p->ip_size);
    count(COUNT_XDP_REDIRECTED, 1);
    return bpf_redirect(hop->ifindex, 0);
}

#ifdef NAT64
static __always_inline int xdp_turn_out(struct xdp_md *ctx, const struct config *cfg);
static __always_inline int xdp_turn_in(struct xdp_md *ctx, const struct config *cfg, struct packet *p,
                                       struct session *s, const struct session_key *key, u32 now);

static __always_inline bool is_six(struct xdp_md *ctx)
{
    struct ethhdr *eth = (void *)(long)ctx->data;
    return (void *)(eth + 1) <= (void *)(long)ctx->data_end && eth->h_proto == bpf_htons(ETH_P_IPV6);
}
#endif

/* Whether a frame is for the MAC of the LAN's device that it came in by. */
static __always_inline bool for_lan(struct xdp_md *ctx, const struct config *cfg)
{
    void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
    for (int i = 0; i < MAX_LANS; i++) {
        if (!cfg->lan[i])
            break;
        if (cfg->lan[i] == ctx->ingress_ifindex)
            return data + 6 <= data_end && same_mac(data, &cfg->lan_mac[i * 8]);
    }
    return false;
}

static __always_inline int xdp_outbound(struct xdp_md *ctx)
{
    struct config *cfg = get_config();
    struct packet p = {};
#ifdef NAT64
    if (cfg && is_six(ctx))
        return for_lan(ctx, cfg) ? xdp_turn_out(ctx, cfg) : XDP_PASS;
#endif
    if (!cfg || !xdp_parse(ctx, &p) || !for_lan(ctx, cfg))
        return XDP_PASS;
    u32 now = now_tick();
    struct session_key key;
    struct session *s = find_out(&p, &key);
    if (!s || is_turned(key.inside_ip) || !xdp_eligible(cfg, s, &p, DIR_OUT, now))
        return XDP_PASS;
    struct rewrite to = {.ip = s->public_ip, .port = session_port(s), .source = true, .hop = true};
    return xdp_leave(ctx, cfg, &p, s, DIR_OUT, &to, now);
}

static __always_inline int xdp_inbound(struct xdp_md *ctx)
{
    struct config *cfg = get_config();
    struct packet p = {};
    if (!cfg || !xdp_parse(ctx, &p) || (p.proto == IPPROTO_ICMP && p.icmp_type == 8))
        return XDP_PASS;
    void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
    if (data + 6 > data_end || !same_mac(data, cfg->wan_mac))
        return XDP_PASS;
    int address = public_slot(cfg, p.destination);
    if (address < 0)
        return XDP_PASS;
    u32 now = now_tick();
    struct session_key key;
    struct session *s = find_in_at(&p, address, &key);
    if (!s || !xdp_eligible(cfg, s, &p, DIR_IN, now))
        return XDP_PASS;
#ifdef NAT64
    if (is_turned(key.inside_ip))
        return xdp_turn_in(ctx, cfg, &p, s, &key, now);
#endif
    struct rewrite to = {.ip = key.inside_ip, .port = key.inside_port, .source = false, .hop = true};
    return xdp_leave(ctx, cfg, &p, s, DIR_IN, &to, now);
}

#endif
