/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * fair.h: what one host leaves to the others.
 *
 * The law of this file: a host may go on as long as it has less than its share of what it has and what is free (with a share
 * of a half: less than what is free), as buffers of switches are shared (Choudhury and Hahne, 1998). So one host can take
 * half of everything, N hosts together N parts of N + 1, and some part is always left for whoever has little. Nothing is
 * taken from anybody here: unanswered sessions, and those that are over, are reclaimed by the sweep (gc.py).
 *
 * The race: as in hosts.h, N CPUs may exceed a share by N - 1.
 */
#ifndef ALGATE_FAIR_H
#define ALGATE_FAIR_H

/* Whether a host that has `own` has its share of a pool of `most`. */
static __always_inline bool share_spent(const struct config *cfg, u32 own, u32 row, u32 most)
{
    struct pool *pool = pools.lookup(&row);
    u64 used = pool ? pool->used : 0;
    u64 left = used < most ? most - used : 0;
    return cfg->share_own && (s32)own >= SHARE_FLOOR && (u64)own * cfg->share_own >= left * cfg->share_free;
}

static __always_inline bool sessions_spent(const struct config *cfg, const struct host *h)
{
    return share_spent(cfg, h->sessions, POOL_SESSIONS, cfg->max_sessions);
}

/* Where ports serve many destinations nobody knows how many are left towards one: a fixed part of the range, then. */
static __always_inline bool ports_spent(const struct config *cfg, const struct host *h, u8 proto, u32 address)
{
    u32 own = h->held[proto_class(proto)], most = cfg->port_last - cfg->port_first + 1;
    if (most <= SHARE_RANGE)
        return false;
    if (sharing_allowed(cfg))
        return cfg->share_own && (s32)own >= SHARE_FLOOR &&
               (u64)own * SHARE_WHOLE >= (u64)(most - most / 8) * cfg->share_free;
    return share_spent(cfg, own, port_index(address, proto, 0) >> 16, most);
}

/* What a host may not begin any more, as bits of skb->cb[4]. Asked once for each first packet, before the stage that makes
 * sessions, which is as large as the verifier bears. */
static __always_inline u32 host_spent(const struct config *cfg, const struct packet *p)
{
    struct host *h = cfg->share_own || cfg->max_unanswered_per_host ? host_made(p->source) : 0;
    if (!h)
        return 0;
    u32 unanswered = p->proto == IPPROTO_TCP && cfg->max_unanswered_per_host &&
                     (s32)h->unanswered >= (s32)cfg->max_unanswered_per_host;
    return (unanswered ? NEW_UNANSWERED : 0) | (sessions_spent(cfg, h) ? NEW_SESSIONS_SPENT : 0) |
           (ports_spent(cfg, h, p->proto, paired_address(cfg, p->source)) ? NEW_PORTS_SPENT : 0);
}

/* Why the host may not have another port, 0: it may. */
static __always_inline u32 host_ports_refused(struct __sk_buff *skb, const struct config *cfg, __be32 ip)
{
    if (lease_lapsed(cfg))
        return DROP_NO_LEASE;
    if (skb->cb[4] & NEW_PORTS_SPENT)
        return DROP_SHARE_PORTS;
    struct host *h = cfg->max_ports_per_host ? host_of(ip) : 0;
    return h && h->ports >= cfg->max_ports_per_host ? DROP_HOST_PORTS : 0;
}

#endif
