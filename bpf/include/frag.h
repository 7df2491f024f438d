/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * frag.h: fragmented packets. The head carries the ports and is translated like any packet; what it became is kept for
 * the tails, which carry none. Fragments go through the stack, which forwards them as they are.
 */
#ifndef ALGATE_FRAG_H
#define ALGATE_FRAG_H

#define FRAGMENT_SECONDS 30 /* reassembly gives up between 15 and 60 s: RFC 1122 section 3.3.2, RFC 791 section 3.2 */

static __always_inline void fragment_key_of(struct fragment_key *key, const struct packet *p, u8 dir) {
    key->source = p->source;
    key->destination = p->destination;
    key->ip_id = p->ip_id;
    key->proto = p->proto;
    key->dir = dir;
}

static __always_inline void fragment_remember(const struct packet *p, u8 dir, __be32 source, __be32 destination, u32 now) {
    struct fragment_key key = {};
    struct fragment f = {.source = source, .destination = destination};
    fragment_key_of(&key, p, dir);
    f.expires = now + (u32)((FRAGMENT_SECONDS * 1000000000ULL) >> TICK_SHIFT);
    fragments.update(&key, &f);
}

/* A tail: only the addresses change, and no transport checksum is in it. */
static __always_inline int fragment_tail(struct __sk_buff *skb, const struct packet *p, u8 dir, u32 now) {
    struct fragment_key key = {};
    fragment_key_of(&key, p, dir);
    struct fragment *f = fragments.lookup(&key);
    if (!f || (s32)(f->expires - now) <= 0)
        return drop(DROP_FRAGMENT_UNKNOWN);
    __be32 source = f->source, destination = f->destination;
    if (put_outer(skb, ETH_HEADER + 12, p->source, source) || put_outer(skb, ETH_HEADER + 16, p->destination, destination))
        return drop(DROP_REWRITE_FAILED);
    count(dir == DIR_OUT ? COUNT_PACKETS_OUT : COUNT_PACKETS_IN, 1);
    count(dir == DIR_OUT ? COUNT_BYTES_OUT : COUNT_BYTES_IN, p->ip_size);
    return TC_ACT_OK;
}

#endif
