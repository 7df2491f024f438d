/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * finish.h: data sessions that are over, in the order of their ends, and their public ports, which go to whoever finds no
 * other.
 *
 * A data connection is one transfer; a hundred of them in a minute would hold a hundred ports for the four minutes of
 * tcp_closing. What needs a port once both FINs are acknowledged is the last ACK alone: if it was lost the FIN comes again and
 * must be answered. So the session keeps its port as long as others are free, and gives it up, the one that ended first
 * before all others, when somebody else finds none. Given up at once it would leave every repeated FIN without an
 * answer; kept for good it would leave the next transfer without a port.
 *
 * The race: a session that is ended here is marked dead by compare-and-swap from the very word that said it is over, so a
 * packet that revives or begins it anew in between wins, and a sweep that ends it too. Only the winner deletes it and gives
 * its reference back; the port itself is then claimed by compare-and-swap like any other. A forged RST gives a port away only
 * if the session is silent until somebody has need of it: any other packet revives it, and takes it out of the reckoning.
 */
#ifndef ALGATE_FINISH_H
#define ALGATE_FINISH_H

/* A session has just ended. */
static __always_inline void finish_note(const struct session *s, const struct session_key *key)
{
#ifdef SIX /* there are sessions without a port there */
    if (!s->public_ip)
        return;
#endif
    if (!(s->flags & SESSION_EXPECTED) || s->alg)
        return;
    struct finished f = {.id = s->id, .key = *key};
    finished.push(&f, BPF_EXIST); /* the oldest goes when it is full */
}

/* Whether ending this session would free its port for `host`: nobody else stands on it, and hold-down doesn't keep it. */
static __always_inline bool finish_frees(const struct config *cfg, u32 index, u32 block, __be32 host)
{
    struct port_slot *slot = ports.lookup(&index);
    if (!slot || index >> 16 != block || slot->sessions != 1)
        return false;
    u64 owner = slot->owner;
    u8 kind = owner_kind(owner);
    if (kind != PORT_RESERVED && kind != PORT_MAPPING && kind != PORT_HOME)
        return false;
    return (!cfg->hold_down && !cfg->port_block) || owner_ip(owner) == host;
}

/* Ends the session that has been over longest, if that frees a port of this block of rows for the host. The port in host order,
 * or 0: of others the queue has perhaps one. What is over but frees nothing now goes to the end of the queue; what is
 * gone, or goes on, leaves it. */
static __always_inline u32 finish_take(struct __sk_buff *skb, const struct config *cfg, u32 block, __be32 host)
{
    struct finished f = {};
    if (finished.pop(&f))
        return 0;
    struct session *s = sessions.lookup(&f.key);
    if (!s || s->id != f.id)
        return 0;
    u64 word = session_word(s);
    u32 index = s->port_index;
    u8 flags = s->flags;
    if (!session_over(word) || s->alg)
        return 0;
    if (!finish_frees(cfg, index, block, host)) {
        finished.push(&f, 0);
        return 0;
    }
    struct port_slot *slot = ports.lookup(&index);
    if (!slot || !session_mark_dead(s, word))
        return 0;
    note_ended(cfg, s, &f.key, word, false);
    sessions.delete(&f.key);
    host_session_ended(f.key.inside_ip, word);
    begin_forget(f.id);
    if (flags & SESSION_PEER)
        peer_drop(&f.key);
    port_put(index, slot, f.key.proto);
    count(COUNT_SESSIONS_ENDED, 1);
    tell_ended(skb, cfg, NOTICE_PORT);
    return index & 0xffff;
}

#endif
