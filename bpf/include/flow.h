/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * flow.h: an existing session's packet, from the look-up to the wire; the ALG stage and fragments among them.
 */
#ifndef ALGATE_FLOW_H
#define ALGATE_FLOW_H

#define PACKET_HOST_TYPE 0 /* skb->pkt_type of a frame for our MAC */
#define PULL_SIZE 134      /* Ethernet, IP and TCP headers at their longest */

/* IPv4 without a VLAN tag: tagged frames on an untagged device are somebody else's. */
static __always_inline bool is_plain_ip(struct __sk_buff *skb)
{
    return skb->protocol == bpf_htons(ETH_P_IP) && !skb->vlan_present;
}

/* Parses, with the headers made linear first where a driver left them in fragments. */
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

/* The session of a packet from outside, through the owner of its public port. */
static __always_inline struct session *session_in(const struct packet *p, u32 address, struct session_key *key)
{
    u32 index = port_index(address, p->proto, bpf_ntohs(p->destination_port));
    struct port_slot *slot = ports.lookup(&index);
    u64 owner = slot ? slot->owner : 0;
    if (!owner || owner_kind(owner) == PORT_LOCAL)
        return 0;
    key_in(key, p, owner_ip(owner), owner_port(owner));
    struct session *s = sessions.lookup(key);
    return s && s->port_index == index ? s : 0;
}

/* An answer to an inside host that reached an exempt destination under its own address. */
static __always_inline bool exempt_reply(const struct config *cfg, const struct packet *p)
{
    struct session_key key;
    u32 now = now_tick();
    key_in(&key, p, p->destination, p->destination_port);
    struct session *s = sessions.lookup(&key);
    if (!s || !(s->flags & SESSION_EXEMPT) || !session_alive(cfg, s, p->proto, now))
        return false;
    session_touch(s, p, DIR_IN, now);
    return true;
}

/* Addressed to a host that isn't us: multicast and other local addresses are the stack's; routed on, it would reach
 * inside hosts directly. */
static __always_inline int not_public(struct __sk_buff *skb, const struct config *cfg, const struct packet *p)
{
    struct next_hop next;
    if (is_group(p->destination) || (cfg->flags & CONFIG_EXEMPT && exempt_reply(cfg, p)))
        return TC_ACT_OK;
    if (route_packet(skb, p, p->source, p->destination, cfg->wan, &next) == ROUTE_FORWARD)
        return drop(DROP_NOT_OURS);
    return TC_ACT_OK;
}

/* Whether the gateway may forward it past the stack: a TTL to spare, no options, a header that sums up right. */
static __always_inline bool can_skip_stack(struct __sk_buff *skb, const struct packet *p)
{
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    struct iphdr *ip = data + ip_at(p);
    if ((void *)(ip + 1) > data_end)
        return false;
    return p->ttl > 1 && p->header_size == sizeof(*ip) && !p->fragment && ip_sum_ok(ip);
}

/* Lowers the MSS that a SYN offers (what it means: RFC 6691 section 3). Never raises it. */
static __always_inline void clamp_mss(struct __sk_buff *skb, const struct packet *p, u16 most)
{
    u32 size = 0, at;
    struct scratch *room = p->tcp_header > 20 ? load_options(skb, p, &size) : 0;
    if (!room)
        return;
    at = find_option(room, size, 2);
    if (!at || at + 2 > size)
        return;
    u16 offered = (u16)room->options[at & 63] << 8 | room->options[(at + 1) & 63];
    if (offered <= most)
        return;
    __builtin_memcpy(room->changed, room->options, sizeof(room->changed));
    room->changed[at & 63] = most >> 8;
    room->changed[(at + 1) & 63] = most & 0xff;
    store_options(skb, p, room, size);
}

static __always_inline void account(u8 dir, const struct packet *p)
{
    count(dir == DIR_OUT ? COUNT_PACKETS_OUT : COUNT_PACKETS_IN, 1);
    count(dir == DIR_OUT ? COUNT_BYTES_OUT : COUNT_BYTES_IN, p->ip_size);
}

