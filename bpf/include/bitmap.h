/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * bitmap.h: which ports of a block look free, in a search whose cost doesn't grow with the fill.
 *
 * The race: bits are set and cleared atomically, but not together with the slots that they describe. A wrongly set bit
 * hides a port until it is freed again, a wrongly clear one costs a try; neither gives a port away twice.
 */
#ifndef ALGATE_BITMAP_H
#define ALGATE_BITMAP_H

static __always_inline u64 *portbits_word(u32 block, u32 word)
{
    u32 at = block * BITMAP_BLOCK + word;
    return port_bits.lookup(&at);
}

/* Whether one looks free. */
static __always_inline bool portbits_shows(u32 index)
{
    u64 *bits = portbits_word(index >> 16, (index & 0xffff) >> 6);
    return bits && !(*bits >> (index & 63) & 1);
}

static __always_inline void portbits_take(u32 index)
{
    u32 block = index >> 16, word = (index & 0xffff) >> 6;
    u64 *bits = portbits_word(block, word), *summary = portbits_word(block, BITMAP_WORDS + (word >> 6));
    if (!bits || !summary)
        return;
    __sync_fetch_and_or(bits, 1ULL << (index & 63));
    if (*bits != ~0ULL)
        return;
    __sync_fetch_and_or(summary, 1ULL << (word & 63));
    if (*bits != ~0ULL) /* freed meanwhile, perhaps before the summary said full */
        __sync_fetch_and_and(summary, ~(1ULL << (word & 63)));
}

static __always_inline void portbits_free(u32 index)
{
    u32 block = index >> 16, word = (index & 0xffff) >> 6;
    u64 *bits = portbits_word(block, word), *summary = portbits_word(block, BITMAP_WORDS + (word >> 6));
    if (!bits || !summary)
        return;
    __sync_fetch_and_and(bits, ~(1ULL << (index & 63)));
    __sync_fetch_and_and(summary, ~(1ULL << (word & 63)));
}

/* Position of the lowest set bit: the number of bits below it, counted without a branch, since the verifier would follow
 * all 64 outcomes. */
static __always_inline u32 lowest_bit(u64 bits)
{
    u64 x = (bits & -bits) - 1;
    x -= x >> 1 & 0x5555555555555555ULL;
    x = (x & 0x3333333333333333ULL) + (x >> 2 & 0x3333333333333333ULL);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
    return x * 0x0101010101010101ULL >> 56;
}

/* Bits of word `word` that stand for ports of [first, last]. */
static __always_inline u64 range_mask(u32 word, u32 first, u32 last)
{
    u64 mask = ~0ULL;
    if (word == first >> 6)
        mask &= ~0ULL << (first & 63);
    if (word == last >> 6)
        mask &= ~0ULL >> (63 - (last & 63));
    return mask;
}

/* Which words of group `group` (64 words) lie in [first, last]. */
static __always_inline u64 group_mask(u32 group, u32 first, u32 last)
{
    u64 mask = ~0ULL;
    u32 low = first >> 6, high = last >> 6;
    if (group < low >> 6 || group > high >> 6)
        return 0;
    if (group == low >> 6)
        mask &= ~0ULL << (low & 63);
    if (group == high >> 6)
        mask &= ~0ULL >> (63 - (high & 63));
    return mask;
}

/* A port of [first, last] in the block of `row` that looks free and has the parity of the mask, in the first word with
 * room from that of `start` on, around the end; 0 if there is none. The summary finds the word in at most 17 steps. */
static __always_inline u32 portbits_find(u32 row, u32 first, u32 last, u32 start, u64 parity)
{
    u32 block = row >> 16, zero = 0, group = start >> 12;
    u64 fresh = ~0ULL << (start >> 6 & 63);
    struct scratch *room = scratch.lookup(&zero);
    if (!room)
        return 0;
    UNKNOWN(room) = 0xffffffff;
    for (u32 i = 0; i <= 16; i++) {
        u32 at = (group + i) & 15;
        u64 *summary = portbits_word(block, BITMAP_WORDS + at);
        u64 words = summary ? ~*summary & group_mask(at, first, last) & fresh : 0;
        fresh = ~0ULL;
        if (words) {
            UNKNOWN(room) = at << 6 | lowest_bit(words);
            break;
        }
    }
    u32 word = UNKNOWN(room);
    u64 *bits = word < BITMAP_WORDS ? portbits_word(block, word) : 0;
    u64 usable = bits ? ~*bits & range_mask(word, first, last) & parity : 0;
    return usable ? (word << 6 | lowest_bit(usable)) & 0xffff : 0;
}

#endif
