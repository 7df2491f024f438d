/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * pass6.h: the last look at an IPv6 packet that goes on as it is: the names of pass.h.
 */
#ifndef ALGATE_PASS6_H
#define ALGATE_PASS6_H

/* Whether a packet would be forwarded to a LAN. */
static __always_inline bool to_inside(struct __sk_buff *skb, const struct config *cfg, const struct packet *p)
{
    return is_lan(cfg, way_of(skb, p, cfg->wan, false));
}

/* Whether its source is an inside host's, by the routes. */
static __always_inline bool from_inside(struct __sk_buff *skb, const struct config *cfg, const struct packet *p)
{
    return is_lan(cfg, way_of(skb, p, cfg->wan, true));
}

static __always_inline int pass(struct __sk_buff *skb, int at)
{
    struct packet p = {};
    struct config *cfg = get_config();
    if (!cfg || parse_again(skb, cfg, at, &p) == PARSED_MALFORMED)
        return drop(p.refused ? p.refused : DROP_MALFORMED);
    if (at == AT_WAN_OUT) { /* neither the gateway's own nor of a LAN */
        if (source_scope(skb, &p) != SCOPE_GLOBAL)
            return drop(DROP_LINK_SCOPE);
        return from_inside(skb, cfg, &p) ? drop(DROP_PRIVATE_SOURCE) : TC_ACT_OK;
    }
    u32 way = way_of(skb, &p, skb->ingress_ifindex, false);
    return !way || devices.lookup(&way) ? TC_ACT_OK : drop(DROP_DEVICE_UNKNOWN);
}

#endif
