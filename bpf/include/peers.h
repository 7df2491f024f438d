/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * peers.h: whom an inside end point has a session with: address-dependent filtering (RFC 4787 section 5).
 */
#ifndef ALGATE_PEERS_H
#define ALGATE_PEERS_H

#ifndef FILTER_COUNTS_PEERS
#define FILTER_COUNTS_PEERS CONFIG_FILTER_ADF
#endif
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
