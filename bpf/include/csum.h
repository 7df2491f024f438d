/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * csum.h: the Internet checksum, updated in place (RFC 1624 section 3). Pure arithmetic.
 * Sums are kept as 32-bit ones' complement accumulators of 16-bit words as they lie in memory.
 */
#ifndef ALGATE_CSUM_H
#define ALGATE_CSUM_H

static __always_inline u16 csum_fold(u32 sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

/* What `seed` gains when the bytes `from` become `to`. Sizes are in bytes, multiples of 4, and add up to 512 at most, so the
 * call can't fail. Linux 6.1 gives 32 bits with their sign extended, 6.18 a folded sum: no sign means an error here. */
static __always_inline u32 sum_diff(void *from, u32 from_size, void *to, u32 to_size, u32 seed)
{
    return bpf_csum_diff(from, from_size, to, to_size, seed);
}

/* Adds the change of a 32-bit word to an accumulator. */
static __always_inline u32 csum_change4(u32 sum, u32 from, u32 to)
{
    u64 wide = (u64)sum + (u32)~from + to;
    wide = (wide & 0xffffffff) + (wide >> 32);
    return (u32)wide + (u32)(wide >> 32);
}

/* Adds the change of a 16-bit word to an accumulator. */
static __always_inline u32 csum_change2(u32 sum, u16 from, u16 to)
{
    return csum_fold(sum) + (u16)~from + to;
}

/* New value of a checksum field after an accumulated change. */
static __always_inline u16 csum_apply(u16 check, u32 change)
{
    return ~csum_fold((u32)(u16)~check + csum_fold(change));
}

/* Whether a 20-byte IPv4 header's checksum is right. */
static __always_inline bool ip_sum_ok(const struct iphdr *ip)
{
    const u32 *word = (const void *)ip;
    u64 sum = (u64)word[0] + word[1] + word[2] + word[3] + word[4];
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    return csum_fold((u32)sum) == 0xffff;
}

/* Sum of the pseudo header, as a sender leaves it in the field when the rest is to be finished later. */
static __always_inline u16 pseudo_sum(__be32 source, __be32 destination, u8 proto, u16 l4_size)
{
    u64 sum = (u64)source + destination + bpf_htons(proto) + bpf_htons(l4_size);
    sum = (sum & 0xffffffff) + (sum >> 32);
    return csum_fold((u32)sum + (u32)(sum >> 32));
}

#endif
