/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * portblock.h: port blocks: runs of public ports that are one inside host's alone, all protocols', so that a log needs a line for
 * each block and none for each session (RFC 6888 REQ-2 and REQ-14, RFC 8158). Which block a host takes is in new_block.h.
 *
 * The law of this file: a port of a block is in use only while the block counts it for its owner's host. Ports from before
 * `port_block` was set, and those of forwards, of the gateway itself and of blocks that sessions share, are in none.
 *
 * The race: holder and count are one word. Whoever wants a port counts first and looks then whose the block is; it is taken
 * back by compare-and-swap from a count of 0 alone. So a block never changes hands under a port.
 */
#ifndef ALGATE_PORTBLOCK_H
#define ALGATE_PORTBLOCK_H

#define BLOCK_PORT (1ULL << 32) /* one port in port_block.holder */

/* The row of a port's block. */
static __always_inline u32 portblock_row(const struct config *cfg, u32 address, u32 port)
{
    return address * BLOCK_ROWS + (port & ~(cfg->port_block - 1)) / BLOCK_UNIT;
}

static __always_inline u32 portblock_first(u32 row)
{
    return row % BLOCK_ROWS * BLOCK_UNIT;
}

/* If the block is this host's it counts one more port: 1 + row, else 0. */
static __always_inline u32 portblock_enter(u32 row, __be32 host, u32 now)
{
    struct port_block *block = port_blocks.lookup(&row);
    if (!block)
        return 0;
    if ((u32)__sync_fetch_and_add(&block->holder, BLOCK_PORT) == host) {
        block->stamp = now;
        return row + 1;
    }
    __sync_fetch_and_add(&block->holder, -BLOCK_PORT);
    return 0;
}

/* The block that counts a port in use: 1 + row, 0: none does. */
static __always_inline u32 portblock_of(const struct port_slot *slot, u8 kind)
{
    return kind == PORT_MAPPING || kind == PORT_RESERVED ? slot->forward_id : 0;
}

/* It counts one port less. Only once the port has no owner any more. */
static __always_inline void portblock_leave(u32 counted, u32 now)
{
    u32 row = counted - 1;
    struct port_block *block = counted ? port_blocks.lookup(&row) : 0;
    if (!block)
        return;
    block->stamp = now;
    __sync_fetch_and_add(&block->holder, -BLOCK_PORT);
}

#endif
