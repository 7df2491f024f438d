/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * hosts.h: what one inside host uses and may use (RFC 6888 sections 4 and 5): sessions, ports, rate of new sessions.
 *
 * The race: counts change atomically, but check and count are two steps, so N CPUs may exceed a limit by N - 1.
 */
#ifndef ALGATE_HOSTS_H
#define ALGATE_HOSTS_H

#define CREDIT 1024 /* of one session */

/* Under which address a host is counted: an IPv6 one whose /64 counts under that one's handle. Without a branch, which the
 * verifier would follow in all that comes behind each count. */
static __always_inline __be32 counted_as(__be32 ip)
{
#if defined(SIX) || defined(NAT64)
    u32 number = bpf_ntohl(ip), handle = ((number >> 24) - 1) >> 31; /* 1: the first byte is 0 */
    u32 of_network = number / NETWORK_BIT & handle;
    return bpf_htonl(number & ~(of_network * HOSTS_A_NETWORK));
#else
    return ip;
#endif
}

/* A host's row, if it ever began anything. Rows are never removed, so nobody's counts change their place. */
static __always_inline struct host *host_of(__be32 ip)
{
    struct mapping_key key = {.inside_ip = counted_as(ip)};
    struct host *h = hosts.lookup(&key);
    if (h)
        return h;
    key.inside_ip = 0; /* the row of those for whom there was no room */
    return hosts.lookup(&key);
}

/* A host's row, made if it has none. */
static __always_inline struct host *host_made(__be32 ip)
{
    struct mapping_key key = {.inside_ip = counted_as(ip)};
    u32 zero = 0;
    struct host *h = hosts.lookup(&key);
    struct scratch *room = scratch.lookup(&zero);
    if (h || !room)
        return h;
    __builtin_memset(&room->host, 0, sizeof(room->host));
    hosts.insert(&key, &room->host);
    return host_of(ip);
}

/* One public port more or less: `counted` as max_ports_per_host counts them, or reserved. */
static __always_inline void host_hold(struct host *h, u8 proto, s32 change, bool counted)
{
    if (!h)
        return;
    __sync_fetch_and_add(&h->held[proto_class(proto)], change);
    if (counted)
        __sync_fetch_and_add(&h->ports, (s64)change);
}

static __always_inline void host_port(__be32 ip, u8 proto, s32 change)
{
    host_hold(host_of(ip), proto, change, true);
}

/* One session more or less of `pools`' row POOL_SESSIONS, or one port of a block. */
static __always_inline void pool_count(u32 row, s64 change)
{
    struct pool *pool = pools.lookup(&row);
    if (pool)
        __sync_fetch_and_add(&pool->used, change);
}

/* A session that is over: `word` as it was before it was marked dead. */
static __always_inline void host_session_ended(__be32 ip, u16 word)
{
    struct host *h = host_of(ip);
    pool_count(POOL_SESSIONS, -1);
    if (!h)
        return;
    __sync_fetch_and_add(&h->sessions, (s64)-1);
    if (word & BIT_UNANSWERED)
        __sync_fetch_and_add(&h->unanswered, -1);
}

static __always_inline void host_unanswered(__be32 ip, s32 change)
{
    struct host *h = change ? host_of(ip) : 0;
    if (h)
        __sync_fetch_and_add(&h->unanswered, change);
}

/* Token bucket of one second's worth. */
static __always_inline bool host_rate_ok(const struct config *cfg, struct host *h, u32 now)
{
    u64 rate = cfg->new_sessions_per_second, most = rate * CREDIT;
    u64 elapsed = now - h->stamp;
    u64 credit = h->credit + ((elapsed * rate * CREDIT) << TICK_SHIFT) / 1000000000;
    if (elapsed > 1000 || credit > most)
        credit = most;
    h->stamp = now;
    if (credit < CREDIT) {
        h->credit = credit;
        return false;
    }
    h->credit = credit - CREDIT;
    return true;
}

/* Whether the host may have another session: 0 or the drop reason. */
static __always_inline u32 host_refuses(const struct config *cfg, __be32 ip, u32 now)
{
    if (!cfg->max_sessions_per_host && !cfg->new_sessions_per_second)
        return 0;
    struct host *h = host_made(ip);
    if (!h)
        return 0;
    if (cfg->max_sessions_per_host && h->sessions >= cfg->max_sessions_per_host)
        return DROP_HOST_SESSIONS;
    if (cfg->new_sessions_per_second && !host_rate_ok(cfg, h, now))
        return DROP_HOST_RATE;
    return 0;
}

/* A session more: `word` is its state; `made`: its port was made with it. */
static __always_inline void host_session_made(__be32 ip, u16 word, bool made, u8 proto)
{
    struct host *h = host_made(ip);
    pool_count(POOL_SESSIONS, 1);
    if (!h)
        return;
    __sync_fetch_and_add(&h->sessions, (s64)1);
    if (word & BIT_UNANSWERED)
        __sync_fetch_and_add(&h->unanswered, 1);
    if (made)
        host_hold(h, proto, 1, true);
}

#endif
