/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * tell.h: sessions that were made or ended, told to whoever asks for them through the perf ring `notices`.
 *
 * The law of this file: with config.tell 0 nothing is copied and nothing told; the established path never comes here.
 * What is asked for is judged here, before it costs room in the ring. What finds no room is counted, and waited for by
 * nobody. A new session is told by a program of its own (stage_tell), between the one that made it and its way out: that one is
 * as large as the verifier bears.
 */
#ifndef ALGATE_TELL_H
#define ALGATE_TELL_H

/* Whether a notice is asked for. */
static __always_inline bool tell_wants(const struct config *cfg, const struct notice *n)
{
    u32 asked = cfg->tell;
    if (!(asked & TELL_TCP << proto_class(n->key.proto)) || (n->key.inside_ip & cfg->tell_mask) != cfg->tell_net)
        return false;
    if (asked & TELL_WATCHED && !n->session.alg)
        return false;
    return asked & TELL_SESSIONS || (asked & TELL_PORTS && n->flags & NOTICE_PORT);
}

static __always_inline void tell(struct __sk_buff *skb, const struct config *cfg, struct notice *n)
{
    if (!tell_wants(cfg, n))
        return;
    n->time = bpf_ktime_get_ns();
    int rc = notices.perf_submit(skb, n, sizeof(*n));
    count(!rc ? COUNT_NOTICES : rc == -2 ? COUNT_NOTICES_UNREAD : COUNT_NOTICES_LOST, 1); /* ENOENT */
}

/* Keeps what there is to tell of a session that was just marked dead, before its entry goes. `word`: as it was before;
 * `later`: stage_tell is to tell it, if somebody asks. It is kept whether somebody asks or not, and nothing is returned: else
 * the verifier would follow all that comes behind it twice. */
static __always_inline void note_ended(const struct config *cfg, const struct session *s, const struct session_key *key,
                                       u16 word, bool later)
{
    u32 zero = 0, index = s->port_index;
    struct scratch *room = scratch.lookup(&zero);
    if (!room)
        return;
    struct notice *n = &room->ended;
    n->kind = later && cfg->tell ? NOTICE_ENDED : NOTICE_NONE;
    n->key = *key;
    n->session = *s;
    n->session.state = word;
    u64 id = s->id;
    u64 *parent = s->flags & SESSION_EXPECTED ? relations.lookup(&id) : 0;
    n->related = parent ? *parent : 0;
    struct port_slot *slot = ports.lookup(&index);
    n->since = slot ? slot->stamp : 0;
}

/* Tells what note_ended kept, if somebody asks; `held`: enum notice_flag. */
static __always_inline void tell_ended(struct __sk_buff *skb, const struct config *cfg, u32 held)
{
    u32 zero = 0;
    struct scratch *room = scratch.lookup(&zero);
    if (!room)
        return;
    room->ended.flags = held;
    room->ended.kind = NOTICE_ENDED;
    if (cfg->tell)
        tell(skb, cfg, &room->ended);
    room->ended.kind = NOTICE_NONE;
}

/* On with the first packet of a session that was just made; its value stands in scratch.made, or in the table. */
static __always_inline int next_made(struct __sk_buff *skb, const struct config *cfg, const struct session_key *key,
                                     u64 related, bool port, int at, u8 dir, u32 stage)
{
    u32 zero = 0;
    struct scratch *room = cfg->tell ? scratch.lookup(&zero) : 0;
    if (!room)
        return next_stage(skb, stage, at, dir);
    room->made.key = *key;
    room->made.related = related;
    room->made.flags = port;
    return next_stage_told(skb, STAGE_TELL, at, dir, stage);
}

/* Tells of the session that was just made, and ahead of it of the one on whose entry it begins anew, which keeps the port. */
static __always_inline int tell_made(struct __sk_buff *skb, int at, u8 dir, u32 stage)
{
    u32 zero = 0;
    struct config *cfg = get_config();
    struct scratch *room = scratch.lookup(&zero);
    if (!cfg || !room)
        return drop(DROP_REWRITE_FAILED);
    struct notice *n = &room->made;
    if (room->ended.kind) {
        tell_ended(skb, cfg, 0);
        n->flags = 0;
        struct session *s = sessions.lookup(&n->key);
        if (s)
            n->session = *s;
    }
    u32 index = n->session.port_index;
    struct port_slot *slot = n->flags ? ports.lookup(&index) : 0;
    if (slot && owner_kind(slot->owner) == PORT_SHARED)
        n->flags = NOTICE_PORT | NOTICE_SHARED;
    n->kind = NOTICE_MADE;
    n->since = 0;
    tell(skb, cfg, n);
    return next_stage(skb, stage, at, dir);
}

#endif
