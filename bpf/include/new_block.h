/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * new_block.h: which port of which of its port blocks an inside host gets: programs of their own, since the ones that ask are
 * as large as the verifier bears.
 *
 * The law of this file: it proposes a port; the block's count (portblock.h) and the claim on the slot (ports.h) decide. A host
 * uses up what it has before it gets another block: a port that the bitmap shows free; else a random one of a block that
 * is less than half in use, for ports in hold-down are its own; else one of a new block; else a random one after all.
 *
 * The race: two CPUs may give one host a block each. Both are its own, and the one that stays empty is taken back.
 */
#ifndef ALGATE_NEW_BLOCK_H
#define ALGATE_NEW_BLOCK_H

#define BLOCK_STEPS 48 /* blocks and words of the bitmap that one search looks at */
#define LOST_TRIES 3   /* what a search that found nothing costs of ALLOCATE_TRIES */

/* Who wants a port, and what else was found: 1 + row of a block, 0: none. */
struct block_wish {
    u64 parity;
    __be32 host;
    u32 address; /* place of the public address */
    u32 fixed;   /* the host's computed block */
    u32 half;    /* one of its own that is less than half in use */
    u32 any;     /* one of its own */
    u8 proto;
    bool seen;  /* the computed block is among its own */
    bool spent; /* nothing is free but what hold-down keeps */
};

/* The block that a host of `block_networks` has by its number (RFC 7422 section 2): 1 + row, 0: it has none. */
static __always_inline u32 block_computed(const struct config *cfg, __be32 ip)
{
    struct exempt_key key = {.prefix_len = 32, .address = ip};
    struct block_network *network = block_networks.lookup(&key);
    if (!network || !cfg->block_count)
        return 0;
    u32 number = network->first + (bpf_ntohl(ip) & network->mask);
    u32 address = number / cfg->block_count, place = number % cfg->block_count;
    if (address >= cfg->public_count)
        return 0;
    return 1 + address * BLOCK_ROWS + cfg->block_first + place * (cfg->port_block / BLOCK_UNIT);
}

/* The position of a set bit, a random one of those that are. */
static __always_inline u32 some_bit(u64 bits)
{
    u64 above = bits & ~0ULL << (bpf_get_prandom_u32() & 63);
    return lowest_bit(above ? above : bits);
}

/* A random port of a block, in host order. */
static __always_inline u32 block_some(const struct config *cfg, const struct block_wish *wish, u32 row)
{
    u32 port = portblock_first(row) + (bpf_get_prandom_u32() & (cfg->port_block - 1));
    if (wish->parity != ~0ULL)
        port = (port & ~1U) | (wish->parity & 1 ? 0 : 1);
    return port;
}

/* The words of the bitmap that have room in a block of this row, as bits of the group of 64 that the block is in. */
static __always_inline u64 block_words(const struct config *cfg, u32 bits_of, u32 row)
{
    u32 word = row % BLOCK_ROWS, words = cfg->port_block / BLOCK_UNIT;
    u64 *summary = portbits_word(bits_of, BITMAP_WORDS + (word >> 6));
    u64 mask = words >= 64 ? ~0ULL : ((1ULL << (words & 63)) - 1) << (word & 63);
    return summary ? ~*summary & mask : 0;
}

/* A port that looks free in the host's own blocks, 0: none; and which blocks it has. */
static __always_inline u32 block_search(const struct config *cfg, const struct block_list *list,
                                        struct block_wish *wish, struct scratch *room)
{
    u32 bits_of = port_index(wish->address, wish->proto, 0) >> 16, row = 0, place = 0;
    u64 left = 0, rest = 0;
    UNKNOWN(room) = 0;
    for (u32 step = 0; step < BLOCK_STEPS; step++) {
        if (!left) { /* a random start, then what was before it */
            left = rest;
            rest = 0;
        }
        if (left) {
            u32 word = (row % BLOCK_ROWS & ~63U) | lowest_bit(left);
            left &= left - 1;
            u64 *bits = portbits_word(bits_of, word);
            u64 usable = bits ? ~*bits & wish->parity : 0;
            if (usable)
                return word * BLOCK_UNIT + some_bit(usable);
            continue;
        }
        place = UNKNOWN(room);
        if (place >= BLOCKS_PER_HOST)
            break;
        UNKNOWN(room) = place + 1;
        u32 entry = list->rows[place & (BLOCKS_PER_HOST - 1)];
        row = entry - 1;
        struct port_block *block = entry && row / BLOCK_ROWS == wish->address ? port_blocks.lookup(&row) : 0;
        if (!block || (u32)block->holder != wish->host || block->size != cfg->port_block)
            continue;
        wish->seen |= entry == wish->fixed;
        wish->any = entry;
        if ((block->holder >> 32) * 2 < block->size)
            wish->half = entry;
        u64 words = block_words(cfg, bits_of, row);
        left = words & ~0ULL << (bpf_get_prandom_u32() & 63);
        rest = words ^ left;
    }
    return 0;
}

