/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * turn_out.h: NAT64 from inside: an IPv6 host's packet to an address within the prefix becomes IPv4, with the host's handle for
 * its source, and goes on to IPv4's programs (RFC 6146 section 3.5, RFC 7915 section 5).
 *
 * The law of this file: nothing of a packet is changed before its way is known, for what has become IPv4 can't go back; whom
 * it is refused to is told by the packet as it came (tell64.h). The source must be one that the LAN's routes lead to, which
 * is asked for with every answer of the FIB. Whoever may begin a session has its handle asked for.
 */
#ifndef ALGATE_TURN_OUT_H
#define ALGATE_TURN_OUT_H

/* To the filter of IPv6, if there is one. */
static __always_inline int not_turned(struct __sk_buff *skb, int at)
{
    skb->cb[0] = at;
    stages.call(skb, STAGES_SIX + STAGE_ENTER_OUT);
    return TC_ACT_OK;
}

/* Whether the LAN's routes lead to its source, by the FIB's last answer or anew: the row where that is kept in `kept`. */
static __always_inline bool source_stands(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                          u32 now, struct hop6 **kept)
{
    u32 row = hop_row4(p->source, 0), from = skb->ingress_ifindex;
    OPAQUE(from);
    struct hop6 *h = p->source ? hops6.lookup(&row) : 0;
    *kept = h;
    if (h && h->source == p->source && !h->destination && h->from == from && now - h->since < HOP_TICKS)
        return true;
    if (!source_is_routed(skb, p, cfg->wan, from))
        return false;
    if (h) {
        h->ends[0] = 0; /* of no pair of addresses */
        h->source = p->source;
        h->destination = 0;
        h->from = from;
        h->since = now;
        h->asked = 0;
    }
    return true;
}

/* Whether the handle of a host whose packet may begin a session is still to be asked for: not if it was a moment ago. */
static __always_inline bool handle_unasked(__be32 known, struct hop6 *kept)
{
    u32 zero = 0;
    struct scratch6 *room = scratch6.lookup(&zero);
    if (known && kept && kept->asked)
        return false;
    if (!room || !known || room->wanted != known)
        return true;
    room->wanted = 0;
    if (kept)
        kept->asked = 1;
    return false;
}

/* Makes that handle. A program of its own: with it the one that turns packets would be more than Linux 6.1 follows. */
static __always_inline int turn_want(struct __sk_buff *skb, int at)
{
    struct address6 source;
    struct packet p = {};
    u32 zero = 0;
    struct config *cfg = get_config();
    struct config6 *six = get_config6();
    struct scratch6 *room = scratch6.lookup(&zero);
    if (!cfg || !six || !room)
        return drop(DROP_MALFORMED);
    p.l3 = link_header(skb, cfg, at);
    if (bpf_skb_load_bytes(skb, ip_at(&p) + 8, &source, sizeof(source)))
        return drop(DROP_MALFORMED);
    askers_note(skb, cfg, &p, at, &source);
    room->wanted = inside_wanted(cfg, six, &source, now_tick());
    bool none = !room->wanted;
    OPAQUE(skb); /* as in pass_on() */
    if (none)
        return tell6(skb, at, handle_refusal(), 0);
    OPAQUE(skb);
    return next_with(skb, STAGE_TURN_OUT - FAMILY_STAGES, at, DIR_OUT, 0, 0);
}

/* The way of the IPv4 packet that it will be: 0, or the drop reason; `mtu`: of IPv4. To another inside host it is found there. */
static __always_inline u32 way_turned(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                      __be32 remote, u32 *mtu, u32 now)
{
    u32 size = size_on_link(skb, p) - p->header_size + 20, from = skb->ingress_ifindex;
    OPAQUE(from);
    for (int i = 0; i < MAX_PUBLIC; i++) {
        if (i >= cfg->public_count)
            break;
        if (cfg->public_ip[i] == remote)
            return 0;
    }
    const struct hop *hop = next_hop_of4(skb, p, p->source, remote, from, size, now);
    if (hop)
        return hop->ifindex == cfg->wan ? 0 : DROP_NAT64_ROUTE;
    struct bpf_fib_lookup fib = {};
    long rc = ask_fib4(skb, p, p->source, remote, from, size, &fib);
    *mtu = fib.tot_len;
    if (rc == BPF_FIB_LKUP_RET_FRAG_NEEDED && (size > XLAT_SMALL || skb->gso_size))
        return DROP_NAT64_TOO_BIG; /* smaller ones are cut where they leave: nobody may be told of less than XLAT_FLOOR */
    if (rc == BPF_FIB_LKUP_RET_FRAG_NEEDED)
        rc = ask_fib4(skb, p, p->source, remote, from, 68, &fib); /* it didn't say by which device */
    return (rc == BPF_FIB_LKUP_RET_SUCCESS || rc == BPF_FIB_LKUP_RET_NO_NEIGH) && fib.ifindex == cfg->wan
               ? 0
               : DROP_NAT64_ROUTE;
}

