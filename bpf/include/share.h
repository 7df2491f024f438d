/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * share.h: public ports that serve several destinations, each for an inside end point of its own (RFC 7857 section 3, RFC
 * 6888 section 2). Only where mapping and filtering both depend on address and port: there nobody but the destination itself
 * is ever let in, so the destination says whose a packet is. Any wider filtering, and every session that an ALG watches (an
 * expectation may name its port), needs a port of its own. So does every session where hosts have port blocks: a block is one
 * host's.
 *
 * The race: (public address and port, protocol, remote address and port) is the outside key of a session, and create-if-absent
 * on `shares` is its only arbiter: of two CPUs that want one key one is told to look further, so two flows never have it at
 * once. A share is made by whoever holds a reference on the slot, which can't become another kind or another's meanwhile,
 * and is taken out, before that reference is given back, by whoever ended its session: no other session can have it
 * then, for nobody else could make it. A packet that finds the share and no session yet, or no more, is dropped like any
 * stray. Hold-down keeps a shared port from other kinds of use alone: RFC 6888 REQ-8 C.
 */
#ifndef ALGATE_SHARE_H
#define ALGATE_SHARE_H

#define SHARED_OWNER \
    port_owner(0xffffffff, 0, PORT_SHARED) /* no host's: the last one isn't the one to be kept from others */

static __always_inline bool sharing_allowed(const struct config *cfg)
{
    return cfg->flags & CONFIG_MAPPING_APDM && !cfg->port_block &&
           !(cfg->flags & (CONFIG_FILTER_EIF | CONFIG_FILTER_ADF));
}

static __always_inline struct share_key share_key_of(u32 index, u8 proto, __be32 remote_ip, __be16 remote_port)
{
    struct share_key key = {
        .port_index = index, .remote_ip = remote_ip, .remote_port = proto == IPPROTO_ICMP ? 0 : remote_port};
    return key;
}

/* The owner of a row towards this destination, if that is an inside end point; else 0. */
static __always_inline u64 owner_towards(u32 index, u8 proto, __be32 remote_ip, __be16 remote_port)
{
    u64 owner = inside_owner(index);
    if (owner_kind(owner) != PORT_SHARED)
        return owner;
    struct share_key key = share_key_of(index, proto, remote_ip, remote_port);
    struct share *share = shares.lookup(&key);
    return share ? share->owner : 0;
}

/* One more reference on a port that is shared already. */
static __always_inline bool share_join(u32 index, struct port_slot *slot, u8 proto)
{
    if (slot->owner != SHARED_OWNER || !port_get(slot))
        return false;
    if (slot->owner == SHARED_OWNER)
        return true;
    port_put(index, slot, proto); /* freed and taken for another use in between */
    return false;
}

static __always_inline void share_drop(u32 index, u8 proto, __be32 remote_ip, __be16 remote_port)
{
    struct share_key key = share_key_of(index, proto, remote_ip, remote_port);
    shares.delete(&key);
}

#endif