/* What the stack has to do. A frame of the helper or of a hairpin can't be handed to it: its source is our own. */
static __always_inline int to_stack(int at)
{
    if (at == AT_TAP || at == AT_HAIRPIN)
        return drop(DROP_NO_ROUTE);
    count(COUNT_TO_STACK, 1);
    return TC_ACT_OK;
}

/* Whether an inside host addresses another one by a public end point (RFC 4787 REQ-9). */
static __always_inline bool hairpin_wanted(const struct config *cfg, const struct packet *p)
{
    int address = public_slot(cfg, p->destination);
    if (address < 0 || p->proto == IPPROTO_ICMP)
        return false;
    u32 index = port_index(address, p->proto, bpf_ntohs(p->destination_port));
    struct port_slot *slot = ports.lookup(&index);
    u64 owner = slot ? slot->owner : 0;
    return owner && owner_kind(owner) != PORT_LOCAL;
}

/* The other half of a hairpin: with its public source the packet comes in as if from outside. */
static __always_inline int leave_hairpin(struct __sk_buff *skb, const struct packet *p, struct session *s, u32 now)
{
    struct rewrite to = {.ip = s->public_ip, .port = session_port(s), .source = true, .hop = false};
    session_touch(s, p, DIR_OUT, now);
    if (p->fragment)
        fragment_remember(p, DIR_OUT, to.ip, p->destination, now);
    if (rewrite_skb(skb, p, &to))
        return drop(DROP_REWRITE_FAILED);
    account(DIR_OUT, p);
    count(COUNT_HAIRPINS, 1);
    return next_stage(skb, STAGE_HAIRPIN, AT_HAIRPIN, DIR_IN);
}

/* Translates and sends out what an inside host sent. */
static __always_inline int leave_out(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                     struct session *s, int at, u32 now)
{
    struct next_hop next = {};
    bool redirect = at != AT_WAN_OUT;
    if (redirect && (p->fragment || can_skip_stack(skb, p)) && hairpin_wanted(cfg, p))
        return leave_hairpin(skb, p, s, now);
    if (redirect) {
        u32 from = skb->ingress_ifindex;
        OPAQUE(from);
        if (at == AT_TAP)
            from = cfg->lan[0];
        bool direct = at == AT_TAP || (!(s->flags & SESSION_STACK) && can_skip_stack(skb, p));
        if (!direct || route_packet(skb, p, p->source, p->destination, from, &next) != ROUTE_FORWARD ||
            next.ifindex != cfg->wan)
            return s->alg ? drop(DROP_NO_ROUTE) : to_stack(at); /* behind the gate it may be another segment */
    }
    if (s->flags & SESSION_EXEMPT) { /* by the stack, untranslated, both ways */
        if (redirect)
            return to_stack(at);
        session_touch(s, p, DIR_OUT, now);
        return TC_ACT_OK;
    }
    if (p->proto == IPPROTO_TCP && p->tcp_flags & TCP_SYN && cfg->mss_clamp)
        clamp_mss(skb, p, cfg->mss_clamp);
    struct rewrite to = {.ip = s->public_ip, .port = session_port(s), .source = true, .hop = redirect && p->ttl > 1};
    session_touch(s, p, DIR_OUT, now);
    if (p->fragment)
        fragment_remember(p, DIR_OUT, to.ip, p->destination, now);
    if (rewrite_skb(skb, p, &to))
        return drop(DROP_REWRITE_FAILED);
    account(DIR_OUT, p);
    return redirect ? redirect_to(skb, cfg, p, &next) : TC_ACT_OK;
}

