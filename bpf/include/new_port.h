/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * new_port.h: two ways to a public port for a session from inside that are programs of their own, since the one that makes
 * sessions is as large as the verifier bears: a shared one, and one that an ended data session gives up.
 *
 * The law of this file: what comes here may begin a session, new_out.h has seen to that.
 */
#ifndef ALGATE_NEW_PORT_H
#define ALGATE_NEW_PORT_H

#define SHARE_TRIES 26 /* tail calls end at 33 */

/* Between two tries, where none is free: has the data session that has been over longest give its port up. */
static __always_inline int finish_for(struct __sk_buff *skb, int at)
{
    struct packet p = {};
    struct config *cfg = parse_flow(skb, at, &p, true);
    if (!cfg)
        return drop(DROP_MALFORMED);
    u32 port = finish_take(skb, cfg, port_index(skb->cb[4] >> NEW_ADDRESS, p.proto, 0) >> 16, p.source);
    if (port)
        skb->cb[2] = port;
    skb->cb[4] &= ~NEW_NONE_FREE;
    stages.call(skb, STAGE_NEW_OUT);
    return drop(DROP_REWRITE_FAILED);
}

/* A session through a port that others may use towards other destinations (share.h). */
static __always_inline int new_shared(struct __sk_buff *skb, int at)
{
    struct packet p = {};
    struct session_key key;
    struct config *cfg = parse_flow(skb, at, &p, true);
    if (!cfg)
        return drop(DROP_MALFORMED);
    u32 now = now_tick();
    key_out(&key, &p);
    u32 refused = host_ports_refused(skb, cfg, p.source);
    if (refused)
        return refuse_new(skb, refused, at);
    struct port_search search = {.owner = port_owner(p.source, p.source_port, PORT_MAPPING),
                                 .remote_ip = p.destination,
                                 .remote_port = p.destination_port,
                                 .wanted = bpf_ntohs(p.source_port),
                                 .port = skb->cb[2],
                                 .proto = p.proto,
                                 .tries = skb->cb[3],
                                 .shared = true,
                                 .address = paired_address(cfg, p.source)};
    s64 index = port_try(skb, cfg, &search, now);
    if (index < 0 && search.tries < SHARE_TRIES) {
        skb->cb[2] = search.port;
        skb->cb[3] = search.tries;
        stages.call(skb, STAGE_SHARE);
    }
    if (index < 0)
        return refuse_new(skb, DROP_NO_PORT, at);
    struct origin o = {.dir = DIR_OUT, .index = index, .made = true, .leaves = true};
    u32 reason = session_create(skb, cfg, &key, &p, &o, now);
    if (!reason)
        return next_made(skb, cfg, &key, 0, true, at, DIR_OUT, STAGE_FRESH);
    host_port(p.source, p.proto, 1);
    release_port(&key, index);
    return refuse_new(skb, reason, at);
}

#endif
