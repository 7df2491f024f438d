/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * punt.h: copies of packets in the perf ring, with what the kernel knows of them.
 *
 * The law of this file: it copies and counts. Whether the original is held is the caller's; a copy that is lost does no harm.
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

/* Copies the frame to the helper. The caller drops the original whatever this returns. */
static __always_inline u32 punt_frame(struct __sk_buff *skb, const struct packet *p, struct punt *m)
{
    struct config *cfg = get_config();
    /* At WAN egress the stack has already counted the hop, and the way back through the TAP will count it again. */
    if (cfg && m->dir == DIR_OUT && skb->ifindex == cfg->wan && p->ttl < 255)
        put_ttl(skb, p, p->ttl + 1);
    if (skb->len > PUNT_FRAME_MAX)
        return DROP_PUNT_TOO_BIG;
    m->frame_size = skb->len;
    m->ip_offset = ip_at(p);
    int rc = punts.perf_submit_skb(skb, skb->len, m, sizeof(*m));
    if (rc) {
        count(COUNT_PUNTS_LOST, 1);
        return DROP_PUNT_LOST;
    }
    count(COUNT_PUNTS, 1);
    return DROP_PUNT_HELD;
}

#endif
