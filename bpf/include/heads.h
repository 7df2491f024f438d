/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * heads.h: where first packets go, and the heads of fragmented ones, which are judged like whole packets.
 */
#ifndef ALGATE_HEADS_H
#define ALGATE_HEADS_H

/* To the stage that makes sessions, with word whose the packet is, what its host may not have any more, and whether the table has
 * an entry under this key. */
static __always_inline int next_new_out(struct __sk_buff *skb, const struct config *cfg, const struct packet *p, int at,
                                        const struct session *old, enum speaker who)
{
    u32 spent = who == OF_INSIDE && begins_session(p) ? host_spent(cfg, p) : 0;
    skb->cb[4] = (u32)who << NEW_WHO | (old ? NEW_OLD : 0) | spent;
    return next_stage(skb, STAGE_NEW_OUT, at, DIR_OUT);
}

static __always_inline int fragment_out(struct __sk_buff *skb, const struct config *cfg, struct packet *p, int at)
{
    u32 now = now_tick();
    enum speaker who = speaker_of(skb, cfg, p, at);
    if (!has_ports(p->proto))
        return at == AT_LAN || who != OF_INSIDE ? pass_on(skb, at) : drop(DROP_PROTOCOL);
    if (!is_first_fragment(p))
        return who == OF_GATEWAY && public_slot(cfg, p->source) >= 0 ? TC_ACT_OK
                                                                     : fragment_tail(skb, cfg, p, DIR_OUT, at, now);
    if (parse_head(skb, p) != PARSED_FLOW)
        return drop(head_is_tiny(p) ? DROP_FRAGMENT_TINY : DROP_MALFORMED);
    if (at == AT_LAN && !hairpin_wanted(cfg, p)) /* for the gateway itself */
        return TC_ACT_OK;
    struct session_key key;
    struct session *s = find_out(p, &key);
    if (!s || !session_alive(cfg, s, p->proto, now))
        return next_new_out(skb, cfg, p, at, s, who);
    return s->alg ? drop(DROP_FRAGMENT_CONTROL) : next_stage(skb, STAGE_JUDGE, at, DIR_OUT);
}

static __always_inline int fragment_in(struct __sk_buff *skb, const struct config *cfg, struct packet *p, int at)
{
    u32 now = now_tick();
    if (!has_ports(p->proto))
        return TC_ACT_OK;
    if (!is_first_fragment(p))
        return fragment_tail(skb, cfg, p, DIR_IN, at, now);
    if (parse_head(skb, p) != PARSED_FLOW)
        return drop(head_is_tiny(p) ? DROP_FRAGMENT_TINY : DROP_MALFORMED);
    if (p->proto == IPPROTO_ICMP && p->icmp_type == 8) { /* a long ping of the gateway */
        fragment_remember(p, DIR_IN, p->source, p->destination, now);
        return TC_ACT_OK;
    }
    struct session_key key;
    struct session *s = find_in(cfg, p, &key);
    if (!s || !session_alive(cfg, s, p->proto, now))
        return next_stage(skb, STAGE_NEW_IN, at, DIR_IN);
    return s->alg ? drop(DROP_FRAGMENT_CONTROL) : next_stage(skb, STAGE_JUDGE, at, DIR_IN);
}

#endif
