/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * words.h: a control line as `passable` knows it: its first word, and whether it goes on in another family's.
 *
 * The law of this file: it reads one line that lies in `scratch`, and writes nothing but what it found.
 */
#ifndef ALGATE_WORDS_H
#define ALGATE_WORDS_H

#define ASKS_SIZE 6 /* bytes of "EPSV" and CR LF */
#define SPACES 0x2020202020202020ULL

/* Whose words hold behind a reply that settled all: the plug-in may have said that in advance. */
static __always_inline u32 interest_behind(const struct adjust *adj)
{
    struct passable_key key = {.interest = adj->interest};
    u32 *then = passable.lookup(&key);
    return then ? *then : adj->interest;
}

/* Not 0 if any of eight bytes isn't a printable ASCII character. */
static __always_inline u64 not_plain(u64 bytes)
{
    return (bytes | (bytes - SPACES) | (bytes + 0x0101010101010101ULL)) & 0x8080808080808080ULL;
}

/* The first word of the line in room->words as a row of `passable`; false if this isn't one plain line. */
static __always_inline bool line_word(struct scratch *room, u32 size, bool reply, struct passable_key *key)
{
    const u8 *line = (const u8 *)room->words;
    u32 last = size - 1, before = size - 2;
    OPAQUE(last);
    OPAQUE(before);
    if (line[last & (LINE_MAX - 1)] != '\n' || line[before & (LINE_MAX - 1)] != '\r')
        return false;
    u32 whole = (size - 2) >> 3, left = (size - 2) & 7, tail = whole;
    u64 odd = 0;
    for (u32 i = 0; i < LINE_MAX / 8; i++) {
        OPAQUE(whole); /* else clang counts down to 0, which the verifier can't follow */
        if (i >= whole)
            break;
        odd |= not_plain(room->words[i]);
    }
    OPAQUE(tail);
    u64 mask = ~0ULL << (left * 8);
    odd |= not_plain((room->words[tail & (LINE_MAX / 8 - 1)] & ~mask) | (SPACES & mask));
    if (odd)
        return false;
    u32 length = reply || line[3] == ' ' || line[3] == '\r' ? 3 : 4;
    u8 behind = length == 3 ? line[3] : line[4];
    if (behind != ' ' && (reply || behind != '\r'))
        return false;
    for (u32 i = 0; i < 3; i++)
        key->word[i] = reply ? line[i] : line[i] & 0xdf;
    key->word[3] = length == 4 ? line[3] & 0xdf : 0;
    return true;
}

/* Whether a line that would go on in the other family's words may: an EPSV of the inside alone, before which all was answered,
 * and the 227 in the usual form that comes next. Without branches: each would double what the verifier follows. */
static __always_inline bool line_retold(const struct session *s, const struct track *t, struct scratch *room, u64 word,
                                        u32 size, bool reply, u32 unanswered)
{
    struct named *n = &room->named;
    u32 closes = *(volatile u32 *)&n->closes;
    bool asks = (size == ASKS_SIZE) & !unanswered;
    bool tells = (word != 0) & (word == t->asked) & (*(volatile u32 *)&n->most == SIX_NUMBERS) &
                 (n->end[closes & (NAMED_END - 1)] == ')') & *(volatile u32 *)&n->found;
    return !(s->flags & SESSION_FORWARD) & ((reply & tells) | (!reply & asks));
}

#endif
