/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * ports.h: who owns which public port.
 *
 * The race: a slot's owner moves from 0 by compare-and-swap, so of two CPUs that want one port one loses and looks
 * further; two flows never share a port by accident. References are taken only from a non-zero count: a slot whose
 * count fell to 0 belongs to whoever brought it there, who frees it; a packet that meets it in between is dropped
 * (reason `race`) and repeated by its sender.
 */
#ifndef ALGATE_PORTS_H
#define ALGATE_PORTS_H

#define REFERENCE_TRIES 8
#define ALLOCATE_TRIES 48

static __always_inline bool port_get(struct port_slot *slot) {
    for (int i = 0; i < REFERENCE_TRIES; i++) {
        u64 seen = slot->sessions;
        if (!seen)
            return false;
        if (__sync_val_compare_and_swap(&slot->sessions, seen, seen + 1) == seen)
            return true;
    }
    return false;
}

/* Gives a reference back; the last one frees the port and its mapping. */
static __always_inline void port_put(u32 index, struct port_slot *slot, u8 proto) {
    for (int i = 0; i < REFERENCE_TRIES; i++) {
        u64 seen = slot->sessions;
        if (!seen)
            return;
        if (__sync_val_compare_and_swap(&slot->sessions, seen, seen - 1) != seen)
            continue;
        if (seen != 1)
            return;
        u64 owner = slot->owner;
        struct mapping_key key = {.inside_ip = owner_ip(owner), .inside_port = owner_port(owner), .proto = proto};
        struct mapping *m = mappings.lookup(&key);
        if (m && m->port_index == index)
            mappings.delete(&key);
        slot->last_host = owner_ip(owner);
        slot->stamp = now_tick();
        __sync_val_compare_and_swap(&slot->owner, owner, 0);
        return;
    }
}

/* Claims a free port, with one reference. */
static __always_inline bool port_claim(const struct config *cfg, struct port_slot *slot, u64 owner, u32 now) {
    if (slot->owner)
        return false;
    if (slot->last_host && slot->last_host != owner_ip(owner) && now - slot->stamp < cfg->hold_down)
        return false;
    if (__sync_val_compare_and_swap(&slot->owner, 0, owner) != 0)
        return false;
    slot->stamp = now;
    slot->sessions = 1;
    return true;
}

/* Whether a socket of the gateway would receive what `remote` sends to this public end point. */
static __always_inline bool has_socket(struct __sk_buff *skb, u8 proto, __be32 remote_ip, __be16 remote_port,
                                       __be32 public_ip, __be16 public_port) {
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

/* Gives back a port that was claimed and never used. */
static __always_inline void port_unclaim(struct port_slot *slot, u64 owner) {
    slot->last_host = 0;
    slot->sessions = 0;
    __sync_val_compare_and_swap(&slot->owner, owner, 0);
}

/* A public port for `owner` on one address: `wanted` (host order) itself if free, else a random one of its class
 * (RFC 4787 REQ-3a). `remote` is whom it will talk to. Returns the row, or -1. */
static __always_inline s64 port_allocate(struct __sk_buff *skb, const struct config *cfg, u32 address, u8 proto,
                                         u16 wanted, u64 owner, __be32 remote_ip, __be16 remote_port, u32 now) {
    u32 first = cfg->port_first, last = cfg->port_last;
    if (wanted && wanted < 1024 && proto != IPPROTO_ICMP) {
        first = 1;
        last = 1023;
    }
    u32 span = last - first + 1;
    u32 port = wanted;
    if (port < first || port > last)
        port = first + bpf_get_prandom_u32() % span;
    for (int i = 0; i < ALLOCATE_TRIES; i++) {
        u32 index = port_index(address, proto, port);
        struct port_slot *slot = ports.lookup(&index);
        if (slot && port_claim(cfg, slot, owner, now)) {
            if (!has_socket(skb, proto, remote_ip, remote_port, cfg->public_ip[address & (MAX_PUBLIC - 1)], bpf_htons(port)))
                return index;
            port_unclaim(slot, owner);
        }
        port = first + bpf_get_prandom_u32() % span;
    }
    return -1;
}

#endif