/* The packet as xlat_turn4 wants it. */
static __always_inline void describe(const struct packet *p, struct xlat_six *from)
{
    from->extra = p->header_size - IP6_HEADER;
    from->size = p->ip_size - p->header_size;
    from->proto = p->proto == IPPROTO_ICMP ? IPPROTO_ICMPV6 : p->proto;
    from->fragmented = p->head; /* an atomic one too (RFC 7915 section 5.1) */
    from->fragment.place = bpf_htons((p->fragment & IP_OFFSET_MASK) << 3 | !!(p->fragment & IP_MORE_FRAGMENTS));
    from->fragment.id = p->id6;
}

/* Why what has been read can't become IPv4, 0: it can. Of a fragment nobody has looked behind its fragment header. */
static __always_inline u32 unfit_to_turn(const struct packet *p, int parsed)
{
    if (parsed == PARSED_FRAGMENT) {
        if (p->proto == IPPROTO_TCP || p->proto == IPPROTO_UDP)
            return 0;
        if (p->proto == IPPROTO_ICMPV6)
            return DROP_NAT64_SUM;
        return is_extension(p->proto) ? DROP_EXTENSION : DROP_NAT64_PROTOCOL;
    }
    if (parsed == PARSED_OTHER)
        return p->proto == IPPROTO_ICMP ? DROP_NAT64_ICMP : DROP_NAT64_PROTOCOL;
    return p->proto == IPPROTO_UDP && !p->sum ? DROP_NAT64_SUM : 0;
}

/* The public port, or an echo's identifier, in place of the inside one, behind the IPv4 header: 0, or -1. */
static __always_inline int put_public_port(struct __sk_buff *skb, u8 proto, __be16 was, __be16 port)
{
    u32 l4 = ETH_HEADER + 20, at = l4 + (proto == IPPROTO_ICMP ? 4 : 0);
    u32 sum_at = l4 + (proto == IPPROTO_TCP ? 16 : proto == IPPROTO_UDP ? 6 : 2);
    if (was == port)
        return 0;
    if (bpf_l4_csum_replace(skb, sum_at, was, port, 2 | (proto == IPPROTO_UDP ? XLAT_MANGLED : 0)))
        return -1;
    return bpf_skb_store_bytes(skb, at, &port, 2, 0) ? -1 : 0;
}

/* What most packets are, of a session that carries them as they come: turned, translated and sent by one program, as
 * IPv4's programs would (outbound, leave_out). -1: it is for those. `p` has its IPv4 destination. What was found is
 * kept (turn_kept.h): `source` is the row that says when its source was judged, `freed` was read before its look-up. */
static __always_inline int turn_at_once(struct __sk_buff *skb, const struct config *cfg, struct packet *p,
                                        const struct xlat_six *from, struct iphdr *to, const struct hop6 *source,
                                        u32 freed, u32 now)
{
    struct session_key key;
    struct bpf_redir_neigh params = {.nh_family = 2};
    u32 device = skb->ingress_ifindex;
    OPAQUE(device);
    if (from->fragmented || lease_gone(cfg, now))
        return -1;
    struct session *s = find_out(p, &key);
    if (!s || !s->public_ip || !session_carries(cfg, s, p, DIR_OUT, now))
        return -1;
    u32 size = size_on_link(skb, p) - p->header_size + 20;
    const struct hop *hop = next_hop_of4(skb, p, p->source, p->destination, device, size, now);
    if (!hop || hop->ifindex != cfg->wan)
        return -1;
    if (source && !from->extra)
        turn_keep_out(p, &from->ip, hop, device, freed,
                      seq_after(hop->since, source->since) ? source->since : hop->since);
    if (s->alg || (p->proto == IPPROTO_TCP && !session_slides(s, p, DIR_OUT)))
        return -1;
    params.ipv4_nh = hop->gateway;
    to->saddr = s->public_ip;
    __be16 port = session_port(s);
    p->ip_size = from->size + 20;
    session_touch(s, p, DIR_OUT, now);
    account(DIR_OUT, p->ip_size);
    if (xlat_turn4(skb, from, 1, bpf_get_prandom_u32(), to) || put_public_port(skb, p->proto, p->source_port, port))
        return drop(DROP_REWRITE_FAILED);
    p->l3 = ETH_HEADER;
    return redirect_by(skb, cfg, p, cfg->wan, &params);
}

