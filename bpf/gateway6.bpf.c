/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * gateway6.bpf.c: the programs for IPv6, loaded only where it is configured: the same text as gateway.bpf.c's, with parsing,
 * fields, routes and ICMP of its own. The entry programs there hand over what isn't IPv4.
 *
 * An address is a 32-bit handle behind parse6.h (handles.h), so keys, sessions, limits, the ALG gate and what user space
 * reads are the same for both families.
 */
#define SIX

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
#include "include/xlat.h"
#include "include/ingress6.h"
#include "include/find.h"
#include "include/ways.h"
#include "include/leave6.h"
#include "include/pass6.h"
#include "include/quote.h"
#include "include/icmp6.h"
#include "include/fragment6.h"
#include "include/fair.h"
#include "include/refuse.h"
#include "include/stages.h"
#include "include/made.h"
#include "include/create.h"
#include "include/expect.h"
#include "include/new6.h"
#include "include/control.h"
#include "include/control6.h"

static __always_inline bool filtering(void)
{
    struct config6 *six = get_config6();
    return six && six->flags & SIX_FILTER;
}

/* The outbound path up to the point where a session is known. */
static __always_inline int outbound(struct __sk_buff *skb, int at)
{
    struct config *cfg = get_config();
    struct packet p = {};
    if (!cfg || !filtering() || (at == AT_WAN_OUT && !skb->ingress_ifindex)) /* the gateway's own */
        return TC_ACT_OK;
    int parsed = parse_skb(skb, cfg, at, &p);
    if (p.to != SCOPE_GLOBAL) /* multicast and neighbours: the stack's */
        return at == AT_LAN ? TC_ACT_OK : drop(DROP_LINK_SCOPE);
    if (parsed == PARSED_MALFORMED)
        return drop(p.refused ? p.refused : DROP_MALFORMED);
    if (speaker_of(skb, cfg, &p, at) != OF_INSIDE)
        return pass_on(skb, at);
    switch (parsed) {
    case PARSED_FRAGMENT: /* by the stack, which forwards fragments as they are */
        return at == AT_LAN ? pass_on(skb, at) : next_stage(skb, STAGE_FRAGMENT, at, DIR_OUT);
    case PARSED_ICMP_ERROR:
        return at == AT_LAN ? pass_on(skb, at) : next_stage(skb, STAGE_ICMP, at, DIR_OUT);
    case PARSED_OTHER:
        return at == AT_LAN ? pass_on(skb, at) : drop(DROP_PROTOCOL);
    }
    p.fragment = 0; /* said above; here the compiler hears of it */
    u32 now = p.tick;
    struct session_key key;
    struct session *s = find_out(&p, &key);
    if (!s || !session_carries(cfg, s, &p, DIR_OUT, now))
        return next_stage(skb, knows_way(skb, cfg, &p, at) ? STAGE_NEW_OUT : STAGE_WAY, at, DIR_OUT);
    if (s->alg)
        return next_gate(skb, cfg, &p, at, DIR_OUT);
    if (p.proto == IPPROTO_TCP && !session_slides(s, &p, DIR_OUT))
        return next_stage(skb, STAGE_JUDGE, at, DIR_OUT);
    return leave_out(skb, cfg, &p, s, at, now);
}

/* The inbound path up to the point where a session is known. */
/* Whether it says to come from within nat64.prefix. Nobody outside has such an address, and what an inside host answered
 * would begin a session of IPv4 under the gateway's own (RFC 6146 section 3.5, RFC 6052 section 5). */
static __always_inline bool stands_for_ipv4(struct __sk_buff *skb, const struct config *cfg, int at)
{
    struct config6 *six = get_config6();
    struct in6_addr source;
    return six && six->prefix_bits &&
           !bpf_skb_load_bytes(skb, link_header(skb, cfg, at) + 8, &source, sizeof(source)) &&
           xlat_within(&source, prefix_of(six));
}

