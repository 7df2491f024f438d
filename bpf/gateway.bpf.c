/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * gateway.bpf.c: the entry points, each a list of gates: parse, look up, gate, rewrite, account, forward.
 *
 * TC is the complete path. WAN egress and WAN ingress are authoritative; LAN ingress is the shortcut that translates and
 * redirects what the stack has nothing to add to. XDP (xdp.h) is a faster copy of just the established path. All the
 * rest is in the stages of the program array: new sessions, the ALG gate, ICMP errors, fragments.
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/icmp.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/pkt_cls.h>
#include <uapi/linux/tcp.h>
#include <uapi/linux/udp.h>

/* What we leave as it is goes on to the filters of others, also to those behind ours: no program here ends their chain. */
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
#include "include/bitmap.h"
#include "include/hosts.h"
#include "include/peers.h"
#include "include/portblock.h"
#include "include/ports.h"
#include "include/share.h"
#include "include/nat.h"
#include "include/search.h"
#include "include/nexthop.h"
#include "include/place.h"
#include "include/forward.h"
#ifdef NAT64
#include <uapi/linux/in6.h>
#include <uapi/linux/ipv6.h>
#include "include/xlat.h"
#endif
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
#include "include/ingress.h"
#include "include/find.h"
#include "include/quote.h"
#include "include/icmp.h"
#include "include/frag.h"
#include "include/ways.h"
#ifdef NAT64
#include "include/kept.h"
#include "include/turn_kept.h"
#endif
#include "include/leave.h"
#include "include/pass.h"
#include "include/fair.h"
#include "include/refuse.h"
#include "include/stages.h"
#ifdef NAT64
#include "include/retell.h"
#endif
#include "include/heads.h"
#include "include/made.h"
#include "include/create.h"
#include "include/expect.h"
#include "include/new_out.h"
#include "include/new_port.h"
#include "include/new_in.h"
#include "include/control.h"
#include "include/new_block.h"
#include "include/xdp.h"
#ifdef NAT64
#include "include/xdp_turn.h"
#endif

/* What is not IPv4. Where the programs for IPv6 are loaded, they have it; else it goes on as it came. */
static __always_inline int other_family(struct __sk_buff *skb, int at, u32 stage)
{
    if (is_plain_six(skb)) {
        skb->cb[0] = at;
#ifdef NAT64
        if (at == AT_LAN && stage == STAGE_ENTER_OUT) /* to STAGE_RAW, 0 is a direction */
            stages.call(skb, STAGE_TURN_OUT);
#endif
        stages.call(skb, STAGES_SIX + stage);
    }
    return TC_ACT_OK;
}

/* The outbound path up to the point where a session is known. */
static __always_inline int outbound(struct __sk_buff *skb, int at)
{
    struct config *cfg = get_config();
    struct packet p = {};
    if (!cfg || (at == AT_LAN && skb->pkt_type != PACKET_HOST_TYPE))
        return TC_ACT_OK;
    if (!is_plain_ip(skb)) {
#ifdef NAT64
        int turned = at == AT_LAN && is_plain_six(skb) ? turn_out_kept(skb, cfg, now_tick()) : -1;
        if (turned >= 0)
            return turned;
#endif
        return other_family(skb, at, STAGE_ENTER_OUT);
    }
    int parsed = parse_skb(skb, cfg, at, &p);
    if (parsed == PARSED_MALFORMED)
        return drop(DROP_MALFORMED);
    enum speaker who = speaker_of(skb, cfg, &p, at);
    bool inside = who == OF_INSIDE;
    if (lease_is_gone(cfg) && inside)
        return at == AT_LAN ? pass_on(skb, at) : drop(DROP_NO_LEASE);
    switch (parsed) {
    case PARSED_FRAGMENT: /* by the stack, which forwards fragments as they are, but for those to another inside host */
        return at == AT_LAN && public_slot(cfg, p.destination) < 0 ? pass_on(skb, at)
                                                                   : next_stage(skb, STAGE_FRAGMENT, at, DIR_OUT);
    case PARSED_ICMP_ERROR:
        return at == AT_LAN && public_slot(cfg, p.destination) < 0 ? pass_on(skb, at)
                                                                   : next_stage(skb, STAGE_ICMP, at, DIR_OUT);
    case PARSED_OTHER:
        return at == AT_LAN || !inside ? pass_on(skb, at) : drop(DROP_PROTOCOL);
    }
    p.fragment = 0;                                           /* said above; here the compiler hears of it */
    if (turned_source(&p) && at != AT_TURNED && at != AT_TAP) /* on no wire: it stands for somebody else */
        return drop(DROP_SPOOFED_INSIDE);
    if (is_group(p.destination))
        return at == AT_LAN ? TC_ACT_OK : pass_on(skb, at);
    if (p.source == p.destination && inside)
        return drop(DROP_LOOP);
    if (is_martian(p.destination) && inside)
        return drop(DROP_MARTIAN_DESTINATION);
    u32 now = now_tick();
    struct session_key key;
    struct session *s = find_out(&p, &key);
    if (!s || !session_carries(cfg, s, &p, DIR_OUT, now))
        return next_new_out(skb, cfg, &p, at, s, who);
    if (s->alg)
        return next_gate(skb, cfg, &p, at, DIR_OUT);
    if (p.proto == IPPROTO_TCP && !session_slides(s, &p, DIR_OUT))
        return next_stage(skb, STAGE_JUDGE, at, DIR_OUT);
    return leave_out(skb, cfg, &p, s, at, now);
}

