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

/* A row of `askers`; never 0, which counts nobody. */
static __always_inline u16 asker_row(u64 secret, u64 who, u64 network, u32 kind)
{
    u64 h = (who ^ secret) * 0x9E3779B97F4A7C15ULL;
    h = (h ^ h >> 32 ^ network ^ kind) * 0xFF51AFD7ED558CCDULL;
    return kind * ASKERS_A_KIND | (h >> 52);
}

/* Takes note of whom handles are made for from here on: the neighbour whose packet this is, and the /64 of its inside end. The
 * helper's frames are nobody's; what comes from the stack has its device alone. */
static __always_inline void askers_note(struct __sk_buff *skb, const struct config *cfg, const struct packet *p, int at,
                                        const struct address6 *inside)
{
    u64 who = 0, network = *(const u64 *)inside->bytes;
    u32 zero = 0, from = skb->ingress_ifindex;
    struct scratch6 *room = scratch6.lookup(&zero);
    OPAQUE(from);
    if (!room)
        return;
    if (at != AT_WAN_OUT && ip_at(p))
        bpf_skb_load_bytes(skb, 6, &who, 6);
    who |= (u64)from << 48;
    askers_nobody();
    if (at == AT_TAP)
        return;
    room->askers[1] = asker_row(cfg->secret, who, 0, 1);
    room->askers[2] = asker_row(cfg->secret, who, network, 2);
    room->askers[3] = asker_row(cfg->secret, who, network, 3);
    askers_judge(cfg, room);
}

/* Whether a host has all the sessions that it may have, so that no address need be known for another one. */
static __always_inline bool host_is_full(const struct config *cfg, __be32 handle)
{
    struct host *h = cfg->max_sessions_per_host ? host_of(handle) : 0;
    return h && h->sessions >= cfg->max_sessions_per_host;
}

/* The handle of an inside host whose packet may begin a session; 0: it may have none, and `refused` says why. What its /64 may not
 * have any more is asked for before the address becomes known. */
static __always_inline __be32 inside_wanted(const struct config *cfg, const struct config6 *six,
                                            const struct address6 *address, u32 now)
{
    u32 zero = 0;
    bool network = six->flags & SIX_HOST_64;
    struct address6 first = {};
    struct scratch6 *room = scratch6.lookup(&zero);
    if (!room)
        return 0;
    __builtin_memcpy(first.bytes, address->bytes, 8);
    if (network && cfg->max_sessions_per_host && !handle_of((void *)address)) {
        __be32 host = handle_of(&first);
        room->refused = DROP_HOST_SESSIONS;
        if (host && host_is_full(cfg, host))
            return 0;
    }
    return handle_want_host(address, network, now);
}

/* The reason for which there was no handle a moment ago. */
static __always_inline u32 handle_refusal(void)
{
    u32 zero = 0;
    struct scratch6 *room = scratch6.lookup(&zero);
    return room ? room->refused & 127 : DROP_ADDRESSES_FULL;
}

/* Whether both handles were asked for a moment ago, so that they stay (handles.h). */
static __always_inline bool ends_stay(const struct packet *p)
{
    return p->fresh && p->row && p->row->asked;
}

/* Handles for both ends: 0, or the drop reason. */
static __always_inline u32 intern_ends(struct __sk_buff *skb, struct packet *p, int at, u8 dir, u32 now)
{
    struct address6 ends[2];
    struct config *cfg = get_config();
    struct config6 *six = get_config6();
    struct hop6 *kept = p->fresh ? p->row : 0;
    if (!cfg || !six || bpf_skb_load_bytes(skb, ip_at(p) + 8, ends, sizeof(ends)))
        return DROP_MALFORMED;
    askers_note(skb, cfg, p, at, dir == DIR_OUT ? &ends[0] : &ends[1]);
    __be32 inside = inside_wanted(cfg, six, dir == DIR_OUT ? &ends[0] : &ends[1], now);
    if (!inside)
        return handle_refusal();
    if (!(dir == DIR_OUT ? p->destination : p->source) && host_is_full(cfg, inside))
        return DROP_HOST_SESSIONS;
    __be32 remote = handle_want(dir == DIR_OUT ? &ends[1] : &ends[0], 0, now);
    if (!remote)
        return handle_refusal();
    p->source = dir == DIR_OUT ? inside : remote;
    p->destination = dir == DIR_OUT ? remote : inside;
    if (kept && kept->source)
        kept->asked = 1;
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
