/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * place.h: where a program runs, which program is next, whose a packet is: one text for both families. IPv4's programs and
 * IPv6's never call each other's, but from the entry programs into IPv6's.
 */
#ifndef ALGATE_PLACE_H
#define ALGATE_PLACE_H

#ifdef SIX
#define FAMILY_STAGES STAGES_SIX
#else
#define FAMILY_STAGES 0
#endif

/* Where a program runs; passed between stages in skb->cb[0]. */
enum place {
    AT_LAN,
    AT_WAN_IN,
    AT_WAN_OUT,
    AT_TAP,
    AT_HAIRPIN, /* an inside host's packet, its source translated, on the way to another inside host */
    AT_TURNED,  /* an IPv6 host's packet that has become IPv4, its source a handle: NAT64 */
};

/* Where packets of inside hosts come in. */
static __always_inline bool at_lan(int at)
{
#ifdef NAT64
    return at == AT_LAN || at == AT_TURNED;
#else
    return at == AT_LAN;
#endif
}

/* Whether the source of an outbound packet was judged before it came here. */
static __always_inline bool at_judged(int at)
{
#ifdef NAT64
    return at >= AT_TAP; /* and no hairpin: one comparison, for the verifier's sake */
#else
    return at == AT_TAP;
#endif
}

/* Whether a packet can't go to the stack, which would refuse its source: it must be redirected or dropped. */
static __always_inline bool at_turned(int at)
{
#ifdef NAT64
    return at == AT_TURNED;
#else
    return false;
#endif
}

/* skb->tc_index of a packet that a shortcut has translated: WAN egress runs again after the redirect. */
#define TRANSLATED 0xa17e

/* The same of a packet that the program in front of an ingress filter has had, and left as it is. */
#define SEEN 0xa17f

/* skb->mark of a frame of the helper, translated already, that the stack gets as if the WAN had received it: WAN ingress
 * runs again. Between namespaces the kernel clears a mark, so no neighbour can write it. */
#define MARK_RECEIVED 0xa17e0001

/* BCC 0.26 declares this helper with three arguments; the kernel takes four (Linux 5.10). */
static long (*redirect_neigh)(u32 ifindex, struct bpf_redir_neigh *params, int size, u64 flags) = (void *)152;

/* Continues in another program of the array. An empty slot means a half-loaded gateway: refuse rather than leak. */
static __always_inline int next_stage_told(struct __sk_buff *skb, u32 stage, int at, u8 dir, u32 told)
{
    skb->cb[0] = at;
    skb->cb[1] = dir;
    skb->cb[2] = told;
    skb->cb[3] = 0;
    stages.call(skb, stage + FAMILY_STAGES);
    return drop(DROP_REWRITE_FAILED);
}

static __always_inline int next_stage(struct __sk_buff *skb, u32 stage, int at, u8 dir)
{
    return next_stage_told(skb, stage, at, dir, 0);
}

/* Whether a device carries bare IP packets (ppp, tun and the like). */
static __always_inline bool is_bare(const struct config *cfg, u32 ifindex)
{
    if (cfg->wan == ifindex)
        return cfg->wan_mac[6];
    for (int i = 0; i < MAX_LANS; i++) {
        if (!cfg->lan[i])
            return false;
        if (cfg->lan[i] == ifindex)
            return cfg->lan_mac[i * 8 + 6];
    }
    return false;
}

/* Counts what is redirected, and marks it: WAN egress runs again. */
static __always_inline void note_redirected(struct __sk_buff *skb)
{
    count(COUNT_TC_REDIRECTED, 1);
    skb->tc_index = TRANSLATED;
}

/* Out by a device, its neighbour's addresses written already. */
static __always_inline int redirect_near(struct __sk_buff *skb, u32 ifindex)
{
    note_redirected(skb);
    return bpf_redirect(ifindex, 0);
}

/* Out by the next hop's device. One without Ethernet headers has no neighbours either, and a packet from one gets its
 * header before it can go to a neighbour. */
static __always_inline int redirect_by(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                       u32 ifindex, struct bpf_redir_neigh *hop)
{
    note_redirected(skb);
    if (is_bare(cfg, ifindex))
        return bpf_redirect(ifindex, 0);
    if (!ip_at(p) && bpf_skb_change_head(skb, ETH_HEADER, 0))
        return drop(DROP_REWRITE_FAILED);
    return redirect_neigh(ifindex, hop, sizeof(*hop), 0);
}

