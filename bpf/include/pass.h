/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * pass.h: the last look at a packet that goes on as it is: nothing from inside may reach the outside that way.
 *
 * The law of this file: it sees what no gate wanted, and asks the kernel afresh, since a kept answer may be older than a
 * device. At LAN ingress the question is by which device the stack would send it: one that came after the daemon's last
 * look may be a new WAN without programs. At WAN egress it is whether the outside may see its source.
 */
#ifndef ALGATE_PASS_H
#define ALGATE_PASS_H

static __always_inline bool on_wan_link(__be32 ip)
{
    struct exempt_key key = {.prefix_len = 32, .address = ip};
    return wan_networks.lookup(&key) != 0;
}

/* The device by which a packet with these addresses would leave, 0 if the stack would not forward it. Asked for the smallest
 * packet: with no size the kernel holds the skb's own against the device, and one that is too large for it had no way. */
static __always_inline u32 way_out(struct __sk_buff *skb, const struct packet *p, __be32 source, __be32 destination,
                                   u32 from)
{
    struct bpf_fib_lookup fib = {};
    long rc = ask_fib(skb, p, source, destination, from, sizeof(struct iphdr), &fib);
    return rc == BPF_FIB_LKUP_RET_SUCCESS || rc == BPF_FIB_LKUP_RET_NO_NEIGH ? fib.ifindex : 0;
}

static __always_inline bool device_known(u32 ifindex)
{
    return !ifindex || devices.lookup(&ifindex);
}

/* Whether the outside may see this source untranslated. It may if it is a public address of ours; or of a network on the
 * WAN's own link, private ones too (a modem's, or all of them where the gateway stands behind another NAT); or if it is not
 * private and, unless the gateway itself speaks, not an inside host's: a routed network's. */
static __always_inline bool source_is_fit(struct __sk_buff *skb, const struct config *cfg, const struct packet *p)
{
    if (public_slot(cfg, p->source) >= 0 || on_wan_link(p->source))
        return true;
    if (is_private(p->source))
        return false;
    return !skb->ingress_ifindex || !is_lan(cfg, way_out(skb, p, p->destination, p->source, cfg->wan));
}

static __always_inline int pass(struct __sk_buff *skb, int at)
{
    struct packet p = {};
    struct config *cfg = get_config();
    if (!cfg || parse_skb(skb, cfg, at, &p) == PARSED_MALFORMED)
        return drop(DROP_MALFORMED);
    if (at == AT_WAN_OUT)
        return source_is_fit(skb, cfg, &p) ? TC_ACT_OK : drop(DROP_PRIVATE_SOURCE);
    return device_known(way_out(skb, &p, p.source, p.destination, skb->ingress_ifindex)) ? TC_ACT_OK
                                                                                         : drop(DROP_DEVICE_UNKNOWN);
}

#endif
