/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * alg.h: the gate on control sessions. Payload leaves only under a decision for exactly its range and bytes; otherwise
 * it is held and copied to the helper. TCP numbers are shifted here; addresses are not known here.
 *
 * Datagrams have no numbers to tell a repetition from new data, so none passes under a decision. Each is copied to the
 * helper, and what the helper writes to its device leaves instead.
 */
#ifndef ALGATE_ALG_H
#define ALGATE_ALG_H

#define UDP_HEADER 8
#define GATE_WEIGHED 1         /* skb->cb[2]: scratch.mtu is of this packet's way out */
#define GATE_AGAIN 2           /* and the gate itself had it weighed */
#define WEIGH_FIRST 0xffffffff /* instead of a drop reason: the helper must be told what the way out takes */
#define PUNT_AGAIN_AFTER 477   /* ticks: 0.5 s */

/* Replaces the payload by the decided bytes; length, IP header and both checksums are adjusted. */
static __always_inline int replace_payload(struct __sk_buff *skb, struct packet *p, const struct segment *g,
                                           const struct decision_key *key, const struct decision *d)
{
    struct replacement *r = replacements.lookup((struct decision_key *)key);
    u32 size = d->new_size;
    u32 sum_change = d->sum_change;
    if (!r || size == 0 || size > REPLACEMENT_MAX)
        return -1;
    u16 old_ip = p->ip_size, new_ip = p->ip_size - g->payload + size;
    if (bpf_skb_change_tail(skb, g->payload_at + size, 0))
        return -1;
    u64 last = (u64)size - 1; /* tested again, after the calls: see length_within */
    OPAQUE(last);
    if (last >= REPLACEMENT_MAX)
        return -1;
    if (bpf_skb_store_bytes(skb, g->payload_at, r->bytes, last + 1, BPF_F_RECOMPUTE_CSUM))
        return -1;
    u32 sum_at = p->l4 + 16;
    if (bpf_l4_csum_replace(skb, sum_at, 0, sum_change, 0))
        return -1;
    if (old_ip == new_ip)
        return 0;
    if (bpf_l4_csum_replace(skb, sum_at, bpf_htons(old_ip - p->header_size), bpf_htons(new_ip - p->header_size),
                            BPF_F_PSEUDO_HDR | 2))
        return -1;
    if (put_size(skb, p, old_ip, new_ip))
        return -1;
    p->ip_size = new_ip;
    return 0;
}

/* The part of the gate that is about payload: 0 to go on, else a drop reason. */
static __always_inline u32 gate_payload(struct __sk_buff *skb, const struct config *cfg, struct packet *p,
                                        const struct segment *g, u64 id, int at, bool *undecided)
{
    struct decision_key key;
    u64 digest = 0;
    decision_key_of(&key, id, g);
    *undecided = false;
    struct decision *d = g->payload <= DIGEST_MAX ? decisions.lookup(&key) : 0;
    if (!d || payload_digest(skb, g, cfg->secret, &digest) || d->digest != digest) {
        *undecided = true;
        return at == AT_TAP ? DROP_NO_DECISION : 0;
    }
    if (d->verdict == VERDICT_PASS) {
        count(COUNT_DECISIONS_PASS, 1);
        return 0;
    }
    count(COUNT_DECISIONS_REPLACE, 1);
    return replace_payload(skb, p, g, &key, d) ? DROP_REWRITE_FAILED : 0;
}

/* Up to where a direction has been let through. */
static __always_inline u32 decided_end(const struct track *t, const struct adjust *adj, u8 dir)
{
    return adj ? front(adj, t, dir) : t->isn[dir & 1] + 1;
}

/* Takes note of a FIN that goes on where its receiver expects it. */
static __always_inline void note_end(const struct packet *p, const struct segment *g, struct track *t,
                                     const struct adjust *adj)
{
    if (p->tcp_flags & TCP_FIN && g->seq + g->payload == decided_end(t, adj, g->dir))
        t->flags |= TRACK_FIN_OUT << (g->dir & 1);
}

/* A FIN or RST behind bytes that wait for the helper waits with them: no truncated stream (FTP-87). A RST behind the FIN
 * that went on is in its place. */
static __always_inline bool end_must_wait(const struct packet *p, const struct segment *g, const struct track *t,
                                          const struct adjust *adj)
{
    if (!(p->tcp_flags & (TCP_FIN | TCP_RST)) || g->payload)
        return false;
    u32 decided = decided_end(t, adj, g->dir);
    if (!seq_after(g->seq, decided))
        return false;
    if (t->flags & (TRACK_FIN_OUT << (g->dir & 1)))
        decided++;
    return p->tcp_flags & TCP_FIN ? true : seq_after(t->next[g->dir], decided);
}