#if defined(SIX) || defined(NAT64)
/* Asks the FIB of IPv6. A WAN that carries less than 1280 bytes has no IPv6, and NAT64 needs none there: then the answer is that for
 * what comes by the LAN. */
static __always_inline long fib_six(struct __sk_buff *skb, const struct config *cfg, struct bpf_fib_lookup *fib)
{
    long rc = bpf_fib_lookup(skb, fib, sizeof(*fib), 0);
#if defined(TURNS) || defined(NAT64)
    if (rc == BPF_FIB_LKUP_RET_FWD_DISABLED && fib->ifindex == cfg->wan) {
        fib->ifindex = cfg->lan[0];
        rc = bpf_fib_lookup(skb, fib, sizeof(*fib), 0);
    }
#endif
    return rc;
}
#endif

/* Whether this filter's packet has been had in front of it. A filter that has none in front is attached with another class:
 * tc_index survives the way between namespaces, so a neighbour could write it. */
static __always_inline bool had_in_front(struct __sk_buff *skb)
{
    bool had = skb->tc_index == SEEN && skb->tc_classid == CLASS_BEHIND;
    skb->tc_index = 0;
    return had;
}

/* Bytes before the IP header of a packet that is at `at`. */
static __always_inline u32 link_header(struct __sk_buff *skb, const struct config *cfg, int at)
{
    if (at == AT_WAN_IN || at == AT_WAN_OUT)
        return cfg->wan_mac[6] ? 0 : ETH_HEADER;
    if (at_turned(at))
        return ETH_HEADER;
    return is_bare(cfg, skb->ingress_ifindex) ? 0 : ETH_HEADER;
}

/* A frame of the helper for the gateway's own stack: as if the WAN device had just received it. From any other device it
 * would fall to rp_filter. */
static __always_inline int receive_at_wan(struct __sk_buff *skb, const struct config *cfg)
{
    if (bpf_skb_store_bytes(skb, 0, cfg->wan_mac, 6, 0))
        return drop(DROP_REWRITE_FAILED);
    skb->mark = MARK_RECEIVED;
    return bpf_redirect(cfg->wan, BPF_F_INGRESS);
}

static __always_inline bool is_lan(const struct config *cfg, u32 ifindex)
{
    for (int i = 0; i < MAX_LANS; i++) {
        if (!cfg->lan[i])
            return false;
        if (cfg->lan[i] == ifindex)
            return true;
    }
    return false;
}

/* skb->cb[4] while a session from inside is made: what next_new_out says in its low bits, what is between two tries above. */
#define NEW_OLD 1             /* the table has an entry under this key */
#define NEW_WHO 1             /* from this bit on, two bits: enum speaker */
#define NEW_SESSIONS_SPENT 16 /* the host may not have another session: fair.h */
#define NEW_UNANSWERED 32
#define NEW_PORTS_SPENT 64 /* nor another port */
#define NEW_SAID 0x77      /* all those bits */
#define NEW_NONE_FREE 8    /* no port seems free */
#define NEW_BOUND 128      /* the public address is that of its control session */
#define WANTS_BLOCK 0x101  /* no drop reason: STAGE_BLOCK finds the port to try */
#define NEW_ADDRESS 8      /* from this bit on: the place of the public address */

/* Whose a packet is. */
enum speaker {
    OF_INSIDE,
    OF_GATEWAY, /* made by this host, or given a public address by another NAT on it */
    OF_OTHERS,  /* forwarded from a device that is neither LAN nor WAN: a container, a VPN, a routed network */
};

/* Leaves a packet to the stack, or at WAN egress to the device, as it is, after a last look (pass.h). */
static __always_inline int pass_on(struct __sk_buff *skb, int at)
{
    if (at_turned(at))
        return drop(DROP_NAT64_ROUTE);
    if (at != AT_LAN && at != AT_WAN_OUT)
        return TC_ACT_OK;
    OPAQUE(skb); /* else the compiler keeps the address of a member, which the verifier refuses */
    return next_stage(skb, STAGE_PASS, at, DIR_OUT);
}

/* The public address of an inside host: always the same one (paired pooling, RFC 4787 REQ-2). */
static __always_inline u32 paired_address(const struct config *cfg, __be32 inside_ip)
{
    u32 hash = inside_ip * 0x9E3779B1;
    return cfg->public_count > 1 ? (hash >> 16) % cfg->public_count : 0;
}

#endif
