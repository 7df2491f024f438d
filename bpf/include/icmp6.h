/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * icmp6.h: ICMPv6 errors about a session (RFC 4890 section 4.3, RFC 4443). They pass as they are, both ways, by the stack; but
 * for the numbers of a control session's quoted segment, which are turned back.
 *
 * The law of this file: an error passes by what it quotes alone, and changes no session. Packet-too-big always passes to
 * whom it is for, or a path would swallow what it should be told of (RFC 4890 section 4.3.1).
 */
#ifndef ALGATE_ICMP6_H
#define ALGATE_ICMP6_H

/* The quoted packet, in handles. False: it can't be read, or isn't one that its receiver sent. */
static __always_inline bool parse_quote(struct __sk_buff *skb, const struct packet *p, struct quote *q)
{
    struct ipv6hdr ip;
    struct in6_addr to;
    __be16 words[4];
    u8 head[8];
    struct packet *inner = &q->inner;
    q->at = p->l4 + 8;
    u32 end = ip_at(p) + p->ip_size;
    if (q->at + IP6_HEADER > end || bpf_skb_load_bytes(skb, q->at, &ip, sizeof(ip)) || ip.version != 6)
        return false;
    if (bpf_skb_load_bytes(skb, ip_at(p) + 24, &to, sizeof(to)) || to.s6_addr32[0] != ip.saddr.s6_addr32[0] ||
        to.s6_addr32[1] != ip.saddr.s6_addr32[1] || to.s6_addr32[2] != ip.saddr.s6_addr32[2] ||
        to.s6_addr32[3] != ip.saddr.s6_addr32[3])
        return false;
    inner->source = handle_of(&ip.saddr);
    inner->destination = handle_of(&ip.daddr);
    inner->proto = ip.nexthdr;
    inner->header_size = IP6_HEADER;
    inner->ip_size =
        0xfff8; /* a quote is cut off: only what it has counts. As a first fragment's, in whole units of 8 bytes */
    inner->l3 = 0;
    for (int i = 0; i < EXTENSIONS_MOST; i++) {
        u32 at = q->at + inner->header_size;
        if (!is_extension(inner->proto))
            break;
        if (at + 8 > end || bpf_skb_load_bytes(skb, at, head, sizeof(head)) ||
            parse_extension(inner, head, i == 0) != PARSED_FLOW || inner->fragment & IP_OFFSET_MASK)
            return false;
    }
    q->l4 = q->at + inner->header_size;
    u8 proto = inner->proto;
    if (is_extension(proto) || proto == IPPROTO_ICMP)
        return false;
    if (proto != IPPROTO_TCP && proto != IPPROTO_UDP && proto != IPPROTO_ICMPV6)
        return true;
    if (q->l4 + 8 > end || bpf_skb_load_bytes(skb, q->l4, words, sizeof(words)))
        return false;
    inner->source_port = words[0];
    inner->destination_port = words[1];
    if (proto != IPPROTO_ICMPV6)
        return true;
    inner->proto = IPPROTO_ICMP;
    u8 type = words[0] & 0xff;
    inner->source_port = inner->destination_port = words[2];
    return type == ECHO_REQUEST6 || type == ECHO_REPLY6;
}

/* Packet-too-big about a packet of a control session: the helper, whose segments travel there too, must know. */
static __always_inline void tell_path(struct __sk_buff *skb, const struct packet *p, const struct quote *q,
                                      const struct session_key *key, const struct session *s, u8 dir)
{
    __be32 mtu = 0;
    __be16 given = 0;
    if (!s->alg || p->icmp_type != TOO_BIG6 || bpf_skb_load_bytes(skb, p->l4 + 4, &mtu, sizeof(mtu)) ||
        bpf_skb_load_bytes(skb, q->at + 4, &given, sizeof(given)))
        return;
    struct punt *m = new_punt(PUNT_PATH);
    if (!m)
        return;
    u32 most = bpf_ntohl(mtu);
    fill_punt(m, key, s);
    m->dir = dir;
    m->mtu = most > 65535 ? 65535 : most;
    m->payload_size = bpf_ntohs(given) + IP6_HEADER;
    punts.perf_submit(skb, m, sizeof(*m));
}

/* The ICMPv6 checksum, if it is short enough to be summed up here (RFC 4443 section 2.4: an error fills 1280 bytes at most). */
static __always_inline bool icmp_sum_ok(struct __sk_buff *skb, const struct packet *p)
{
    u32 zero = 0, size = p->ip_size - p->header_size;
    struct scratch *room = scratch.lookup(&zero);
    if (!room || size < 48 || size > DIGEST_MAX)
        return false;
    u16 pseudo = packet_pseudo_sum(skb, p, size);
    if (p->sum == pseudo) /* of our own stack, to be finished by the device */
        return true;
    if (bpf_skb_load_bytes(skb, p->l4, room->words, length_within(size, sizeof(room->words))))
        return false;
    u64 sum = sum_words(room, size, pseudo);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    return csum_fold((u32)sum) == 0xffff;
}

/* About a packet of direction `dir`: 0 if it may pass, else the drop reason. */
static __always_inline u32 icmp_error(struct __sk_buff *skb, const struct config *cfg, const struct packet *p, u8 dir,
                                      u32 now)
{
    struct quote q = {};
    struct session_key key;
    bool too_big = p->icmp_type == TOO_BIG6;
    if (!icmp_sum_ok(skb, p) || !parse_quote(skb, p, &q))
        return DROP_ICMP_INVALID;
    if (dir == DIR_OUT)
        key_out(&key, &q.inner);
    else
        key_in(&key, &q.inner, q.inner.destination, q.inner.destination_port);
    struct session *s = key.inside_ip && key.remote_ip ? sessions.lookup(&key) : 0;
    if (!s || s->port_index != EXEMPT_ROW || !session_alive(cfg, s, key.proto, now))
        return too_big ? 0 : DROP_NO_SESSION;
    if (restore_numbers(skb, p, &q, &key, s, dir))
        return DROP_REWRITE_FAILED;
    if (!quote_under_way(skb, &q, s, dir))
        return too_big ? 0 : DROP_ICMP_WINDOW;
    tell_path(skb, p, &q, &key, s, dir);
    count(COUNT_ICMP_ERRORS, 1);
    return 0;
}

/* What comes from outside quotes what went out, and the other way round. The gateway's own errors come here only at WAN egress,
 * where they pass as all that it says. */
static __always_inline int icmp_passes(struct __sk_buff *skb, int at, u8 dir)
{
    struct packet p = {};
    struct config *cfg = get_config();
    if (!cfg || parse_again(skb, cfg, at, &p) != PARSED_ICMP_ERROR)
        return drop(DROP_MALFORMED);
    if (dir == DIR_IN && !to_inside(skb, cfg, &p))
        return TC_ACT_OK; /* about the gateway's own traffic: its stack judges */
    if (dir == DIR_OUT && !source_is_routed(skb, &p, cfg->wan, skb->ingress_ifindex))
        return drop(DROP_SPOOFED_INSIDE);
    if (dir == DIR_IN && (source_scope(skb, &p) != SCOPE_GLOBAL || from_inside(skb, cfg, &p)))
        return drop(DROP_SPOOFED_OUTSIDE);
    u32 refused = icmp_error(skb, cfg, &p, !dir, now_tick());
    return refused ? drop(refused) : TC_ACT_OK; /* by the stack, which counts the hop */
}

#endif