/* The inbound path up to the point where a session is known. */
static __always_inline int inbound(struct __sk_buff *skb, int at)
{
    struct config *cfg = get_config();
    struct packet p = {};
    if (!cfg || (at == AT_WAN_IN && skb->pkt_type != PACKET_HOST_TYPE))
        return TC_ACT_OK;
    if (!is_plain_ip(skb))
        return at == AT_HAIRPIN ? TC_ACT_OK : other_family(skb, at, STAGE_ENTER_IN);
    int parsed = parse_skb(skb, cfg, at, &p);
    if (parsed == PARSED_MALFORMED)
        return drop(DROP_MALFORMED);
    int address = public_slot(cfg, p.destination);
    if (address < 0)
        return not_public(skb, cfg, &p);
    if (lease_is_gone(cfg))
        return drop(DROP_NO_LEASE);
    if (parsed == PARSED_FRAGMENT)
        return next_stage(skb, STAGE_FRAGMENT, at, DIR_IN);
    if (parsed == PARSED_ICMP_ERROR)
        return next_stage(skb, STAGE_ICMP, at, DIR_IN);
    if (parsed == PARSED_OTHER || (p.proto == IPPROTO_ICMP && p.icmp_type == 8))
        return TC_ACT_OK;
    p.fragment = 0;
    u32 now = now_tick();
    struct session_key key;
    struct session *s = find_in_at(&p, address, &key);
    if (!s || !session_carries(cfg, s, &p, DIR_IN, now))
        return next_stage(skb, STAGE_NEW_IN, at, DIR_IN);
    if (s->alg)
        return next_gate(skb, cfg, &p, at, DIR_IN);
    if (p.proto == IPPROTO_TCP && !session_slides(s, &p, DIR_IN))
        return next_stage(skb, STAGE_JUDGE, at, DIR_IN);
#ifdef NAT64
    int turned = at == AT_WAN_IN && is_turned(key.inside_ip) ? turn_in_kept(skb, cfg, &p, s, &key, now) : -1;
    if (turned >= 0)
        return turned;
#endif
    return leave_in(skb, cfg, &p, s, &key, at, now);
}

int tc_lan(struct __sk_buff *skb)
{
    return had_in_front(skb) ? TC_ACT_OK : outbound(skb, AT_LAN);
}

static __always_inline int wan_in(struct __sk_buff *skb)
{
    if (skb->mark == MARK_RECEIVED) {
        skb->mark = 0;
        return TC_ACT_OK;
    }
    return inbound(skb, AT_WAN_IN);
}

int tc_wan_in(struct __sk_buff *skb)
{
    return had_in_front(skb) ? TC_ACT_OK : wan_in(skb);
}

/* The same on the devices' own hooks (tcx, Linux 6.6), in front of those filters: what leaves from here never meets the
 * classifier, and what doesn't is marked for the filter behind. If one of the two is taken off, the other does it all. */
int tcx_lan(struct __sk_buff *skb)
{
    skb->tc_index = SEEN;
    return outbound(skb, AT_LAN);
}

int tcx_wan_in(struct __sk_buff *skb)
{
    skb->tc_index = SEEN;
    return wan_in(skb);
}

int tc_wan_out(struct __sk_buff *skb)
{
    if (skb->tc_index == TRANSLATED) {
        skb->tc_index = 0;
        return TC_ACT_OK;
    }
    return outbound(skb, AT_WAN_OUT);
}