/* Translates and sends in what came for a session. What needs the stack goes on translated: its destination is routable. */
static __always_inline int leave_in(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                    struct session *s, const struct session_key *key, int at, u32 now)
{
    struct next_hop next = {};
    bool direct = (at == AT_TAP || at == AT_HAIRPIN || (!(s->flags & SESSION_STACK) && can_skip_stack(skb, p))) &&
                  route_packet(skb, p, p->source, key->inside_ip, cfg->wan, &next) == ROUTE_FORWARD;
    if ((at == AT_TAP || at == AT_HAIRPIN) && !direct)
        return drop(DROP_NO_ROUTE);
    if (p->proto == IPPROTO_TCP && p->tcp_flags & TCP_SYN && cfg->mss_clamp)
        clamp_mss(skb, p, cfg->mss_clamp);
    struct rewrite to = {.ip = key->inside_ip, .port = key->inside_port, .source = false, .hop = direct && p->ttl > 1};
    session_touch(s, p, DIR_IN, now);
    if (p->fragment)
        fragment_remember(p, DIR_IN, p->source, to.ip, now);
    if (rewrite_skb(skb, p, &to))
        return drop(DROP_REWRITE_FAILED);
    account(DIR_IN, p);
    return direct ? redirect_to(skb, cfg, p, &next) : to_stack(at);
}

/* A finished frame of the helper: only the next hop is missing. */
static __always_inline int leave_raw(struct __sk_buff *skb, const struct config *cfg, bool out)
{
    struct packet p = {};
    struct next_hop next = {};
    int parsed = parse_skb(skb, cfg, AT_TAP, &p);
    if (parsed == PARSED_MALFORMED)
        return drop(DROP_MALFORMED);
    u32 from = out ? cfg->lan[0] : cfg->wan;
    if (route_packet(skb, &p, out ? 0 : p.source, p.destination, from, &next) != ROUTE_FORWARD)
        return drop(DROP_NO_ROUTE);
    return redirect_to(skb, cfg, &p, &next);
}

/* To the stage that makes sessions, with word whether the table has an entry under this key. */
static __always_inline int next_new_out(struct __sk_buff *skb, int at, const struct session *old)
{
    skb->cb[4] = old != 0;
    return next_stage(skb, STAGE_NEW_OUT, at, DIR_OUT);
}

static __always_inline int alg_out(struct __sk_buff *skb, int at)
{
    struct config *cfg = get_config();
    struct packet p = {};
    struct session_key key;
    if (!cfg || parse_skb(skb, cfg, at, &p) != PARSED_FLOW)
        return drop(DROP_MALFORMED);
    u32 now = now_tick();
    key_out(&key, &p);
    struct session *s = sessions.lookup(&key);
    if (!s)
        return drop(DROP_RACE);
    if (at == AT_LAN && !hairpin_wanted(cfg, &p)) { /* what needs the stack meets the gate at WAN egress instead */
        struct next_hop next;
        if (!can_skip_stack(skb, &p) || s->flags & SESSION_STACK ||
            route_packet(skb, &p, p.source, p.destination, skb->ingress_ifindex, &next) != ROUTE_FORWARD ||
            next.ifindex != cfg->wan)
            return TC_ACT_OK;
    }
    u32 refused = alg_gate(skb, cfg, &p, &key, s, DIR_OUT, at, now);
    return refused ? drop(refused) : next_stage(skb, STAGE_LEAVE, at, DIR_OUT);
}

static __always_inline int alg_in(struct __sk_buff *skb, int at)
{
    struct config *cfg = get_config();
    struct packet p = {};
    struct session_key key;
    if (!cfg || parse_skb(skb, cfg, at, &p) != PARSED_FLOW)
        return drop(DROP_MALFORMED);
    u32 now = now_tick();
    int address = public_slot(cfg, p.destination);
    struct session *s = address < 0 ? 0 : session_in(&p, address, &key);
    if (!s)
        return drop(DROP_RACE);
    u32 refused = alg_gate(skb, cfg, &p, &key, s, DIR_IN, at, now);
    return refused ? drop(refused) : next_stage(skb, STAGE_LEAVE, at, DIR_IN);
}

/* The way out of a packet whose session was made for it just now and stands in `scratch`, so that nobody looks for it: a
 * program of its own, since the one that makes sessions is as large as the verifier bears. */
