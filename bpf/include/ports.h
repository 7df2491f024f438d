/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * ports.h: who owns which public port.
 *
 * The race: a slot's owner changes from 0 by compare-and-swap, so if two CPUs want one port, one loses and looks
 * further; two flows never share a port by accident. References are taken only from a non-zero count: a slot whose
 * count fell to 0 belongs to whoever took the last one, who frees it; a packet that finds it meanwhile is dropped
 * (reason `race`) and repeated by its sender.
 *
 * Homes: with one public address, an end point that keeps its port number is found by that number, so it needs no entry
 * in `mappings`. An end point must not get a home and an entry at once (RFC 4787 REQ-1): whoever takes a home looks for
 * an entry then, and lends no reference before; whoever makes an entry looks at the home then. One sees the other.
 */
#ifndef ALGATE_PORTS_H
#define ALGATE_PORTS_H

#define REFERENCE_TRIES 8

/* sessions and away as one: compare-and-swap is of 64 bits. */
static __always_inline u64 port_word(const struct port_slot *slot)
{
    return *(volatile const u64 *)&slot->sessions;
}

static __always_inline bool port_get(struct port_slot *slot)
{
    for (int i = 0; i < REFERENCE_TRIES; i++) {
        u64 seen = port_word(slot);
        if (!(u32)seen)
            return false;
        if (__sync_val_compare_and_swap((u64 *)&slot->sessions, seen, seen + 1) == seen)
            return true;
    }
    return false;
}

/* Counts an entry of `mappings` in or out. In: before it is made, so that nobody relies on its absence. */
static __always_inline void mapping_away(__be16 inside_port, u8 proto, s32 change)
{
    u32 home = port_index(0, proto, bpf_ntohs(inside_port));
    struct port_slot *slot = ports.lookup(&home);
    if (slot)
        __sync_fetch_and_add(&slot->away, change);
}

/* Gives a reference back; the last one frees the port and its mapping: then true. */
static __always_inline bool port_put(u32 index, struct port_slot *slot, u8 proto)
{
    u64 seen = 0;
    for (int i = 0; i < REFERENCE_TRIES; i++) {
        seen = port_word(slot);
        if (!(u32)seen || __sync_val_compare_and_swap((u64 *)&slot->sessions, seen, seen - 1) == seen)
            break;
    }
    if ((u32)seen != 1)
        return false;
    u64 owner = slot->owner;
    struct mapping_key key = {.inside_ip = owner_ip(owner), .inside_port = owner_port(owner), .proto = proto};
    struct mapping *m = owner_kind(owner) == PORT_HOME ? 0 : mappings.lookup(&key);
    if (m && m->port_index == index) {
        mappings.delete(&key);
        mapping_away(key.inside_port, proto, -1);
    }
    if (owner_kind(owner) == PORT_SHARED)
        slot->block = 0;
    u32 counted = portblock_of(slot, owner_kind(owner)), now = now_tick();
    slot->forward_id = 0;
    slot->last_host = owner_ip(owner);
    slot->stamp = now;
    if (owner_kind(owner) != PORT_SHARED && owner_kind(owner) != PORT_FORWARD)
        host_hold(host_of(owner_ip(owner)), proto, -1, owner_kind(owner) != PORT_RESERVED);
    if (owner_kind(owner) != PORT_FORWARD)
        pool_count(index >> 16, -1);
    struct config *cfg = get_config();
    if (!cfg || !cfg->hold_down)
        portbits_free(index); /* before the owner goes: the next one's bit must stay */
    __sync_val_compare_and_swap(&slot->owner, owner, 0);
    portblock_leave(counted, now);
    return true;
}

/* Whether a host may have a port that nobody owns: not while hold-down keeps it for another one. */
static __always_inline bool port_open(const struct config *cfg, const struct port_slot *slot, __be32 host, u32 now)
{
    return !slot->last_host || slot->last_host == host || now - slot->stamp >= cfg->hold_down;
}

/* Whether nobody used a port for a while: a server's TIME_WAIT, which has no timestamps to tell connections apart by, would
 * refuse a connection to the same two ports (RFC 9293 section 3.6.1). */
static __always_inline bool port_rested(const struct port_slot *slot, u32 now)
{
    return !slot->last_host || now - slot->stamp >= PORT_REST;
}

/* Claims a free port and takes one reference. `yields`: hold-down keeps it from nobody. */
static __always_inline bool port_claim(const struct config *cfg, u32 index, struct port_slot *slot, u64 owner,
                                       bool yields, u32 now)
{
    if (slot->owner || !(yields || port_open(cfg, slot, owner_ip(owner), now)))
        return false;
    if (__sync_val_compare_and_swap(&slot->owner, 0, owner) != 0)
        return false;
    slot->stamp = now;
    slot->sessions = 1;
    pool_count(index >> 16, 1);
    return true;
}

/* Whether a socket of the gateway would receive what `remote` sends to this public end point. */
static __always_inline bool has_socket(struct __sk_buff *skb, u8 proto, __be32 remote_ip, __be16 remote_port,
                                       __be32 public_ip, __be16 public_port)
{
    struct bpf_sock_tuple tuple = {};
    tuple.ipv4.saddr = remote_ip;
    tuple.ipv4.daddr = public_ip;
    tuple.ipv4.sport = remote_port;
    tuple.ipv4.dport = public_port;
    struct bpf_sock *sk = 0;
    if (proto == IPPROTO_TCP)
        sk = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
    else if (proto == IPPROTO_UDP)
        sk = bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
    if (!sk)
        return false;
    bpf_sk_release(sk);
    return true;
}

/* Gives back a port that was claimed but not used. */
static __always_inline void port_unclaim(u32 index, struct port_slot *slot, u64 owner)
{
    pool_count(index >> 16, -1);
    u32 counted = portblock_of(slot, owner_kind(owner));
    slot->forward_id = 0;
    slot->last_host = 0;
    slot->sessions = 0;
    __sync_val_compare_and_swap(&slot->owner, owner, 0);
    portblock_leave(counted, now_tick());
}

/* The owner of a row if that is an inside end point; 0 if the row is free or the gateway's own. */
static __always_inline u64 inside_owner(u32 index)
{
    struct port_slot *slot = ports.lookup(&index);
    u64 owner = slot ? slot->owner : 0;
    return owner_kind(owner) == PORT_LOCAL ? 0 : owner;
}

#endif
