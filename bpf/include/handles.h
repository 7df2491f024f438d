/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * handles.h: a 32-bit handle for an IPv6 address, so that keys, owners and counts are those of IPv4.
 *
 * The law of this file: the established path looks handles up and makes none. Whoever makes a session, or anything else
 * that outlives its packet, asks for the handle (handle_want) and has it for at least HANDLE_IDLE from then on; only what
 * stands in a table after that keeps it. Handles are freed by the sweep alone (control6.h), when it found none in any
 * table and nobody asked for HANDLE_IDLE.
 *
 * The race: a handle never changes its address while anything holds it, so the arbiter (port_slot.owner, create-if-absent
 * on `sessions`) may compare handles as it compares addresses. Who interns: create-if-absent on `handles` decides between
 * two CPUs; the loser takes its row back, which nobody has seen, and uses the winner's handle. Who frees: one
 * compare-and-swap of the row's word from LIVE and the tick at which somebody asked last to GONE. Asking is a
 * compare-and-swap of the same word to LIVE and now, and then a second look at `handles`: had the row been freed before,
 * and its memory been given to another address, the entry would be gone. So either the freeing fails, or the asker does,
 * whose packet is dropped (reason `race`) and comes again. Rows are at random numbers, not the lowest free one, so that a
 * number doesn't come back soon.
 *
 * Who may have another one: an address is chosen freely, the device and MAC that a packet comes from are not so easily. So
 * each handle counts for the neighbour whose packet it was made for, who has his share (fair.h) of all, and half of that
 * for what he says of one /64 inside. Whoever rotates addresses is refused new ones, and nobody else; behind a router,
 * nobody of another /64. From outside all have the share of the one router.
 */
#ifndef ALGATE_HANDLES_H
#define ALGATE_HANDLES_H

#define HANDLE_TRIES 4
#define PLACES_TRIED 16                       /* by each try: more of them the verifier would not follow */
#define PLACES_MOST (HOSTS_A_NETWORK / 2 + 1) /* of those of one /64, what one neighbour may have */
#define A_NETWORK 1 /* instead of a host's handle: it is to be that of a /64, see counted_as */

static __always_inline u64 handle_word(u32 state, u32 tick)
{
    return (u64)state << 32 | tick;
}

static __always_inline void handle_count(s64 change)
{
    u32 row = POOL_HANDLES;
    struct pool *pool = pools.lookup(&row);
    if (pool)
        __sync_fetch_and_add(&pool->used, change);
}

/* Adds to the counts of those whom a row belongs to. */
static __always_inline void askers_count(const struct interned *row, s64 change)
{
    u32 first = row->askers[0], second = row->askers[1];
    u64 *one = first ? askers.lookup(&first) : 0, *other = second ? askers.lookup(&second) : 0;
    if (one)
        __sync_fetch_and_add(one, change);
    if (other)
        __sync_fetch_and_add(other, change);
}

/* What is asked for from here on counts for nobody. */
static __always_inline void askers_nobody(void)
{
    u32 zero = 0;
    struct scratch6 *room = scratch6.lookup(&zero);
    if (!room)
        return;
    room->askers[1] = room->askers[2] = room->askers[3] = 0;
    room->spent[0] = room->spent[1] = 0;
}

/* Whether somebody with `own` of all handles has `part` times less than his share, and not just few. */
static __always_inline bool asker_spent(const struct config *cfg, u64 own, u64 left, u64 part)
{
    return own >= SHARE_FLOOR && own * cfg->share_own * part >= left * cfg->share_free;
}

/* Whether those in room->askers may have more. Asked once for a packet, which makes three handles at most. */
static __always_inline void askers_judge(const struct config *cfg, struct scratch6 *room)
{
    u32 row = POOL_HANDLES, first = room->askers[1], second = room->askers[2], third = room->askers[3];
    struct pool *pool = pools.lookup(&row);
    u64 *neighbour = askers.lookup(&first), *network = askers.lookup(&second), *places = askers.lookup(&third);
    room->spent[0] = room->spent[1] = 0;
    if (!cfg->share_own || !pool || !neighbour || !network || !places)
        return;
    u64 used = pool->used, left = used < cfg->max_sessions ? cfg->max_sessions - used : 0;
    bool spent = asker_spent(cfg, *neighbour, left, 1);
    room->spent[0] = spent | asker_spent(cfg, *network, left, 2);
    room->spent[1] = spent | (*places >= PLACES_MOST);
}

/* The handle of an address, 0: it has none. */
static __always_inline __be32 handle_of(void *address)
{
    u32 *known = handles.lookup((struct address6 *)address);
    return known ? *known : 0;
}

