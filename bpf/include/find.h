/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * find.h: a stage's packet, and its session by the key that the inside host's own packets have: of either family.
 */
#ifndef ALGATE_FIND_H
#define ALGATE_FIND_H

#ifndef SIX
#define parse_again parse_skb
#endif

/* Parses for a stage that takes only what has ports; with `heads` also the head of a fragmented packet. Returns the
 * configuration, 0 if the packet is something else. */
static __always_inline struct config *parse_flow(struct __sk_buff *skb, int at, struct packet *p, bool heads)
{
    struct config *cfg = get_config();
    if (!cfg)
        return 0;
    int parsed = parse_again(skb, cfg, at, p);
#ifdef SIX /* for the verifier's sake the gate on control sessions takes no extension headers; nobody sends any there */
    if (!heads && (p->header_size != IP6_HEADER || !p->source || !p->destination))
        return 0;
#endif
    if (heads && parsed == PARSED_FRAGMENT)
        parsed = parse_head(skb, p);
    return parsed == PARSED_FLOW ? cfg : 0;
}

/* The session of a packet from inside. */
static __always_inline struct session *find_out(const struct packet *p, struct session_key *key)
{
    key_out(key, p);
    return sessions.lookup(key);
}

#endif