/* What the helper should see while none lives: the drop reason, or 0 where it passes (fail = "open"). Then the session isn't
 * looked at again until it ends. `adj`, of TCP: nothing passes where the receiver lacks bytes that only the next helper can
 * send (ADJUST_OWED), nor what repeats decided bytes: the receiver may have them rewritten. */
static __always_inline u32 without_helper(const struct config *cfg, struct track *t, const struct adjust *adj,
                                          const struct segment *g)
{
    if (!(cfg->flags & CONFIG_FAIL_OPEN))
        return DROP_HELPER_DEAD;
    if (adj && (adj->flags & ADJUST_OWED || seq_after(front(adj, t, g->dir), g->seq)))
        return DROP_HELPER_DEAD;
    t->flags |= TRACK_UNTOUCHABLE;
    count(COUNT_FAIL_OPEN, 1);
    return 0;
}

/* All that a segment says to the helper and to its receiver, its timestamps and PSH aside; never 0. Of equal ones the later
 * is a repetition without news. */
static __always_inline u64 segment_said(const struct packet *p, const struct segment *g, u64 digest)
{
    u64 rest = (u64)g->window << 48 | (u64)(p->tcp_flags & ~TCP_PSH) << 40 | (u64)p->tcp_header << 32 | g->payload;
    u64 h = (digest ^ ((u64)g->seq << 32 | g->ack)) * 0x9E3779B97F4A7C15ULL;
    h = (h ^ h >> 32 ^ rest) * 0xD6E8FEB86659FD93ULL;
    return (h ^ h >> 32) | 1;
}

/* Whether a copy that said the same is still on its way: the ring took it a moment ago, and the helper's record doesn't
 * count it yet. A busy helper is late by more than the 0.2 s after which a sender probes for the loss of a lone segment (RFC
 * 8985 section 7.2); the moment bounds what a copy costs that came to nothing. */
static __always_inline bool on_its_way(const struct track *t, const struct adjust *adj, u8 dir, u64 said, u32 now)
{
    if (t->punted[dir & 1] != said || (s32)(now - t->punted_at[dir & 1]) >= PUNT_AGAIN_AFTER)
        return false;
    return !adj || (s16)(t->punted_count[dir & 1] - (u16)adj->lines) > 0;
}

/* Copies a segment to the helper. The caller drops the original whatever comes back. `said`: to know it again by, 0: it isn't
 * sound, or whatever repeats it is wanted too. */
static __always_inline u32 punt_segment(struct __sk_buff *skb, const struct packet *p, const struct session_key *key,
                                        const struct session *s, struct track *t, const struct adjust *adj,
                                        const struct segment *g, u8 kind, u64 said, u32 now)
{
    struct punt *m = new_punt(kind);
    if (!m)
        return DROP_PUNT_LOST;
    fill_punt(m, key, s);
    fill_segment(m, p, g, t);
    if (!count_punt(t, adj, &m->lines))
        return DROP_RACE;
    u32 held = punt_frame(skb, p, m);
    if (held == DROP_PUNT_HELD) { /* what the ring refused must come again */
        t->punted[g->dir & 1] = said;
        t->punted_at[g->dir & 1] = now;
        t->punted_count[g->dir & 1] = m->lines;
    }
    return held;
}

/* An undecided segment while a helper lives: 0 if it passes without it, else it is held for this reason. */
static __always_inline u32 ask_helper(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                      const struct session_key *key, const struct session *s, struct track *t,
                                      const struct adjust *adj, const struct segment *g, u32 now)
{
    u64 digest = 0;
    bool sound = segment_is_sound(skb, p, g, t) && !(g->payload && payload_digest(skb, g, cfg->secret, &digest));
    if (sound && adj && line_passes(skb, p, key, g, s, t, adj, digest, now))
        return 0;
    u64 said = sound ? segment_said(p, g, digest) : 0;
    if (sound && on_its_way(t, adj, g->dir, said, now))
        return DROP_PUNT_AGAIN;
    if (!gate_visits(skb))
        return WEIGH_FIRST;
    return punt_segment(skb, p, key, s, t, adj, g, PUNT_SEGMENT, said, now);
}

/* Copies a datagram to the helper. The caller drops the original whatever comes back. */
static __always_inline u32 punt_datagram(struct __sk_buff *skb, const struct packet *p, const struct session_key *key,
                                         const struct session *s, u8 dir, u8 kind)
{
    struct punt *m = skb->gso_size ? 0 : new_punt(kind); /* a batch of datagrams can't be told apart */
    if (!m)
        return DROP_PUNT_TOO_BIG;
    fill_punt(m, key, s);
    m->dir = dir;
    m->payload_offset = p->l4 + UDP_HEADER;
    m->payload_size = p->ip_size - p->header_size - UDP_HEADER;
    return punt_frame(skb, p, m);
}

