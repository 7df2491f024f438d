/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * xlat.bpf.c: every packet to the other family, 64:ff9b::/96 before all IPv4 addresses; for tests of xlat_skb.h alone.
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/in6.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/ipv6.h>
#include <uapi/linux/pkt_cls.h>

#include "../bpf/include/csum.h"
#include "../bpf/include/xlat.h"
#include "../bpf/include/xlat_icmp.h"
#include "../bpf/include/xlat_skb.h"

static __always_inline void prefix_is(struct xlat_prefix *prefix)
{
    __builtin_memset(prefix, 0, sizeof(*prefix));
    prefix->ip.in6_u.u6_addr32[0] = bpf_htonl(0x64ff9b);
    prefix->bits = 96;
}

int to6(struct __sk_buff *skb)
{
    struct xlat_prefix prefix;
    struct iphdr ip;
    struct ipv6hdr to = {};
    prefix_is(&prefix);
    if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
        return TC_ACT_SHOT;
    xlat_embed(&to.saddr, &prefix, ip.saddr);
    xlat_embed(&to.daddr, &prefix, ip.daddr);
    return xlat_turn6(skb, &ip, bpf_ntohs(ip.tot_len) - sizeof(ip), &to) ? TC_ACT_SHOT : TC_ACT_OK;
}

int to4(struct __sk_buff *skb)
{
    struct xlat_prefix prefix;
    struct ipv6hdr ip;
    struct iphdr to = {};
    prefix_is(&prefix);
    if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
        return TC_ACT_SHOT;
    if (!xlat_extract(&ip.saddr, &prefix, &to.saddr) || !xlat_extract(&ip.daddr, &prefix, &to.daddr))
        return TC_ACT_SHOT;
    return xlat_turn4(skb, &ip, bpf_ntohs(ip.payload_len), 7, &to) ? TC_ACT_SHOT : TC_ACT_OK;
}
