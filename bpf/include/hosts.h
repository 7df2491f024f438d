/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * hosts.h: what one inside host uses and may use (RFC 6888 sections 4 and 5): sessions, ports, rate of new sessions.
 *
 * The race: counts change atomically, but check and count are two steps, so N CPUs may exceed a limit by N - 1.
 */
#ifndef ALGATE_HOSTS_H
#define ALGATE_HOSTS_H

#define CREDIT 1024 /* of one session */

static __always_inline struct host *host_of(__be32 ip)
{
    struct mapping_key key = {.inside_ip = ip};
    return hosts.lookup(&key);
}

static __always_inline void host_count(__be32 ip, s64 sessions, s64 ports)
{
    struct host *h = host_of(ip);
    if (!h) {
        if (sessions < 0 || ports < 0)
            return;
        struct mapping_key key = {.inside_ip = ip};
        u32 zero = 0;
        struct scratch *room = scratch.lookup(&zero);
        if (!room)
            return;
        __builtin_memset(&room->host, 0, sizeof(room->host));
        hosts.insert(&key, &room->host);
        h = hosts.lookup(&key);
    }
    if (!h) /* no room: this host isn't limited */
        return;
    if (sessions)
        __sync_fetch_and_add(&h->sessions, sessions);
    if (ports)
        __sync_fetch_and_add(&h->ports, ports);
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
    struct host *h = host_of(ip);
    if (!h) {
        host_count(ip, 0, 0);
        h = host_of(ip);
    }
    if (!h)
        return 0;
    if (cfg->max_sessions_per_host && h->sessions >= cfg->max_sessions_per_host)
        return DROP_HOST_SESSIONS;
    if (cfg->new_sessions_per_second && !host_rate_ok(cfg, h, now))
        return DROP_HOST_RATE;
    return 0;
}

static __always_inline bool host_ports_full(const struct config *cfg, __be32 ip)
{
    struct host *h = cfg->max_ports_per_host ? host_of(ip) : 0;
    return h && h->ports >= cfg->max_ports_per_host;
}

#define PEER_TRIES 8

static __always_inline void peer_key_of(struct peer_key *peer, const struct session_key *key)
{
    peer->inside_ip = key->inside_ip;
    peer->remote_ip = key->remote_ip;
    peer->inside_port = key->inside_port;
    peer->proto = key->proto;
    peer->pad = 0;
}

/* Counts a session with this peer; false if it couldn't. An entry that fell to 0 belongs to whoever brought it there,
 * who is about to delete it: nobody counts in it again. */
static __always_inline bool peer_add(const struct session_key *key)
{
    struct peer_key peer;
    u64 one = 1;
    peer_key_of(&peer, key);
    for (int i = 0; i < PEER_TRIES; i++) {
        u64 *known = peers.lookup(&peer);
        u64 seen = known ? *(volatile u64 *)known : 0;
        if (!known && !peers.insert(&peer, &one))
            return true;
        if (known && seen && __sync_val_compare_and_swap(known, seen, seen + 1) == seen)
            return true;
    }
    return false;
}

static __always_inline void peer_drop(const struct session_key *key)
{
    struct peer_key peer;
    peer_key_of(&peer, key);
    u64 *known = peers.lookup(&peer);
    for (int i = 0; known && i < PEER_TRIES; i++) {
        u64 seen = *(volatile u64 *)known;
        if (!seen)
            return;
        if (__sync_val_compare_and_swap(known, seen, seen - 1) != seen)
            continue;
        if (seen == 1)
            peers.delete(&peer);
        return;
    }
}

static __always_inline bool peer_known(const struct session_key *key)
{
    struct peer_key peer;
    peer_key_of(&peer, key);
    return peers.lookup(&peer) != 0;
}

#endif