static __always_inline int inbound(struct __sk_buff *skb, int at)
{
    struct config *cfg = get_config();
    struct packet p = {};
    if (!cfg)
        return TC_ACT_OK;
    if (stands_for_ipv4(skb, cfg, at))
        return drop(DROP_NAT64_LOOP);
    if (!filtering())
        return TC_ACT_OK;
    int parsed = parse_skb(skb, cfg, at, &p);
    if (p.to != SCOPE_GLOBAL)
        return TC_ACT_OK;
    if (parsed == PARSED_MALFORMED)
        return drop(p.refused ? p.refused : DROP_MALFORMED);
    switch (parsed) {
    case PARSED_FRAGMENT:
        return next_stage(skb, STAGE_FRAGMENT, at, DIR_IN);
    case PARSED_ICMP_ERROR:
        return next_stage(skb, STAGE_ICMP, at, DIR_IN);
    case PARSED_OTHER:
        return to_inside(skb, cfg, &p) ? drop(DROP_PROTOCOL) : TC_ACT_OK;
    }
    p.fragment = 0;
    u32 now = p.tick;
    struct session_key key;
    struct session *s = find_in(cfg, &p, &key);
    if (!s || !session_carries(cfg, s, &p, DIR_IN, now))
        return next_stage(skb, STAGE_WAY, at, DIR_IN);
    if (s->alg)
        return next_gate(skb, cfg, &p, at, DIR_IN);
    if (p.proto == IPPROTO_TCP && !session_slides(s, &p, DIR_IN))
        return next_stage(skb, STAGE_JUDGE, at, DIR_IN);
    return leave_in(skb, cfg, &p, s, &key, at, now);
}

int stage6_enter_out(struct __sk_buff *skb)
{
    return outbound(skb, skb->cb[0]);
}

int stage6_enter_in(struct __sk_buff *skb)
{
    return inbound(skb, skb->cb[0]);
}

int stage6_raw(struct __sk_buff *skb)
{
    struct config *cfg = get_config();
    return cfg ? leave_raw(skb, cfg, skb->cb[0]) : drop(DROP_MALFORMED);
}

int stage6_way(struct __sk_buff *skb)
{
    return way(skb, skb->cb[0], skb->cb[1]);
}

int stage6_make(struct __sk_buff *skb)
{
    return make_six(skb, skb->cb[0], skb->cb[1]);
}

int stage6_ends(struct __sk_buff *skb)
{
    return make_ends(skb, skb->cb[0], skb->cb[1]);
}

int stage6_new_out(struct __sk_buff *skb)
{
    return new_out(skb, skb->cb[0]);
}

int stage6_new_in(struct __sk_buff *skb)
{
    return new_in(skb, skb->cb[0]);
}

int stage6_alg(struct __sk_buff *skb)
{
    int at = skb->cb[0];
    return skb->cb[1] ? alg_in(skb, at) : alg_out(skb, at);
}

int stage6_weigh(struct __sk_buff *skb)
{
    return weigh(skb, skb->cb[0], skb->cb[1]);
}

int stage6_refuse(struct __sk_buff *skb)
{
    return refuse(skb, skb->cb[0]);
}

int stage6_judge(struct __sk_buff *skb)
{
    return judge(skb, skb->cb[0], skb->cb[1]);
}

int stage6_begin(struct __sk_buff *skb)
{
    return begin(skb, skb->cb[0], skb->cb[1]);
}

int stage6_leave(struct __sk_buff *skb)
{
    return leave(skb, skb->cb[0], skb->cb[1]);
}

int stage6_fresh(struct __sk_buff *skb)
{
    return leave_fresh(skb, skb->cb[0]);
}

int stage6_tell(struct __sk_buff *skb)
{
    return tell_made(skb, skb->cb[0], skb->cb[1], skb->cb[2]);
}

int stage6_pass(struct __sk_buff *skb)
{
    return pass(skb, skb->cb[0]);
}

int stage6_icmp(struct __sk_buff *skb)
{
    return icmp_passes(skb, skb->cb[0], skb->cb[1]);
}

int stage6_fragment(struct __sk_buff *skb)
{
    return fragment_passes(skb, skb->cb[0], skb->cb[1]);
}

int control6(struct __sk_buff *skb)
{
    return run_control6(skb);
}
