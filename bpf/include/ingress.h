/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * ingress.h: what has come in: where its headers are, whose it is, whether the gateway may forward it past the stack.
 *
 * The law of this file: it looks, and writes nothing into a packet. What isn't ours goes to the stack as it came; only what
 * would be routed on from outside to a host that isn't ours is dropped.
 */
#ifndef ALGATE_INGRESS_H
#define ALGATE_INGRESS_H

#define PACKET_HOST_TYPE 0 /* skb->pkt_type of a frame for our MAC */
#define PULL_SIZE 134      /* Ethernet, IP and TCP headers at their longest */

/* IPv4 without a VLAN tag: tagged frames on an untagged device aren't for us. */
static __always_inline bool is_plain_ip(struct __sk_buff *skb)
{
    return skb->protocol == bpf_htons(ETH_P_IP) && !skb->vlan_present;
}

static __always_inline bool is_plain_six(struct __sk_buff *skb)
{
    return skb->protocol == bpf_htons(ETH_P_IPV6) && !skb->vlan_present;
}

/* Parses; first makes the headers linear if a driver left them in fragments. */
static __always_inline int parse_skb(struct __sk_buff *skb, const struct config *cfg, int at, struct packet *p)
{
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    if (data + PULL_SIZE > data_end && data_end - data < skb->len) {
        bpf_skb_pull_data(skb, skb->len < PULL_SIZE ? skb->len : PULL_SIZE);
        data = (void *)(long)skb->data;
        data_end = (void *)(long)skb->data_end;
    }
    return parse_ip(p, data, data_end, link_header(skb, cfg, at), skb->len);
}

/* The transport header of a first fragment. */
static __always_inline int parse_head(struct __sk_buff *skb, struct packet *p)
{
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    return parse_transport(p, data + p->l4, data_end, p->ip_size - p->header_size);
}

/* The session of a packet from outside to the public address at this place, through the owner of its port. */
static __always_inline struct session *find_in_at(const struct packet *p, u32 address, struct session_key *key)
{
    u32 index = port_index(address, p->proto, bpf_ntohs(p->destination_port));
    u64 owner = owner_towards(index, p->proto, p->source, p->source_port);
    if (!owner)
        return 0;
    key_in(key, p, owner_ip(owner), owner_port(owner));
    struct session *s = sessions.lookup(key);
    return s && s->port_index == index ? s : 0;
}

/* The session of a packet from outside. */
static __always_inline struct session *find_in(const struct config *cfg, const struct packet *p,
                                               struct session_key *key)
{
    int address = public_slot(cfg, p->destination);
    return address < 0 ? 0 : find_in_at(p, address, key);
}

/* The session of an answer to an inside host that reached an exempt destination under its own address. */
static __always_inline struct session *find_exempt(const struct config *cfg, const struct packet *p,
                                                   struct session_key *key, u32 now)
{
    key_in(key, p, p->destination, p->destination_port);
    struct session *s = cfg->flags & CONFIG_EXEMPT ? sessions.lookup(key) : 0;
    return s && s->flags & SESSION_EXEMPT && session_alive(cfg, s, p->proto, now) ? s : 0;
}

/* The session of a packet from outside, where `address` is the place of its public address, -1: it has none. */
static __always_inline struct session *find_judged(const struct config *cfg, const struct packet *p, int address,
                                                   struct session_key *key, u32 now)
{
    return address < 0 ? find_exempt(cfg, p, key, now) : find_in_at(p, address, key);
}

/* Whether its sender alone may cut it. */
static __always_inline bool cut_by_sender(struct __sk_buff *skb, const struct packet *p)
{
    __be16 fragment = 0;
    bpf_skb_load_bytes(skb, ip_at(p) + 6, &fragment, sizeof(fragment));
    return bpf_ntohs(fragment) & IP_DONT_FRAGMENT;
}

/* Addressed to a host that isn't us: multicast and other local addresses are the stack's; routed on, it would reach
 * inside hosts directly. */
static __always_inline int not_public(struct __sk_buff *skb, const struct config *cfg, struct packet *p)
{
    struct next_hop next = {};
    u32 now = now_tick();
    struct session_key key;
    struct session *s = find_exempt(cfg, p, &key, now);
    if (s && p->proto == IPPROTO_TCP && !session_slides(s, p, DIR_IN))
        return next_stage(skb, STAGE_JUDGE, AT_WAN_IN, DIR_IN);
    if (s)
        session_touch(s, p, DIR_IN, now);
    if (s || is_group(p->destination))
        return TC_ACT_OK;
    if (route_packet(skb, p, p->source, p->destination, cfg->wan, &next) == ROUTE_FORWARD)
        return drop(DROP_NOT_OURS);
    return TC_ACT_OK;
}

/* Whether the gateway may forward it past the stack: TTL above 1, no options, a right header checksum. */
static __always_inline bool can_skip_stack(struct __sk_buff *skb, const struct packet *p)
{
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    struct iphdr *ip = data + ip_at(p);
    if ((void *)(ip + 1) > data_end)
        return false;
    return p->ttl > 1 && p->header_size == sizeof(*ip) && !p->fragment && ip_sum_ok(ip);
}

/* Whether an inside host addresses another one by a public end point (RFC 4787 REQ-9). */
static __always_inline bool hairpin_wanted(const struct config *cfg, const struct packet *p)
{
    int address = public_slot(cfg, p->destination);
    if (address < 0 || p->proto == IPPROTO_ICMP)
        return false;
    return inside_owner(port_index(address, p->proto, bpf_ntohs(p->destination_port))) != 0;
}

#endif
