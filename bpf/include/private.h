/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * private.h: values of maps that only C sees.
 */
#ifndef ALGATE_PRIVATE_H
#define ALGATE_PRIVATE_H

#define OPTIONS_MAX 40 /* bytes of TCP options, RFC 9293 section 3.1 */

/* What is too large for the stack, or is indexed in ways that the verifier allows in map values only. */
struct scratch {
    u64 words[DIGEST_MAX / 8 + 1]; /* a payload to be digested */
    u8 options[64];                /* OPTIONS_MAX, up to a power of two so that an index can be masked */
    u8 changed[64];
    struct punt punt;              /* being sent to the helper */
    struct track track;            /* being made */
    struct session session;
    struct host host;
    struct bpf_fib_lookup fib;
    u32 refused; /* tick of the last PUNT_REFUSED */
    u32 cursor;                    /* see UNKNOWN */
};

/* A loop's variable kept where the verifier knows nothing of its value: else it follows every value by itself. */
#define UNKNOWN(room) (*(volatile u32 *)&(room)->cursor)

/* Keeps the compiler from merging this value with another's address. */
#define OPAQUE(value) asm volatile("" : "+r"(value))

#endif
