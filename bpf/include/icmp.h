/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * icmp.h: ICMP errors about a session (RFC 5508 sections 4 and 5). The quoted packet is turned back into what its
 * sender sent; type and code stay. An error never refreshes, changes or ends a session (REQ-6).
 */
#ifndef ALGATE_ICMP_H
#define ALGATE_ICMP_H

static __always_inline int parse_quote(struct __sk_buff *skb, const struct packet *p, struct quote *q)
{
    struct iphdr ip;
    __be16 words[4];
    q->at = p->l4 + 8;
    if (bpf_skb_load_bytes(skb, q->at, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5)
        return -1;
    q->l4 = q->at + ip.ihl * 4;
    if (bpf_skb_load_bytes(skb, q->l4, words, sizeof(words)))
        return -1;
    if (q->l4 + 8 > ip_at(p) + p->ip_size || bpf_ntohs(ip.frag_off) & IP_OFFSET_MASK)
        return -1;
    q->inner.source = ip.saddr;
    q->inner.destination = ip.daddr;
    q->inner.proto = ip.protocol;
    q->inner.source_port = words[0];
    q->inner.destination_port = words[1];
    q->inner.sum = words[3]; /* UDP */
    if (ip.protocol == IPPROTO_ICMP) {
        q->inner.icmp_type = words[0] & 0xff;
        q->inner.source_port = q->inner.destination_port = words[2];
        q->inner.sum = words[1];
        return icmp_is_query(q->inner.icmp_type) ? 0 : -1;
    }
    return ip.protocol == IPPROTO_TCP || ip.protocol == IPPROTO_UDP ? 0 : -1;
}

/* Restores one end point of the quote. source: the quoted packet's source, else its destination. */
static __always_inline int restore_quote(struct __sk_buff *skb, const struct packet *p, const struct quote *q,
                                         bool source, __be32 ip, __be16 port)
{
    u32 icmp_sum = p->l4 + 2;
    __be32 old_ip = source ? q->inner.source : q->inner.destination;
    __be16 old_port = source ? q->inner.source_port : q->inner.destination_port;
    __be16 old_ip_sum;
    if (bpf_skb_load_bytes(skb, q->at + 10, &old_ip_sum, 2))
        return -1;
    __be16 new_ip_sum = csum_apply(old_ip_sum, csum_change4(0, old_ip, ip));
    u32 change = csum_change2(q->inner.proto == IPPROTO_ICMP ? 0 : csum_change4(0, old_ip, ip), old_port, port);
    u32 port_at = q->l4 + (q->inner.proto == IPPROTO_ICMP ? 4 : source ? 0 : 2);
    if (put_quoted(skb, icmp_sum, q->at + (source ? 12 : 16), old_ip, ip, 4) ||
        put_quoted(skb, icmp_sum, q->at + 10, old_ip_sum, new_ip_sum, 2) ||
        put_quoted(skb, icmp_sum, port_at, old_port, port, 2))
        return -1;
    u32 sum_at = q->l4 + sum_offset(q->inner.proto);
    __be16 old_sum = q->inner.sum;
    if (q->inner.proto == IPPROTO_TCP) { /* 16 bytes in: often not quoted */
        if (sum_at + 2 > ip_at(p) + p->ip_size || bpf_skb_load_bytes(skb, sum_at, &old_sum, 2))
            return 0;
    } else if (q->inner.proto == IPPROTO_UDP && !old_sum) {
        return 0;
    }
    return put_quoted(skb, icmp_sum, sum_at, old_sum, csum_apply(old_sum, change), 2);
}

/* Frag-needed about a packet of a control session: the helper, whose segments travel there too, must know (RFC 1191). */
static __always_inline void tell_path(struct __sk_buff *skb, const struct packet *p, const struct quote *q,
                                      const struct session_key *key, const struct session *s, u8 dir)
{
    u8 head[8];
    __be16 given = 0;
    if (!s->alg || bpf_skb_load_bytes(skb, p->l4, head, sizeof(head)) || head[0] != 3 || head[1] != 4 ||
        bpf_skb_load_bytes(skb, q->at + 2, &given, sizeof(given)))
        return;
    struct punt *m = new_punt(PUNT_PATH);
    if (!m)
        return;
    fill_punt(m, key, s);
    m->dir = dir;
    m->mtu = (u16)head[6] << 8 | head[7];
    m->payload_size = bpf_ntohs(given);
    punts.perf_submit(skb, m, sizeof(*m));
}

/* One address of the outer header; ICMP has no pseudo header. */
static __always_inline int put_outer(struct __sk_buff *skb, const struct packet *p, bool source, __be32 to)
{
    __be32 from = source ? p->source : p->destination;
    if (from == to)
        return 0;
    if (bpf_l3_csum_replace(skb, ip_at(p) + 10, from, to, 4))
        return -1;
    return bpf_skb_store_bytes(skb, ip_at(p) + (source ? 12 : 16), &to, 4, BPF_F_RECOMPUTE_CSUM);
}

/* The ICMP checksum of the whole message, and the header checksum of the quoted packet if it has no options
 * (RFC 5508 REQ-3). The last is not asked for where our own stack wrote the error. */
static __always_inline bool icmp_sums_ok(struct __sk_buff *skb, const struct packet *p, const struct quote *q)
{
    u32 zero = 0, size = p->ip_size - p->header_size;
    struct scratch *room = scratch.lookup(&zero);
    struct iphdr ip;
    if (!room || size < 36 || size > DIGEST_MAX ||
        bpf_skb_load_bytes(skb, p->l4, room->words, length_within(size, sizeof(room->words))))
        return room &&
               size > DIGEST_MAX; /* too long to sum up here: RFC 1812 section 4.3.2.3 ends errors at 576 bytes */
    u64 sum = sum_words(room, size, 0);
    sum = (sum & 0xffffffff) + (sum >> 32);
    if (csum_fold((u32)sum + (u32)(sum >> 32)) != 0xffff)
        return false;
    if (bpf_skb_load_bytes(skb, q->at, &ip, sizeof(ip)))
        return false;
    return ip.ihl != 5 || ip_sum_ok(&ip);
}

#ifdef NAT64
/* An error of an IPv6 host's, finished, which can't go by the stack. */
static __always_inline int leave_turned_error(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                              __be32 public_ip)
{
    struct next_hop next = {};
    if (public_slot(cfg, p->destination) >= 0)
        return next_stage(skb, STAGE_ICMP, AT_HAIRPIN, DIR_IN);
    if (route_packet(skb, p, public_ip, p->destination, skb->ingress_ifindex, &next) != ROUTE_FORWARD ||
        next.ifindex != cfg->wan || p->ttl <= 1)
        return drop(DROP_NAT64_ROUTE);
    if (put_ttl(skb, p, p->ttl - 1))
        return drop(DROP_REWRITE_FAILED);
    return redirect_to(skb, cfg, p, &next);
}
#endif

/* From outside, about a packet that an inside host sent. */
static __always_inline int icmp_error_in(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                         int at, u32 now)
{
    struct quote q = {};
    int address = public_slot(cfg, p->destination);
    if (address < 0 || parse_quote(skb, p, &q) || (at != AT_HAIRPIN && !icmp_sums_ok(skb, p, &q)))
        return drop(DROP_ICMP_INVALID);
    int owner_address = public_slot(cfg, q.inner.source);
    if (owner_address < 0)
        return drop(DROP_ICMP_INVALID);
    u32 index = port_index(owner_address, q.inner.proto, bpf_ntohs(q.inner.source_port));
    u64 owner = owner_towards(index, q.inner.proto, q.inner.destination, q.inner.destination_port);
    if (!owner)
        return TC_ACT_OK; /* about the gateway's own traffic, or nobody's: the stack judges */
    struct session_key key;
    key_out(&key, &q.inner); /* as its sender's, except for the end point that the gateway put in */
    key.inside_ip = owner_ip(owner);
    key.inside_port = owner_port(owner);
    struct session *s = sessions.lookup(&key);
    if (!s || s->port_index != index || !session_alive(cfg, s, key.proto, now))
        return drop(DROP_NO_SESSION);
    if (restore_numbers(skb, p, &q, &key, s, DIR_OUT))
        return drop(DROP_REWRITE_FAILED);
    if (!quote_under_way(skb, &q, s, DIR_OUT))
        return drop(DROP_ICMP_WINDOW);
    tell_path(skb, p, &q, &key, s, DIR_OUT);
    if (is_turned(key.inside_ip)) {
        count(COUNT_ICMP_ERRORS, 1);
        return next_turn(skb, STAGE_TURN_ERROR_IN, at, key.inside_ip, TURN_PORT | key.inside_port);
    }
    if (restore_quote(skb, p, &q, true, key.inside_ip, key.inside_port) || put_outer(skb, p, false, key.inside_ip))
        return drop(DROP_REWRITE_FAILED);
    count(COUNT_ICMP_ERRORS, 1);
    if (at == AT_HAIRPIN) { /* its source is our own address now: the stack would refuse it */
        struct next_hop next = {};
        bool forward = route_packet(skb, p, p->source, key.inside_ip, cfg->wan, &next) == ROUTE_FORWARD;
        return forward ? redirect_to(skb, cfg, p, &next) : drop(DROP_NO_ROUTE);
    }
    return TC_ACT_OK; /* by the stack: it forwards, decrements the TTL, or answers */
}

/* Towards outside, about a packet that came in: made by an inside host, a router inside, or the gateway's own stack. */
static __always_inline int icmp_error_out(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                          int at, u32 now)
{
    struct quote q = {};
    bool hairpin = at == AT_LAN, others = hairpin || speaker_of(skb, cfg, p, at) != OF_INSIDE;
    if (parse_quote(skb, p, &q) || (hairpin && !icmp_sums_ok(skb, p, &q)))
        return others ? pass_on(skb, at) : drop(DROP_ICMP_INVALID);
    struct session_key key;
    if (at == AT_WAN_OUT && others && find_in(cfg, &q.inner, &key))
        return drop(DROP_NOT_ITS_OWN); /* about a packet that WAN ingress should have translated */
    key_in(&key, &q.inner, q.inner.destination, q.inner.destination_port);
    struct session *s = sessions.lookup(&key);
    if (!s || !session_alive(cfg, s, key.proto, now))
        return others ? pass_on(skb, at) : drop(DROP_NO_SESSION);
    if (s->flags & SESSION_EXEMPT)
        return TC_ACT_OK;
    if (restore_numbers(skb, p, &q, &key, s, DIR_IN))
        return drop(DROP_REWRITE_FAILED);
    if (!quote_under_way(skb, &q, s, DIR_IN))
        return drop(DROP_ICMP_WINDOW);
    tell_path(skb, p, &q, &key, s, DIR_IN);
    if (restore_quote(skb, p, &q, false, s->public_ip, session_port(s)) ||
        (public_slot(cfg, p->source) < 0 && put_outer(skb, p, true, s->public_ip)))
        return drop(DROP_REWRITE_FAILED);
    count(COUNT_ICMP_ERRORS, 1);
#ifdef NAT64
    if (at_turned(at))
        return leave_turned_error(skb, cfg, p, s->public_ip);
#endif
    return hairpin ? next_stage(skb, STAGE_ICMP, AT_HAIRPIN, DIR_IN) : TC_ACT_OK;
}

#endif
