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
    u32 cursor; /* kept here so that the verifier knows nothing of its value, and prunes the loop over the options */
};

/* Keeps the compiler from merging this value with another's address. */
#define OPAQUE(value) asm volatile("" : "+r"(value))

#endif