/* The whole gate for one datagram of a control session. Without payload there is nothing to judge. */
static __always_inline u32 datagram_gate(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                         const struct session_key *key, const struct session *s, struct track *t,
                                         u8 dir, int at, u32 now)
{
    u32 head = p->header_size + UDP_HEADER;
    if (at == AT_TAP || p->ip_size <= head || t->flags & TRACK_UNTOUCHABLE)
        return 0;
    count(COUNT_ALG_SEGMENTS, 1);
    if (!helper_alive(cfg, now))
        return without_helper(cfg, t, 0, 0);
    return punt_datagram(skb, p, key, s, dir, PUNT_SEGMENT);
}

/* What the helper wrote for this session; 0: nothing. */
static __always_inline struct adjust *adjust_of(const struct session_key *key, const struct session *s)
{
    struct adjust *adj = adjusts.lookup((struct session_key *)key);
    return adj && adj->id == s->id ? adj : 0;
}

/* Of a live connection no SYN says anything (window.h). */
static __always_inline bool syn_is_late(const struct packet *p, const struct session *s)
{
    return p->tcp_flags & TCP_SYN && (s->state & STATE_MASK) != STATE_NEW;
}

static __always_inline void note_late_syn(const struct packet *p, struct track *t, u8 dir)
{
    if (dir == DIR_OUT && !(p->tcp_flags & TCP_ACK))
        t->syn = p->seq + 1;
}

/* The whole gate for one segment of a control session. Returns 0 (goes on), the drop reason of a held segment, or
 * WEIGH_FIRST: it is to come again when it is. */
static __always_inline u32 alg_gate(struct __sk_buff *skb, const struct config *cfg, struct packet *p,
                                    const struct session_key *key, struct session *s, u8 dir, int at, u32 now)
{
    struct segment g = {};
    struct track *t = tracks.lookup((struct session_key *)key);
    if (!t || t->id != s->id)
        return DROP_STALE_DECISION;
    if (p->proto == IPPROTO_UDP)
        return datagram_gate(skb, cfg, p, key, s, t, dir, at, now);
    if (load_segment(skb, p, dir, &g))
        return DROP_STALE_DECISION;
    struct adjust *adj = adjust_of(key, s);
    if (syn_is_late(p, s))
        note_late_syn(p, t, dir);
    else if (at != AT_TAP && !(p->tcp_flags & TCP_RST))
        track_segment(skb, p, t, &g, adj, mss_towards(cfg, key->inside_ip));
    bool bypass = (adj && adj->flags & ADJUST_BYPASS) || t->flags & TRACK_UNTOUCHABLE;
    bool undecided = false;
    if (bypass && adj && seq_after(front(adj, t, g.dir), g.seq)) /* repeats what was rewritten earlier */
        bypass = false;
    if (g.payload && p->tcp_flags & TCP_SYN)
        return DROP_SYN_PAYLOAD;
    if (g.payload) {
        count(COUNT_ALG_SEGMENTS, at != AT_TAP && gate_visits(skb) != GATE_AGAIN);
        u32 refused = gate_payload(skb, cfg, p, &g, s->id, at, &undecided);
        if (undecided && bypass) /* what was decided earlier is always rewritten */
            undecided = false;
        else if (refused)
            return refused;
    } else if (!bypass && at != AT_TAP) {
        undecided = end_must_wait(p, &g, t, adj);
    }
    if (undecided) {
        u32 held =
            helper_alive(cfg, now) ? ask_helper(skb, cfg, p, key, s, t, adj, &g, now) : without_helper(cfg, t, adj, &g);
        if (held)
            return held;
    }
    note_end(p, &g, t, adj);
    if (adj && adjust_segment(skb, p, adj, g.dir, bpf_htonl(g.seq), bpf_htonl(g.ack)))
        return DROP_REWRITE_FAILED;
    return 0;
}

/* A packet that is too big for its way out goes to the helper whatever was decided: `kind` says what for. False: the gate is
 * to judge it, since nobody could make it smaller. */
static __always_inline bool punt_too_big(struct __sk_buff *skb, const struct config *cfg, const struct packet *p,
                                         const struct session_key *key, const struct session *s, u8 dir, u8 kind,
                                         u32 *held)
{
    struct segment g = {};
    struct track *t = tracks.lookup((struct session_key *)key);
    if (!t || t->id != s->id || (kind == PUNT_SEGMENT && t->flags & TRACK_UNTOUCHABLE))
        return false;
    if (p->proto == IPPROTO_UDP) {
        *held = punt_datagram(skb, p, key, s, dir, kind);
    } else {
        struct adjust *adj = adjust_of(key, s);
        if (load_segment(skb, p, dir, &g) || p->tcp_flags & TCP_SYN)
            return false;
        track_segment(skb, p, t, &g, adj, 0);
        *held = punt_segment(skb, p, key, s, t, adj, &g, kind, 0, 0);
    }
    if (kind == PUNT_TOO_BIG && *held == DROP_PUNT_HELD)
        *held = DROP_TOO_BIG;
    return true;
}

#endif
