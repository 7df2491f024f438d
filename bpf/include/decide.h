/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * decide.h: what a decision is about, a range of a stream and the digest of its bytes, and whether anybody decides.
 *
 * The law of this file: a decision holds for exactly its session, place, size and bytes. Only the helper and lines.h write
 * one.
 */
#ifndef ALGATE_DECIDE_H
#define ALGATE_DECIDE_H

/* The keyed hash of digest.py: every 8-byte little-endian word, the tail zero-padded, then the length. */
static __always_inline s64 payload_digest(struct __sk_buff *skb, const struct segment *g, u64 secret, u64 *digest)
{
    u32 zero = 0, size = g->payload;
    struct scratch *buffer = scratch.lookup(&zero);
    if (!buffer || size == 0 || size > DIGEST_MAX)
        return -1;
    if (bpf_skb_load_bytes(skb, g->payload_at, buffer->words, length_within(size, sizeof(buffer->words))))
        return -1;
    u64 h = secret;
    for (u32 i = 0; i < DIGEST_MAX / 8; i++) {
        if (i >= size >> 3)
            break;
        h = (h ^ buffer->words[i]) * 0x9E3779B97F4A7C15ULL;
        h ^= h >> 32;
    }
    u32 last = size >> 3, left = size & 7;
    if (left && last < DIGEST_MAX / 8) {
        OPAQUE(last); /* the mask repeats what was tested: see length_within */
        h = (h ^ (buffer->words[last & (sizeof(buffer->words) / 8 - 1)] & ((1ULL << (left * 8)) - 1))) *
            0x9E3779B97F4A7C15ULL;
        h ^= h >> 32;
    }
    h ^= size;
    h *= 0xD6E8FEB86659FD93ULL;
    h ^= h >> 32;
    *digest = h;
    return 0;
}

static __always_inline void decision_key_of(struct decision_key *key, u64 id, const struct segment *g)
{
    key->id = id;
    key->seq = g->seq;
    key->size = g->payload;
    key->dir = g->dir;
    key->pad = 0;
}

static __always_inline bool helper_alive(const struct config *cfg, u32 now)
{
    u32 zero = 0;
    u64 *beat = heartbeat.lookup(&zero);
    /* Signed: the helper's clock is finer than the coarse one here, so its beat may be ahead. */
    return beat && *beat && (s32)(now - (u32)*beat) < (s32)cfg->helper_timeout;
}

/* How often this packet was here or weighed before, see stages.h. Asked where it is needed: carried along, it doubles the
 * verifier's work. */
static __always_inline u32 gate_visits(const struct __sk_buff *skb)
{
    return *(const volatile u32 *)&skb->cb[2];
}

#endif