/* Frames from the helper. Nothing may fall through to the stack, which would refuse them as martians. */
int tc_tap(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    struct config *cfg = get_config();
    if (!cfg || data + ETH_HEADER > data_end)
        return drop(DROP_MALFORMED);
    u8 kind = *(u8 *)data;
    count(COUNT_REINJECTED, 1);
    int rc = TC_ACT_OK;
    if (kind == INJECT_OUT)
        rc = outbound(skb, AT_TAP);
    else if (kind == INJECT_IN)
        rc = inbound(skb, AT_TAP);
    else if (kind == INJECT_RAW_OUT || kind == INJECT_RAW_IN) {
        if (!is_plain_ip(skb))
            other_family(skb, kind == INJECT_RAW_OUT, STAGE_RAW);
        return leave_raw(skb, cfg, kind == INJECT_RAW_OUT);
    }
    return rc == TC_ACT_OK ? drop(DROP_HELPER_ASTRAY) : rc;
}

int stage_new_out(struct __sk_buff *skb)
{
    return new_out(skb, skb->cb[0]);
}

int stage_finish(struct __sk_buff *skb)
{
    return finish_for(skb, skb->cb[0]);
}

int stage_share(struct __sk_buff *skb)
{
    return new_shared(skb, skb->cb[0]);
}

int stage_block(struct __sk_buff *skb)
{
    return new_block(skb, skb->cb[0]);
}

int stage_block_control(struct __sk_buff *skb)
{
    return control_block(skb);
}

int stage_new_in(struct __sk_buff *skb)
{
    return new_in(skb, skb->cb[0]);
}

int stage_alg(struct __sk_buff *skb)
{
    int at = skb->cb[0];
#ifdef NAT64
    u32 zero = 0;
    struct scratch *room = scratch.lookup(&zero);
    if (room)
        RETELL(room) = 0;
#endif
    return skb->cb[1] ? alg_in(skb, at) : alg_out(skb, at);
}

int stage_weigh(struct __sk_buff *skb)
{
    return weigh(skb, skb->cb[0], skb->cb[1]);
}

int stage_refuse(struct __sk_buff *skb)
{
    return refuse(skb, skb->cb[0]);
}

int stage_judge(struct __sk_buff *skb)
{
    return judge(skb, skb->cb[0], skb->cb[1]);
}

int stage_begin(struct __sk_buff *skb)
{
    return begin(skb, skb->cb[0], skb->cb[1]);
}

int stage_leave(struct __sk_buff *skb)
{
    return leave(skb, skb->cb[0], skb->cb[1]);
}

int stage_fresh(struct __sk_buff *skb)
{
    return leave_fresh(skb, skb->cb[0]);
}

int stage_tell(struct __sk_buff *skb)
{
    return tell_made(skb, skb->cb[0], skb->cb[1], skb->cb[2]);
}

int stage_pass(struct __sk_buff *skb)
{
    return pass(skb, skb->cb[0]);
}

int stage_icmp(struct __sk_buff *skb)
{
    struct config *cfg = get_config();
    struct packet p = {};
    int at = skb->cb[0];
    if (!cfg || parse_skb(skb, cfg, at, &p) != PARSED_ICMP_ERROR)
        return drop(DROP_MALFORMED);
    if (skb->cb[1] == DIR_OUT)
        return icmp_error_out(skb, cfg, &p, at, now_tick());
    return icmp_error_in(skb, cfg, &p, at, now_tick());
}

int stage_hairpin(struct __sk_buff *skb)
{
    return inbound(skb, AT_HAIRPIN);
}

int stage_fragment(struct __sk_buff *skb)
{
    struct config *cfg = get_config();
    struct packet p = {};
    int at = skb->cb[0];
    if (!cfg || parse_skb(skb, cfg, at, &p) != PARSED_FRAGMENT)
        return drop(DROP_MALFORMED);
    if (overlaps_header(&p))
        return drop(DROP_FRAGMENT_OVERLAP);
    if (skb->cb[1] == DIR_OUT)
        return fragment_out(skb, cfg, &p, at);
    return fragment_in(skb, cfg, &p, at);
}

#ifdef NAT64
int stage_retell(struct __sk_buff *skb)
{
    return retell(skb, skb->cb[0], skb->cb[1]);
}

int stage_from6(struct __sk_buff *skb)
{
    return outbound(skb, AT_TURNED);
}
#endif

int control(struct __sk_buff *skb)
{
    return run_control(skb);
}

int xdp_lan(struct xdp_md *ctx)
{
    return xdp_outbound(ctx);
}

int xdp_wan(struct xdp_md *ctx)
{
    return xdp_inbound(ctx);
}
