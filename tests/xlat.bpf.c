/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * xlat.bpf.c: every packet to the other family, 2001:db8:64::/96 before all IPv4 addresses; for tests of
 * xlat_skb.h alone. (The sum of 64:ff9b::/96 is zero: with that, a transport checksum would never change.)
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
    prefix->ip.in6_u.u6_addr32[0] = bpf_htonl(0x20010db8);
    prefix->ip.in6_u.u6_addr32[1] = bpf_htonl(0x640000);
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

/* The packet behind at most one extension header. */
static __always_inline bool read6(struct __sk_buff *skb, struct xlat_six *six)
{
    u32 at = ETH_HLEN + sizeof(six->ip);
    u8 option[2] = {};
    if (bpf_skb_load_bytes(skb, ETH_HLEN, &six->ip, sizeof(six->ip)))
        return false;
    six->proto = six->ip.nexthdr;
    if (six->proto == IPPROTO_FRAGMENT) {
        if (bpf_skb_load_bytes(skb, at, &six->fragment, sizeof(six->fragment)))
            return false;
        six->fragmented = true;
        six->extra = sizeof(six->fragment);
        six->proto = six->fragment.next;
    } else if (six->proto == IPPROTO_DSTOPTS) {
        if (bpf_skb_load_bytes(skb, at, option, sizeof(option)))
            return false;
        six->extra = 8 + 8 * option[1];
        six->proto = option[0];
    }
    six->size = bpf_ntohs(six->ip.payload_len) - six->extra;
    return true;
}

int to4(struct __sk_buff *skb)
{
    struct xlat_prefix prefix;
    struct xlat_six six = {};
    struct iphdr to = {};
    prefix_is(&prefix);
    if (!read6(skb, &six))
        return TC_ACT_SHOT;
    if (!xlat_extract(&six.ip.saddr, &prefix, &to.saddr) || !xlat_extract(&six.ip.daddr, &prefix, &to.daddr))
        return TC_ACT_SHOT;
    return xlat_turn4(skb, &six, 1, 7, &to) ? TC_ACT_SHOT : TC_ACT_OK;
}
