/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * nat64.bpf.c: the programs that turn packets from one family into the other, loaded only where NAT64 is configured. Who may
 * begin a session, through which public port, and what becomes of it, is IPv4's programs' (gateway64.bpf.c), to which an
 * inside host of IPv6 is a handle.
 */
#define SIX
#define TURNS /* packets that are read go on without their extension headers: parse6.h */

#include <uapi/linux/bpf.h>
#include <uapi/linux/icmp.h>
#include <uapi/linux/icmpv6.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/in6.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/ipv6.h>
#include <uapi/linux/pkt_cls.h>
#include <uapi/linux/tcp.h>
#include <uapi/linux/udp.h>

/* What we leave as it is goes on to the filters of others. */
#undef TC_ACT_OK
#define TC_ACT_OK TC_ACT_UNSPEC

#include "include/abi.h"
#include "include/parse.h"
#include "include/csum.h"
#include "include/tuple.h"
#include "include/verifier.h"
#include "include/private.h"
#include "include/maps.h"
#include "include/stats.h"
#include "include/lease.h"
#include "include/window.h"
#include "include/session.h"
#include "include/begin.h"
#include "include/handles.h"
#include "include/bitmap.h"
#include "include/hosts.h"
#include "include/peers6.h"
#include "include/portblock.h"
#include "include/ports.h"
#include "include/share.h"
#include "include/search.h"
#include "include/place.h"
#include "include/kept.h"
#include "include/parse6.h"
#include "include/field6.h"
#include "include/route6.h"
/* What the FIB says of IPv4, under other names. */
#define hop_row hop_row4
#define ask_fib ask_fib4
#define next_hop_of next_hop_of4
#include "include/nexthop.h"
#undef hop_row
#undef ask_fib
#undef next_hop_of
#include "include/xlat.h"
#include "include/turned.h"
#include "include/tell.h"
#include "include/finish.h"
#include "include/options.h"
#include "include/seqadj.h"
#include "include/track.h"
#include "include/decide.h"
#include "include/punt.h"
#include "include/agree.h"
#include "include/named.h"
#include "include/words.h"
#include "include/lines.h"
#include "include/alg.h"
#include "include/ingress6.h"
#include "include/find.h"
#include "include/ways.h"
#include "include/xlat_icmp.h"
#include "include/xlat_skb.h"
#include "include/quote.h"
#include "include/icmp6.h"
#include "include/turn_kept.h"
#include "include/way64.h"
#include "include/tell64.h"
#include "include/turn_out.h"
#include "include/turn_cut.h"
#include "include/turn_in.h"
#include "include/turn_error.h"

int stage_turn_out(struct __sk_buff *skb)
{
    return turn_out(skb, skb->cb[0]);
}

int stage_turn_want(struct __sk_buff *skb)
{
    return turn_want(skb, skb->cb[0]);
}

int stage_cut6(struct __sk_buff *skb)
{
    return cut6(skb);
}

int stage_cut4(struct __sk_buff *skb)
{
    return cut4(skb);
}

int stage_turn_in(struct __sk_buff *skb)
{
    return turn_in(skb, skb->cb[0]);
}

int stage_turn_error_out(struct __sk_buff *skb)
{
    return turn_error_out(skb, skb->cb[0]);
}

int stage_turn_error_in(struct __sk_buff *skb)
{
    return turn_error_in(skb, skb->cb[0]);
}

int stage_tell6(struct __sk_buff *skb)
{
    return told6(skb, skb->cb[0]);
}

int stage_tell4(struct __sk_buff *skb)
{
    return told4(skb, skb->cb[0]);
}