static __always_inline int leave_fresh(struct __sk_buff *skb, int at)
{
    struct config *cfg = get_config();
    struct packet p = {};
    u32 zero = 0;
    struct scratch *room = scratch.lookup(&zero);
    if (!cfg || !room)
        return TC_ACT_OK;
    int parsed = parse_skb(skb, cfg, at, &p);
    if (parsed == PARSED_FRAGMENT)
        parsed = parse_head(skb, &p);
    if (parsed != PARSED_FLOW)
        return drop(DROP_MALFORMED);
    return leave_out(skb, cfg, &p, &room->session, at, now_tick());
}

/* The way out of a packet whose session is known to be there: behind the gate, or new. */
static __always_inline int leave(struct __sk_buff *skb, int at, bool in)
{
    struct config *cfg = get_config();
    struct packet p = {};
    struct session_key key;
    if (!cfg)
        return TC_ACT_OK;
    int parsed = parse_skb(skb, cfg, at, &p);
    if (parsed == PARSED_FRAGMENT)
        parsed = parse_head(skb, &p);
    if (parsed != PARSED_FLOW)
        return drop(DROP_MALFORMED);
    u32 now = now_tick();
    if (!in) {
        key_out(&key, &p);
        struct session *s = sessions.lookup(&key);
        return s ? leave_out(skb, cfg, &p, s, at, now) : drop(DROP_RACE);
    }
    int address = public_slot(cfg, p.destination);
    struct session *s = address < 0 ? 0 : session_in(&p, address, &key);
    return s ? leave_in(skb, cfg, &p, s, &key, at, now) : drop(DROP_RACE);
}

static __always_inline int fragment_out(struct __sk_buff *skb, const struct config *cfg, struct packet *p, int at)
{
    u32 now = now_tick();
    if (!has_ports(p->proto))
        return at == AT_LAN || skb->ingress_ifindex == 0 ? TC_ACT_OK : drop(DROP_PROTOCOL);
    if (!is_first_fragment(p))
        return at == AT_WAN_OUT && skb->ingress_ifindex == 0 && public_slot(cfg, p->source) >= 0
                   ? TC_ACT_OK
                   : fragment_tail(skb, p, DIR_OUT, at, now);
    if (parse_head(skb, p) != PARSED_FLOW)
        return drop(DROP_MALFORMED);
    if (at == AT_LAN && !hairpin_wanted(cfg, p)) /* for the gateway itself */
        return TC_ACT_OK;
    struct session_key key;
    key_out(&key, p);
    struct session *s = sessions.lookup(&key);
    if (!s || !session_alive(cfg, s, p->proto, now))
        return next_new_out(skb, at, s);
    return s->alg ? drop(DROP_FRAGMENT_CONTROL) : leave_out(skb, cfg, p, s, at, now);
}

static __always_inline int fragment_in(struct __sk_buff *skb, const struct config *cfg, struct packet *p, int at)
{
    u32 now = now_tick();
    if (!has_ports(p->proto))
        return TC_ACT_OK;
    if (!is_first_fragment(p))
        return fragment_tail(skb, p, DIR_IN, at, now);
    if (parse_head(skb, p) != PARSED_FLOW)
        return drop(DROP_MALFORMED);
    if (p->proto == IPPROTO_ICMP && p->icmp_type == 8) { /* a long ping of the gateway */
        fragment_remember(p, DIR_IN, p->source, p->destination, now);
        return TC_ACT_OK;
    }
    int address = public_slot(cfg, p->destination);
    struct session_key key;
    struct session *s = address < 0 ? 0 : session_in(p, address, &key);
    if (!s || !session_alive(cfg, s, p->proto, now))
        return next_stage(skb, STAGE_NEW_IN, at, DIR_IN);
    return s->alg ? drop(DROP_FRAGMENT_CONTROL) : leave_in(skb, cfg, p, s, &key, at, now);
}

#endif
