/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * options.h: TCP options, read into the scratch space and written back; the MSS among them.
 *
 * The law of this file: options are read only in scratch.options, where an index can be masked, and changed in
 * scratch.changed. A cut-off or malformed option ends the search; their size never changes.
 */
#ifndef ALGATE_OPTIONS_H
#define ALGATE_OPTIONS_H

static __always_inline u32 get_be32(const u8 *bytes, u32 at)
{
    return (u32)bytes[at & 63] << 24 | (u32)bytes[(at + 1) & 63] << 16 | (u32)bytes[(at + 2) & 63] << 8 |
           bytes[(at + 3) & 63];
}

static __always_inline struct scratch *load_options(struct __sk_buff *skb, const struct packet *p, u32 *size)
{
    u32 zero = 0, words = (p->tcp_header - 20) & 0x3c;
    struct scratch *room = scratch.lookup(&zero);
    if (!room || words < 4 || words > OPTIONS_MAX)
        return 0;
    if (bpf_skb_load_bytes(skb, p->l4 + 20, room->options, length_within(words, sizeof(room->options))))
        return 0;
    *size = words;
    return room;
}

/* Where the value of the first option of a kind is (after kind and length); 0 if there is none. */
static __always_inline u32 find_option(struct scratch *room, u32 size, u8 wanted)
{
    UNKNOWN(room) = 0;
    for (int i = 0; i < OPTIONS_MAX; i++) {
        u32 at = UNKNOWN(room) & 63;
        if (at + 1 >= size)
            return 0;
        u8 kind = room->options[at], length = room->options[(at + 1) & 63];
        if (kind == 0 || (kind != 1 && length < 2))
            return 0;
        if (kind == wanted)
            return at + 2;
        UNKNOWN(room) = at + (kind == 1 ? 1 : length);
    }
    return 0;
}

/* Writes room->changed over the options, which were room->options. */
static __always_inline int store_options(struct __sk_buff *skb, const struct packet *p, struct scratch *room, u32 size)
{
    u32 change = sum_diff(room->options, OPTIONS_MAX, room->changed, OPTIONS_MAX, 0);
    size &= 0x3c;
    if (size < 4 || size > OPTIONS_MAX || bpf_l4_csum_replace(skb, p->l4 + 16, 0, change, 0))
        return -1;
    return bpf_skb_store_bytes(skb, p->l4 + 20, room->changed, length_within(size, sizeof(room->changed)), 0);
}

/* Lowers the MSS that a SYN offers to `most`, unless that is 0 (what it means: RFC 6691 section 3). Never raises it. */
static __always_inline void clamp_mss(struct __sk_buff *skb, const struct packet *p, u16 most)
{
    if (p->proto != IPPROTO_TCP || !(p->tcp_flags & TCP_SYN) || !most)
        return;
    u32 size = 0, at;
    struct scratch *room = p->tcp_header > 20 ? load_options(skb, p, &size) : 0;
    if (!room)
        return;
    at = find_option(room, size, 2);
    if (!at || at + 2 > size)
        return;
    u16 offered = (u16)room->options[at & 63] << 8 | room->options[(at + 1) & 63];
    if (offered <= most)
        return;
    __builtin_memcpy(room->changed, room->options, sizeof(room->changed));
    room->changed[at & 63] = most >> 8;
    room->changed[(at + 1) & 63] = most & 0xff;
    store_options(skb, p, room, size);
}

#endif