static __always_inline int turn_out(struct __sk_buff *skb, int at)
{
    struct xlat_six from = {};
    struct iphdr to = {};
    struct packet p = {};
    struct config *cfg = get_config();
    struct config6 *six = get_config6();
    u32 now = now_tick(), mtu = 0;
    if (!cfg || !six || !six->prefix_bits || at != AT_LAN)
        return not_turned(skb, at);
    u32 freed = handles_freed();
    if (bpf_skb_load_bytes(skb, link_header(skb, cfg, at), &from.ip, sizeof(from.ip)))
        return drop(DROP_MALFORMED);
    if (xlat_within(&from.ip.saddr, prefix_of(six)))
        return drop(DROP_NAT64_LOOP);
    if (!xlat_within(&from.ip.daddr, prefix_of(six)))
        return not_turned(skb, at);
    bool nobody = !xlat_extract(&from.ip.daddr, prefix_of(six), &to.daddr) || is_martian(to.daddr) ||
                  !xlat_shown(prefix_of(six), to.daddr);
    int parsed = parse_nameless(skb, cfg, at, &p);
    if (parsed == PARSED_MALFORMED && p.refused != DROP_EXTENSION)
        return drop(p.refused ? p.refused : DROP_MALFORMED);
    p.source = handle_of(&from.ip.saddr);
    struct hop6 *kept = 0;
    if (!source_stands(skb, cfg, &p, now, &kept))
        return drop(scope_of(&from.ip.saddr) == SCOPE_GLOBAL ? DROP_SPOOFED_INSIDE : DROP_LINK_SCOPE);
    if (p.ttl <= 1)
        return tell6(skb, at, DROP_NAT64_HOPS, 0);
    if (nobody || parsed == PARSED_MALFORMED)
        return tell6(skb, at, nobody ? DROP_NAT64_ADDRESS : DROP_EXTENSION, 0);
    if (p.routed)
        return tell6(skb, at, DROP_NAT64_ROUTED, p.routed);
    if (parsed == PARSED_ICMP_ERROR)
        return next_with(skb, STAGE_TURN_ERROR_OUT - FAMILY_STAGES, at, DIR_OUT, to.daddr, 0);
    u32 unfit = unfit_to_turn(&p, parsed);
    if (unfit)
        return unfit == DROP_NAT64_PROTOCOL ? tell6(skb, at, unfit, 0) : drop(unfit);
    bool first = p.fragment ? is_first_fragment(&p) : begins_session(&p);
    bool unasked = first && handle_unasked(p.source, kept);
    OPAQUE(skb);
    if (unasked)
        return next_with(skb, STAGE_TURN_WANT - FAMILY_STAGES, at, DIR_OUT, 0, 0);
    if (!p.source)
        return drop(DROP_NO_SESSION);
    describe(&p, &from);
    p.destination = to.daddr;
    int done = ip_at(&p) ? turn_at_once(skb, cfg, &p, &from, &to, kept, freed, now) : -1;
    if (done >= 0)
        return done;
    u32 refused = way_turned(skb, cfg, &p, to.daddr, &mtu, now);
    if (refused)
        return tell6(skb, at, refused, mtu + 20 < XLAT_FLOOR ? XLAT_FLOOR : mtu + 20);
    to.saddr = p.source;
    if (!ip_at(&p) && bpf_skb_change_head(skb, ETH_HEADER, 0))
        return drop(DROP_REWRITE_FAILED);
    if (xlat_turn4(skb, &from, 0, bpf_get_prandom_u32(), &to))
        return drop(p.fragment ? DROP_NAT64_SUM : DROP_REWRITE_FAILED);
    return on_turned(skb, STAGE_FROM6);
}

#endif