/* A block that nobody has, from a random place on: 1 + row, 0: none. */
static __always_inline u32 block_unheld(const struct block_wish *wish, struct scratch *room)
{
    u32 start = bpf_get_prandom_u32();
    UNKNOWN(room) = 0;
    for (u32 i = 0; i < BLOCK_WORDS; i++) {
        u32 word = (start + i) & (BLOCK_WORDS - 1);
        u32 at = (wish->address & (MAX_PUBLIC - 1)) * BLOCK_WORDS + word, open_at = at + BLOCK_USABLE;
        u64 *taken = block_bits.lookup(&at), *usable = block_bits.lookup(&open_at);
        u64 open = taken && usable ? *usable & ~*taken : 0;
        if (open) {
            UNKNOWN(room) = 1 + wish->address * BLOCK_ROWS + word * 64 + some_bit(open);
            break;
        }
    }
    return UNKNOWN(room);
}

static __always_inline void block_mark(u32 row, bool taken)
{
    u32 at = row / 64;
    u64 *bits = block_bits.lookup(&at), bit = 1ULL << (row & 63);
    if (bits && taken)
        __sync_fetch_and_or(bits, bit);
    else if (bits)
        __sync_fetch_and_and(bits, ~bit);
}

/* Puts a block into a host's list (`was` 0) or takes it out (`is` 0). */
static __always_inline bool block_list_change(struct block_list *list, u64 was, u64 is)
{
    for (u32 i = 0; i < BLOCKS_PER_HOST; i++)
        if (list->rows[i] == was && __sync_val_compare_and_swap(&list->rows[i], was, is) == was)
            return true;
    return false;
}

/* Makes a block the host's; it lets go of it again if the host has as many as it may. */
static __always_inline bool block_assign(const struct config *cfg, struct block_list *list, __be32 host, u32 row,
                                         u32 now)
{
    struct port_block *block = port_blocks.lookup(&row);
    if (!block)
        return false;
    block->stamp = now; /* before it has a holder: else it might be taken back at once */
    if (__sync_val_compare_and_swap(&block->holder, 0, (u64)host))
        return false;
    block->size = cfg->port_block;
    block->assigned = bpf_ktime_get_ns();
    block_mark(row, true);
    if (block_list_change(list, 0, row + 1))
        return true;
    block->assigned = 0;
    if (__sync_val_compare_and_swap(&block->holder, (u64)host, 0) == host)
        block_mark(row, false);
    return false;
}

/* A further block for the host, its computed one first: 1 + row, 0: none. */
static __always_inline u32 block_take(const struct config *cfg, struct block_list *list, struct block_wish *wish,
                                      struct scratch *room, u32 now)
{
    u32 fixed = wish->fixed && !wish->seen && (wish->fixed - 1) / BLOCK_ROWS == wish->address ? wish->fixed : 0;
    u32 entry = fixed ? fixed : block_unheld(wish, room);
    if (entry && block_assign(cfg, list, wish->host, entry - 1, now))
        return entry;
    entry = fixed ? block_unheld(wish, room) : 0;
    return entry && block_assign(cfg, list, wish->host, entry - 1, now) ? entry : 0;
}

/* A host's list of blocks, made if it has none. */
static __always_inline struct block_list *block_list_of(__be32 host, struct scratch *room)
{
    struct mapping_key key = {.inside_ip = host};
    struct block_list *list = block_lists.lookup(&key);
    if (list)
        return list;
    __builtin_memset(room->words, 0, sizeof(struct block_list));
    block_lists.insert(&key, (struct block_list *)room->words);
    return block_lists.lookup(&key);
}

