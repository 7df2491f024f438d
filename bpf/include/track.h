/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * track.h: what a segment of a control session says, and what the kernel knows of both TCP streams. Decides nothing.
 */
#ifndef ALGATE_TRACK_H
#define ALGATE_TRACK_H

/* What a control segment is, in its sender's numbers. */
struct segment {
    u32 seq;
    u32 ack;
    u32 payload;    /* bytes */
    u32 payload_at; /* offset in the frame */
    u16 window;
    u8 dir;
};

static __always_inline int load_segment(struct __sk_buff *skb, const struct packet *p, u8 dir, struct segment *g)
{
    struct tcphdr tcp;
    if (bpf_skb_load_bytes(skb, p->l4, &tcp, sizeof(tcp)))
        return -1;
    g->seq = bpf_ntohl(tcp.seq);
    g->ack = bpf_ntohl(tcp.ack_seq);
    g->window = bpf_ntohs(tcp.window);
    g->payload = tcp_payload_size(p);
    g->payload_at = tcp_payload(p);
    g->dir = dir & 1;
    return 0;
}

/* What a SYN offers (RFC 9293 section 3.2, RFC 7323, RFC 2018). */
static __always_inline void track_syn_options(struct track *t, struct scratch *room, u32 size, u8 dir)
{
    UNKNOWN(room) = 0;
    for (int i = 0; i < OPTIONS_MAX; i++) {
        u32 at = UNKNOWN(room) & 63;
        if (at + 1 >= size)
            return;
        const u8 *o = room->options;
        u8 kind = o[at], length = o[(at + 1) & 63];
        if (kind == 0 || (kind != 1 && length < 2))
            return;
        if (kind == 2)
            t->mss[dir] = (u16)o[(at + 2) & 63] << 8 | o[(at + 3) & 63];
        else if (kind == 3)
            t->window_scale[dir] = o[(at + 2) & 63];
        else if (kind == 4)
            t->flags |= TRACK_SACK;
        else if (kind == 8)
            t->flags |= TRACK_TIMESTAMPS;
        else if (kind == 19 || kind == 29)
            t->flags |= TRACK_UNTOUCHABLE;
        UNKNOWN(room) = at + (kind == 1 ? 1 : length);
    }
}

/* The timestamp where RFC 7323 appendix A recommends it: after two NOPs, before other options. */
static __always_inline void track_timestamp(struct track *t, const struct scratch *room, u32 size, u8 dir)
{
    if (size < 12 || get_be32(room->options, 0) != 0x0101080a)
        return;
    u32 value = get_be32(room->options, 4);
    if (!t->ts_value[dir] || seq_after(value, t->ts_value[dir])) /* an older one is a stray's: RFC 7323 section 5 */
        t->ts_value[dir] = value;
}

static __always_inline void track_options(struct __sk_buff *skb, const struct packet *p, struct track *t, u8 dir)
{
    u32 size = 0;
    struct scratch *room = load_options(skb, p, &size);
    if (!room)
        return;
    if (p->tcp_flags & TCP_SYN)
        track_syn_options(t, room, size, dir);
    else
        track_timestamp(t, room, size, dir);
}

static __always_inline void track_syn(struct track *t, const struct segment *g)
{
    t->isn[g->dir] = g->seq;
    t->next[g->dir] = g->seq + 1;
    t->acked[g->dir] = g->seq;
    t->ack_sent[g->dir] = g->seq;
    t->mss[g->dir] = 536;
    t->window_scale[g->dir] = 255;
    t->flags &= ~(TRACK_FIN_OUT << g->dir);
    t->flags |= g->dir == DIR_OUT ? TRACK_SYN_OUT : TRACK_SYN_IN;
}

/* Follows both streams. A lost update (two CPUs) is mended by the next segment. `most`: the MSS that a SYN is clamped to
 * on its way out, 0: it isn't. */
static __always_inline void track_segment(struct __sk_buff *skb, const struct packet *p, struct track *t,
                                          const struct segment *g, const struct adjust *adj, u16 most)
{
    u8 dir = g->dir, other = !g->dir;
    if (p->tcp_flags & TCP_SYN)
        track_syn(t, g);
    u32 end = g->seq + g->payload + (p->tcp_flags & TCP_FIN ? 1 : 0);
    if (seq_after(end, t->next[dir]))
        t->next[dir] = end;
    t->window[dir] = g->window;
    if (p->tcp_flags & TCP_ACK) {
        u32 ack = adj ? unshift_ack(adj, other, g->ack) : g->ack;
        if (seq_after(ack, t->acked[other]))
            t->acked[other] = ack;
        if (seq_after(g->ack, t->ack_sent[other]))
            t->ack_sent[other] = g->ack;
    }
    if (p->tcp_header > 20)
        track_options(skb, p, t, dir);
    if (p->tcp_flags & TCP_SYN && most && t->mss[dir] > most)
        t->mss[dir] = most;
}

#endif