/* Takes note that somebody wants this handle, which `address` had a moment ago. False: it is being freed. */
static __always_inline bool handle_touch(const struct address6 *address, __be32 handle, u32 now)
{
    struct interned *row = addresses6.lookup(&handle);
    if (!row)
        return false;
    for (int i = 0; i < HANDLE_TRIES; i++) {
        u64 seen = *(volatile u64 *)&row->word;
        if (seen >> 32 != HANDLE_LIVE)
            return false;
        if (seen == handle_word(HANDLE_LIVE, now) ||
            __sync_val_compare_and_swap(&row->word, seen, handle_word(HANDLE_LIVE, now)) == seen)
            return handle_of((void *)address) == handle;
    }
    return false;
}

#ifdef TURNS
/* A free one of the numbers of a /64's addresses, among some from a random one on; 0: there is none. */
static __always_inline u32 place_free(struct scratch6 *room, u32 network)
{
    UNKNOWN(room) = bpf_get_prandom_u32(); /* a known number would be followed for each place */
    for (u32 i = 0; i < PLACES_TRIED; i++) {
        u32 number = network | ((UNKNOWN(room) + i) % HOSTS_A_NETWORK + 1), handle = bpf_htonl(number);
        if (!addresses6.lookup(&handle))
            return number;
    }
    return 0;
}
#else
/* One of them, free or not: the filter's programs that make handles have no room for a search. */
static __always_inline u32 place_free(struct scratch6 *room, u32 network)
{
    return network | (bpf_get_prandom_u32() % HOSTS_A_NETWORK + 1);
}
#endif

/* A number for a handle: any below NETWORK_BIT; of a /64 one above it whose last byte is 0; of a host of that one which differs
 * from it in that byte. */
static __always_inline u32 handle_number(struct scratch6 *room, __be32 host)
{
    u32 random = bpf_get_prandom_u32();
    if (host == A_NETWORK)
        return NETWORK_BIT | (random & (NETWORK_BIT - 1) & ~HOSTS_A_NETWORK);
    if (host)
        return place_free(room, bpf_ntohl(host));
    return random & (NETWORK_BIT - 1);
}

/* A handle for an address that had none, 0: there is no room. `host`: 0, A_NETWORK, or the handle under which it is counted:
 * of one /64 HOSTS_A_NETWORK addresses have one at a time. */
static __always_inline __be32 handle_make(const struct address6 *address, __be32 host, u32 now)
{
    u32 zero = 0;
    struct scratch6 *room = scratch6.lookup(&zero);
    if (!room)
        return 0;
    bool place = host && host != A_NETWORK;
    room->refused = DROP_SHARE_ADDRESSES;
    if (room->spent[place])
        return 0;
    room->refused = DROP_ADDRESSES_FULL;
    room->row.askers[0] = room->askers[1];
    room->row.askers[1] = room->askers[2 + place];
    __builtin_memcpy(room->row.bytes, address->bytes, 16);
    room->row.word = handle_word(HANDLE_LIVE, now);
    for (int i = 0; i < HANDLE_TRIES; i++) {
        u32 handle = bpf_htonl(handle_number(room, host));
        if (!handle)
            continue;
        room->row.host = host && host != A_NETWORK ? host : handle;
        if (addresses6.insert(&handle, &room->row))
            continue;
        if (!handles.insert((struct address6 *)address, &handle)) {
            handle_count(1);
            askers_count(&room->row, 1);
            return handle;
        }
        addresses6.delete(&handle);
        handle = handle_of((void *)address);
        if (handle)
            return handle_touch(address, handle, now) ? handle : 0;
    }
    return 0;
}

/* The handle of an address, for whoever will put it into a table; 0: there is no room. */
static __always_inline __be32 handle_want(const struct address6 *address, __be32 host, u32 now)
{
    u32 zero = 0;
    __be32 known = handle_of((void *)address);
    struct scratch6 *room = scratch6.lookup(&zero);
    if (!room)
        return 0;
    room->refused = DROP_RACE;
    if (known)
        return handle_touch(address, known, now) ? known : 0;
    return handle_make(address, host, now);
}

/* The same of an inside host, which is counted as itself, or as its /64. */
static __always_inline __be32 handle_want_host(const struct address6 *address, bool network, u32 now)
{
    __be32 host = 0;
    if (network) {
        struct address6 first = {};
        __builtin_memcpy(first.bytes, address->bytes, 8);
        host = handle_want(&first, A_NETWORK, now);
        if (!host)
            return 0;
    }
    return handle_want(address, host, now);
}

#endif
