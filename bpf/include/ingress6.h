/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * ingress6.h: what has come in, over IPv6: the names of ingress.h. Without translation a packet from outside carries the inside
 * end point itself, so its session is found by its own addresses.
 */
#ifndef ALGATE_INGRESS6_H
#define ALGATE_INGRESS6_H

#define PACKET_HOST_TYPE 0 /* skb->pkt_type of a frame for our MAC */
#define PULL_SIZE 134      /* Ethernet, IPv6 and TCP headers at their longest, without extension headers */

/* The transport header, made linear behind extension headers. Of a first fragment too. */
static __always_inline int parse_head(struct __sk_buff *skb, struct packet *p)
{
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    u32 most = p->l4 + 60;
    if (p->header_size != IP6_HEADER && data + most > data_end && data_end - data < skb->len) {
        bpf_skb_pull_data(skb, skb->len < most ? skb->len : most);
        data = (void *)(long)skb->data;
        data_end = (void *)(long)skb->data_end;
    }
    return parse_transport6(p, data, data_end);
}

static __always_inline int parse_six(struct __sk_buff *skb, const struct config *cfg, int at, struct packet *p,
                                     bool again, bool named)
{
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    if (data + PULL_SIZE > data_end && data_end - data < skb->len)
        bpf_skb_pull_data(skb, skb->len < PULL_SIZE ? skb->len : PULL_SIZE);
    int parsed = parse_ip6(skb, p, link_header(skb, cfg, at), again, named);
    if (parsed != PARSED_FLOW)
        return parsed;
    return p->fragment ? PARSED_FRAGMENT : parse_head(skb, p);
}

static __always_inline int parse_skb(struct __sk_buff *skb, const struct config *cfg, int at, struct packet *p)
{
    return parse_six(skb, cfg, at, p, false, true);
}

/* Without the handles of its ends. */
static __always_inline int parse_nameless(struct __sk_buff *skb, const struct config *cfg, int at, struct packet *p)
{
    return parse_six(skb, cfg, at, p, false, false);
}

/* In a stage behind the first. */
static __always_inline int parse_again(struct __sk_buff *skb, const struct config *cfg, int at, struct packet *p)
{
    return parse_six(skb, cfg, at, p, true, true);
}

struct xlat_prefix;

static __always_inline const struct xlat_prefix *prefix_of(const struct config6 *six)
{
    return (const void *)six->prefix; /* prefix_bits follows */
}

/* Handles for both ends: 0, or the drop reason. */
static __always_inline u32 intern_ends(struct __sk_buff *skb, struct packet *p, u8 dir, u32 now)
{
    struct address6 ends[2];
    struct config6 *six = get_config6();
    if (!six || bpf_skb_load_bytes(skb, ip_at(p) + 8, ends, sizeof(ends)))
        return DROP_MALFORMED;
    bool network = six->flags & SIX_HOST_64;
    __be32 inside = handle_want_host(dir == DIR_OUT ? &ends[0] : &ends[1], network, now);
    __be32 remote = inside ? handle_want(dir == DIR_OUT ? &ends[1] : &ends[0], 0, now) : 0;
    if (!remote)
        return DROP_ADDRESSES_FULL;
    p->source = dir == DIR_OUT ? inside : remote;
    p->destination = dir == DIR_OUT ? remote : inside;
    return 0;
}

/* Without translation there is one place for all addresses. */
static __always_inline int public_slot(const struct config *cfg, __be32 ip)
{
    return 0;
}

/* The session of a packet from outside. */
static __always_inline struct session *find_in_at(const struct packet *p, u32 address, struct session_key *key)
{
    key_in(key, p, p->destination, p->destination_port);
    struct session *s = p->source && p->destination ? sessions.lookup(key) : 0;
    return s && s->port_index == EXEMPT_ROW ? s : 0;
}

static __always_inline struct session *find_in(const struct config *cfg, const struct packet *p,
                                               struct session_key *key)
{
    return find_in_at(p, 0, key);
}

static __always_inline struct session *find_judged(const struct config *cfg, const struct packet *p, int address,
                                                   struct session_key *key, u32 now)
{
    return find_in_at(p, 0, key);
}

/* Nobody fragments an IPv6 packet but its sender. */
static __always_inline bool cut_by_sender(struct __sk_buff *skb, const struct packet *p)
{
    return true;
}

/* Whether the gateway may forward it past the stack. */
static __always_inline bool can_skip_stack(struct __sk_buff *skb, const struct packet *p)
{
    return p->ttl > 1 && !p->fragment && !p->options;
}

/* Nobody addresses an inside host by another address than its own. */
static __always_inline bool hairpin_wanted(const struct config *cfg, const struct packet *p)
{
    return false;
}

#endif
