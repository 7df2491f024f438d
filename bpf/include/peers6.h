/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * peers6.h: whom an inside end point has a session with, for filtering without translation: the names of peers.h. There is
 * no mapping that would say whether an end point is in use, so each is counted here, under a remote address of 0 too.
 */
#ifndef ALGATE_PEERS6_H
#define ALGATE_PEERS6_H

#define FILTER_COUNTS_PEERS (CONFIG_FILTER_ADF | CONFIG_FILTER_EIF)
#define peer_add peer_add_one
#define peer_drop peer_drop_one
#include "peers.h"
#undef peer_add
#undef peer_drop

static __always_inline void peer_drop(const struct session_key *key)
{
    struct session_key any = *key;
    any.remote_ip = 0;
    peer_drop_one(key);
    peer_drop_one(&any);
}

static __always_inline bool peer_add(const struct session_key *key)
{
    struct session_key any = *key;
    any.remote_ip = 0;
    if (!peer_add_one(key))
        return false;
    if (peer_add_one(&any))
        return true;
    peer_drop_one(key);
    return false;
}

/* Whether the filtering profile lets somebody begin a session with an inside end point: RFC 6092 REC-16, REC-33. */
static __always_inline bool peer_admits(const struct config *cfg, const struct session_key *key)
{
    struct session_key any = *key;
    any.remote_ip = 0;
    if (cfg->flags & CONFIG_FILTER_EIF)
        return peer_known(&any);
    return cfg->flags & CONFIG_FILTER_ADF && key->remote_ip && peer_known(key);
}

#endif
