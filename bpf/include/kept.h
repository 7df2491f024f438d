/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * kept.h: what is kept of a pair of IPv6 addresses, per CPU: their handles, and the FIB's last answer. Without it each packet
 * would ask two tables of 16-byte keys for its ends.
 *
 * The law of this file: a row is of one pair of addresses, as they stand in the packet, for HOP_TICKS. Its handles count as long
 * as no handle at all was freed since they were looked up: a number goes to another address only after it was freed, and
 * that is counted before the number is given back (control6.h); the count is read before the look-up. So a row never has
 * a handle that stands for another address, nor one that its address has no more.
 */
#ifndef ALGATE_KEPT_H
#define ALGATE_KEPT_H

#define HOP_TICKS 128 /* about 134 ms, as for IPv4 */

static __always_inline u32 handles_freed(void)
{
    u32 row = POOL_FREED;
    struct pool *pool = pools.lookup(&row);
    return pool ? *(volatile u64 *)&pool->used : 0;
}

/* The row for a pair of addresses. */
static __always_inline u32 ends_row(const u64 *ends)
{
    u64 h = (ends[0] ^ ends[1] * 0x9E3779B97F4A7C15ULL) * 0xFF51AFD7ED558CCDULL;
    h = (h ^ h >> 32 ^ ends[2] ^ ends[3] * 0xC2B2AE3D27D4EB4FULL) * 0x9E3779B97F4A7C15ULL;
    return h >> 54; /* HOP_ROWS = 1 << 10 */
}

static __always_inline bool same_ends(const struct hop6 *h, const u64 *ends)
{
    return !((h->ends[0] ^ ends[0]) | (h->ends[1] ^ ends[1]) | (h->ends[2] ^ ends[2]) | (h->ends[3] ^ ends[3]));
}

#ifdef SIX
/* The handles of both ends, by what is kept of them or anew; `ends`: in the packet. What was found goes through memory, so that
 * the verifier follows what comes behind once. False: there is no row, which can't be. */
static __always_inline bool name_ends(struct packet *p, u64 *ends)
{
    u32 row = ends_row(ends), zero = 0;
    struct hop6 *h = hops6.lookup(&row);
    struct scratch6 *room = scratch6.lookup(&zero);
    u32 freed = handles_freed();
    if (!h || !room)
        return false;
    p->tick = now_tick();
    p->row = h;
    room->fresh = same_ends(h, ends) && p->tick - h->since < HOP_TICKS;
    if (room->fresh && h->source && h->freed == freed) {
        room->names[0] = h->source;
        room->names[1] = h->destination;
    } else {
        room->names[0] = handle_of(ends);
        room->names[1] = handle_of(ends + 2);
        if (room->fresh) {
            h->source = room->names[1] ? room->names[0] : 0;
            h->destination = room->names[1];
            h->freed = freed;
            h->asked = 0;
        }
    }
    p->source = *(volatile u32 *)&room->names[0];
    p->destination = *(volatile u32 *)&room->names[1];
    p->fresh = *(volatile u8 *)&room->fresh;
    return true;
}
#endif

#endif
