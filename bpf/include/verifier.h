/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * verifier.h: hints for the compiler and the verifier, which say nothing about packets.
 *
 * The law of this file: each name here leaves a value as it is. Where one is used, a comment says what would go wrong
 * without it; Linux 5.10 to 7.3 disagree about that, so nothing here goes because the newest verifier does without.
 */
#ifndef ALGATE_VERIFIER_H
#define ALGATE_VERIFIER_H

/* A loop's variable kept where the verifier doesn't know its value; else it would follow each value separately. */
#define UNKNOWN(room) (*(volatile u32 *)&(room)->cursor)

/* Keeps the compiler from merging this value with another's address. */
#define OPAQUE(value) asm volatile("" : "+r"(value))

/* A length for a helper, 1..room; room is a power of two. Linux 6.1 forgets what was tested of a number that is spilled
 * meanwhile, and refuses a length that might then be 0 or too large: arithmetic right before the call it believes. */
static __always_inline u32 length_within(u32 size, u32 room)
{
    OPAQUE(size);
    return ((size - 1) & (room - 1)) + 1;
}

#endif
