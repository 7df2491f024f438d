/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * refuse.h: first packets that there is no room or permission for: counted, dropped, and the helper told, which tells their
 * senders (RFC 5508 REQ-8: unreachable, code 13). A program of its own, since the one that makes sessions is as large as the
 * verifier bears.
 *
 * The law of this file: the drop reason comes in skb->cb[4], and nothing here changes it.
 */
#ifndef ALGATE_REFUSE_H
#define ALGATE_REFUSE_H

#define REFUSED_SAMPLE 1246 /* bytes of a refused frame: all that ICMPv6 quotes, the more of both (RFC 4443 2.4 (c)) */

static __always_inline int refuse_new(struct __sk_buff *skb, u32 reason, int at)
{
    skb->cb[4] = reason;
    return next_stage(skb, STAGE_REFUSE, at, DIR_OUT);
}

/* Whether it is for what its host has already. */
static __always_inline bool refused_for_host(u32 reason)
{
    return reason == DROP_HOST_SESSIONS || reason == DROP_HOST_PORTS || reason == DROP_HOST_RATE ||
           reason == DROP_SHARE_SESSIONS || reason == DROP_SHARE_PORTS || reason == DROP_HOST_UNANSWERED;
}

/* So it is told of a segment from the midst of a connection that has no session: the helper knows whether we ended it (lost.py),
 * and answers with RST then, as a host that knows no such connection would (RFC 9293 section 3.10.7.1). A hundred per second
 * are enough: the rest is dropped alone. */
static __always_inline int refuse(struct __sk_buff *skb, int at)
{
    struct packet p = {};
    u32 zero = 0, reason = skb->cb[4] & 127, now = now_tick();
    struct scratch *room = scratch.lookup(&zero);
    struct config *cfg = parse_flow(skb, at, &p, true);
    if (!cfg || !room)
        return drop(reason);
    bool of_host = refused_for_host(reason);
    struct host *h = of_host ? host_of(p.source) : 0;
    if (h)
        h->refused += 1;
    bool told = of_host || reason == DROP_NO_PORT || reason == DROP_NO_BLOCK || reason == DROP_NO_LEASE ||
                reason == DROP_TABLE_FULL || reason == DROP_ALLOW_OUT ||
                (reason == DROP_NO_SESSION && p.proto == IPPROTO_TCP &&
                 (p.tcp_flags & (TCP_ACK | TCP_SYN | TCP_RST)) == TCP_ACK);
    if (told && at_lan(at) && now - room->refused > 8) {
        room->refused = now;
        struct punt *m = new_punt(PUNT_REFUSED);
        if (!m)
            return drop(reason);
        u32 size = skb->len < REFUSED_SAMPLE ? skb->len : REFUSED_SAMPLE;
        m->seq = reason;
        m->ip_offset = ip_at(&p);
        m->frame_size = size;
        punts.perf_submit_skb(skb, size, m, sizeof(*m));
    }
    return drop(reason);
}

#endif