/* A port to try, in host order; 0: none. */
static __always_inline u32 block_port(const struct config *cfg, struct block_wish *wish, u32 now)
{
    u32 zero = 0;
    struct scratch *room = scratch.lookup(&zero);
    struct block_list *list = room ? block_list_of(wish->host, room) : 0;
    if (!list)
        return 0;
    u32 port = block_search(cfg, list, wish, room);
    if (port)
        return port;
    u32 entry = wish->half ? wish->half : block_take(cfg, list, wish, room, now);
    wish->spent = !entry;
    if (!entry)
        entry = wish->any;
    return entry ? block_some(cfg, wish, entry - 1) : 0;
}

static __always_inline u64 block_parity(const struct config *cfg, u32 wanted)
{
    return cfg->flags & CONFIG_PARITY && wanted ? parity_mask(wanted) : ~0ULL;
}

/* For the first packet of a session from inside: back to the stage that makes it, or by way of an ended data session. */
static __always_inline int new_block(struct __sk_buff *skb, int at)
{
    struct packet p = {};
    struct config *cfg = parse_flow(skb, at, &p, true);
    if (!cfg)
        return drop(DROP_MALFORMED);
    struct block_wish wish = {.parity = block_parity(cfg, bpf_ntohs(p.source_port)),
                              .host = p.source,
                              .address = skb->cb[4] >> NEW_ADDRESS & (MAX_PUBLIC - 1),
                              .fixed = block_computed(cfg, p.source),
                              .proto = p.proto};
    if (wish.fixed && !(skb->cb[4] & NEW_BOUND))
        wish.address = (wish.fixed - 1) / BLOCK_ROWS;
    u32 port = block_port(cfg, &wish, now_tick()), tries = skb->cb[3];
    bool finish = !port || (wish.spent && tries & 1);
    skb->cb[2] = finish ? 0 : port;
    skb->cb[3] = tries + (port ? finish : LOST_TRIES);
    skb->cb[4] = (skb->cb[4] & (NEW_SAID | NEW_BOUND)) | wish.address << NEW_ADDRESS;
    if (tries >= ALLOCATE_TRIES)
        return refuse_new(skb, DROP_NO_BLOCK, at);
    stages.call(skb, finish ? STAGE_FINISH : STAGE_NEW_OUT);
    return drop(DROP_REWRITE_FAILED);
}

/* Takes an empty block back: 0, or an error. */
static __always_inline s32 block_withdraw(const struct config *cfg, u32 row, u32 now)
{
    struct port_block *block = port_blocks.lookup(&row);
    u64 seen = block ? *(volatile u64 *)&block->holder : 0;
    if (!block || !seen)
        return -2; /* ENOENT */
    if (seen >> 32 || now - block->stamp < cfg->block_idle)
        return -16; /* EBUSY */
    if (__sync_val_compare_and_swap(&block->holder, seen, 0) != seen)
        return -16;
    block->assigned = 0;
    struct mapping_key key = {.inside_ip = (u32)seen};
    struct block_list *list = block_lists.lookup(&key);
    if (list)
        block_list_change(list, row + 1, 0);
    block_mark(row, false);
    return 0;
}

/* What the control program passes on: a port to reserve, or a block to take back. */
static __always_inline int control_block(struct __sk_buff *skb)
{
    struct config *cfg = get_config();
    struct control_head h = {};
    if (!cfg || bpf_skb_load_bytes(skb, ETH_HEADER, &h, sizeof(h)))
        return TC_ACT_SHOT;
    u32 now = now_tick();
    if (h.op == CONTROL_UNBLOCK) {
        h.error = block_withdraw(cfg, h.port_index, now);
        h.count = !h.error;
    } else {
        __be32 host = owner_ip(h.owner);
        struct block_wish wish = {.parity = block_parity(cfg, h.port_index & 0xffff),
                                  .host = host,
                                  .address = (h.port_index >> 16) / 3,
                                  .fixed = block_computed(cfg, host),
                                  .proto = block_proto(h.port_index)};
        h.count = block_port(cfg, &wish, now);
        if (wish.spent && h.flags & RESERVE_TIRED) {
            u32 port = finish_take(skb, cfg, h.port_index >> 16, host);
            h.count = port ? port : h.count;
        }
        h.error = -11; /* EAGAIN: ask again with the port in `count` */
    }
    bpf_skb_store_bytes(skb, ETH_HEADER, &h, sizeof(h), 0);
    return TC_ACT_OK;
}

#endif
