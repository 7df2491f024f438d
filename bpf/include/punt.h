/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * punt.h: copies of packets in the perf ring, with what the kernel knows of them.
 *
 * The law of this file: it copies and counts. Whether the original is held is the caller's.
 */
#ifndef ALGATE_PUNT_H
#define ALGATE_PUNT_H

/* A zeroed record to fill in; the stack has no room for it. */
static __always_inline struct punt *new_punt(u8 kind)
{
    u32 zero = 0;
    struct scratch *room = scratch.lookup(&zero);
    if (!room)
        return 0;
    __builtin_memset(&room->punt, 0, sizeof(room->punt));
    room->punt.kind = kind;
    room->punt.time = bpf_ktime_get_ns();
    room->punt.mtu = room->mtu;
    return &room->punt;
}

static __always_inline void fill_punt(struct punt *m, const struct session_key *key, const struct session *s)
{
    m->id = s->id;
    m->key = *key;
    m->alg = s->alg;
    m->session_flags = s->flags;
    m->public_ip = s->public_ip;
    m->public_port = session_port(s);
}

/* What a control segment says, and what the kernel knows at this moment. */
static __always_inline void fill_segment(struct punt *m, const struct packet *p, const struct segment *g,
                                         const struct track *t)
{
    m->dir = g->dir;
    m->seq = g->seq;
    m->payload_offset = g->payload_at;
    m->payload_size = g->payload;
    m->tcp_flags = p->tcp_flags;
    m->acked[0] = t->acked[0];
    m->acked[1] = t->acked[1];
    m->ts_recent[0] = t->ts_recent[0];
    m->ts_recent[1] = t->ts_recent[1];
}

/* Copies the frame to the helper; false if the ring has no room. `quiet`: it is read with the next sample that isn't. */
static __always_inline bool submit_frame(struct __sk_buff *skb, const struct packet *p, struct punt *m, bool quiet)
{
    m->frame_size = skb->len;
    m->ip_offset = ip_at(p);
    if (quiet) {
        int rc = unhurried.perf_submit_skb(skb, skb->len, m, sizeof(*m));
        if (!rc)
            return true;
    } else {
        int rc = punts.perf_submit_skb(skb, skb->len, m, sizeof(*m));
        if (!rc)
            return true;
    }
    count(COUNT_PUNTS_LOST, 1);
    return false;
}

/* Copies the frame to the helper. The caller drops the original whatever this returns: a copy that is lost does no harm. */
static __always_inline u32 punt_frame(struct __sk_buff *skb, const struct packet *p, struct punt *m)
{
    struct config *cfg = get_config();
    /* At WAN egress the stack has already counted the hop, and the way back through the TAP will count it again. */
    if (cfg && m->dir == DIR_OUT && skb->ifindex == cfg->wan && p->ttl < 255)
        put_ttl(skb, p, p->ttl + 1);
    if (skb->len > PUNT_FRAME_MAX)
        return DROP_PUNT_TOO_BIG;
    if (!submit_frame(skb, p, m, false))
        return DROP_PUNT_LOST;
    count(COUNT_PUNTS, 1);
    return DROP_PUNT_HELD;
}

/* Which row says what of a session's first lines may pass. Without a branch: 1 where an address is a handle, whose first
 * byte is 0. */
static __always_inline u32 opening_row(const struct session_key *key, const struct session *s)
{
#ifdef NAT64
    u32 inside = ((bpf_ntohl(key->inside_ip) >> 24) - 1) >> 31, outside = ((bpf_ntohl(key->remote_ip) >> 24) - 1) >> 31;
    return s->alg | (inside & ~outside) * OPENING_MIXED;
#else
    return s->alg;
#endif
}

/* The record by which the first lines of a session may pass before the helper has heard of it. False: there is none. */
static __always_inline bool begin_open(struct scratch *room, const struct session_key *key, const struct session *s)
{
    u32 row = opening_row(key, s);
    struct opening *o = openings.lookup(&row);
    if (!o || !o->flags || key->proto != IPPROTO_TCP)
        return false;
    struct adjust *first = &room->first;
    __builtin_memset(first, 0, sizeof(*first));
    first->id = s->id;
    first->flags = o->flags;
    first->interest = o->interest;
    return !adjusts.update((struct session_key *)key, first);
}

/* A control session needs its record before its first segment reaches the gate, and the helper is told. */
static __always_inline void begin_watching(struct __sk_buff *skb, const struct session_key *key,
                                           const struct session *s, u8 dir)
{
    u32 zero = 0;
    struct scratch *room = scratch.lookup(&zero);
    struct punt *m = new_punt(PUNT_OPENED);
    if (!room || !m)
        return;
    struct track *t = &room->track;
    __builtin_memset(t, 0, sizeof(*t));
    t->id = s->id;
    t->window_scale[0] = t->window_scale[1] = 255;
    t->mss[0] = t->mss[1] = 536;
    bool open = begin_open(room, key, s);
    if (!open)
        adjusts.delete((struct session_key *)key);
    tracks.update((struct session_key *)key, t);
    fill_punt(m, key, s);
    m->dir = dir;
    if (open)
        unhurried.perf_submit(skb, m, sizeof(*m));
    else
        punts.perf_submit(skb, m, sizeof(*m));
}

#endif
