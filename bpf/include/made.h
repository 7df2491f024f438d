/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * made.h: a session's beginning: its first values, its entry, who is told and where it is counted. It knows no ports.
 *
 * The race: two CPUs may see first packets of one 5-tuple at once. Create-if-absent on `sessions` decides; the loser
 * gives its port reference back and drops its packet (reason `race`); the repetition finds the winner's session.
 */
#ifndef ALGATE_MADE_H
#define ALGATE_MADE_H

/* What is needed to make a session, apart from its key. */
struct origin {
    u64 related;
    u32 index; /* row of `ports` */
    u8 alg;
    u8 flags;
    u8 dir;
    bool made;   /* its port was made now and isn't in the host's count yet */
    bool leaves; /* the packet leaves without another look at the session: account it now */
};

static __always_inline void session_init(const struct config *cfg, struct session *s, const struct packet *p,
                                         const struct origin *o, u32 now)
{
    s->id = new_id();
    s->packets[0] = s->packets[1] = s->bytes[0] = s->bytes[1] = 0;
    s->acked[0] = s->acked[1] = s->next[0] = s->next[1] = 0;
    if (o->leaves) {
        s->packets[o->dir & 1] = 1;
        s->bytes[o->dir & 1] = p->ip_size;
    }
    s->last_seen = now;
    s->port_index = o->index;
    bool exempt = o->index == EXEMPT_ROW;
    s->public_ip = exempt ? 0 : cfg->public_ip[(o->index / PORTS_PER_ADDRESS) & (MAX_PUBLIC - 1)];
    s->alg = o->alg;
    s->flags = o->flags;
    s->state = STATE_UNREPLIED;
    if (p->proto == IPPROTO_TCP) {
        s->state = STATE_NEW | (o->dir == DIR_OUT ? BIT_SYN_OUT | BIT_UNANSWERED : BIT_SYN_IN);
        s->acked[o->dir & 1] = p->seq + 1;
        s->next[o->dir & 1] = p->end + 1;
    }
}

/* Whose data session this is: told, once it exists. */
static __always_inline void relation_add(const struct session *s, const struct origin *o)
{
    u64 id = s->id, parent = o->related;
    if (parent)
        relations.update(&id, &parent);
}

/* Before a session's id is forgotten. */
static __always_inline void relation_drop(u64 id, u8 flags)
{
    if (flags & SESSION_EXPECTED)
        begin_forget(id);
}

/* Begins anew on the entry of a session that is over: its port reference goes on. Whoever moves the state wins. Returns
 * 0, or the drop reason. */
static __always_inline u32 session_revive(struct __sk_buff *skb, const struct config *cfg, struct session *s,
                                          const struct session_key *key, const struct packet *p, const struct origin *o,
                                          u32 now)
{
    u64 word = session_word(s);
    if (!session_mark_dead(s, word))
        return DROP_RACE;
    count(COUNT_SESSIONS_ENDED, 1);
    note_ended(cfg, s, key, word, true); /* told by STAGE_TELL, ahead of the new one */
    u8 peer = s->flags & SESSION_PEER;
    relation_drop(s->id, s->flags);
    session_init(cfg, s, p, o, now);
    s->flags |= peer;
    host_unanswered(key->inside_ip, !!(s->state & BIT_UNANSWERED) - !!(word & BIT_UNANSWERED));
    relation_add(s, o);
    count(COUNT_SESSIONS_NEW, 1);
    if (o->alg)
        begin_watching(skb, key, s, o->dir);
    return 0;
}

/* Makes the session. Returns 0, or the drop reason. The caller holds a reference on the port for it. What was put into
 * the table stands in scratch.made too. */
static __always_inline u32 session_create(struct __sk_buff *skb, const struct config *cfg,
                                          const struct session_key *key, const struct packet *p, const struct origin *o,
                                          u32 now)
{
    u32 refused = host_refuses(cfg, key->inside_ip, now);
    if (refused)
        return refused;
    u32 zero = 0;
    struct scratch *room = scratch.lookup(&zero);
    if (!room)
        return DROP_RACE;
    struct session *fresh = &room->made.session;
    session_init(cfg, fresh, p, o, now);
    bool peer = cfg->flags & FILTER_COUNTS_PEERS && peer_add(key);
    if (peer)
        fresh->flags |= SESSION_PEER;
    int rc = sessions.insert((struct session_key *)key, fresh);
    if (rc && peer)
        peer_drop(key);
    if (rc)
        return rc == -17 ? DROP_RACE : DROP_TABLE_FULL; /* EEXIST */
    count(COUNT_SESSIONS_NEW, 1);
    relation_add(fresh, o);
    host_session_made(key->inside_ip, fresh->state, o->made, p->proto);
    if (o->alg)
        begin_watching(skb, key, fresh, o->dir);
    return 0;
}

#endif
