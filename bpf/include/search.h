/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * search.h: finding a public port, one try a run.
 *
 * The law of this file: it proposes; the claim on the slot (ports.h) decides.
 */
#ifndef ALGATE_SEARCH_H
#define ALGATE_SEARCH_H

#define ALLOCATE_TRIES 12 /* tail calls end at 33 */
#define ALL_SEEN 2        /* tries after which the bitmap has been asked everywhere, see port_try */
#define LOW_TRIES \
    5 /* after so many a low port's user is given a high one: there are a thousand low ones for everybody */

static __always_inline u64 parity_mask(u32 port)
{
    return port & 1 ? 0xaaaaaaaaaaaaaaaaULL : 0x5555555555555555ULL;
}

/* `port`, or its neighbour if only that is even, or odd, as `wanted` is. */
static __always_inline u32 port_of_parity(u32 port, u32 wanted, u64 parity)
{
    return (port & ~1U) | ((parity == ~0ULL ? port : wanted) & 1);
}

static __always_inline void count_tries(u32 failed)
{
    count(failed == 0   ? COUNT_PORT_TRIES_1
          : failed == 1 ? COUNT_PORT_TRIES_2
          : failed < 4  ? COUNT_PORT_TRIES_4
                        : COUNT_PORT_TRIES_MORE,
          1);
}

/* A search for a public port, one try a run of its program: a loop over tries would pass what the verifier can follow. */
struct port_search {
    u64 owner;
    __be32 remote_ip; /* whom it will talk to */
    __be16 remote_port;
    u16 wanted; /* host order; 0: any */
    u16 port;   /* to try next; 0: the wanted one */
    u8 proto;
    u8 tries;    /* so far */
    bool rested; /* none that was in use lately, see port_rested */
    bool shared; /* towards this destination alone, see share.h */
    bool
        none; /* the bitmap shows none from where it was asked: `port` is a random one, or 0 if hosts have port blocks */
    u32 address; /* place of the public address */
};

/* A shared slot for the search's owner, with one reference: a free one, or one that is shared already. An end point that
 * asks for its own number joins once at most, lest all its destinations see one port (RFC 4787 section 4.1). */
static __always_inline bool search_join(const struct config *cfg, const struct port_search *search, u32 index,
                                        struct port_slot *slot, u32 now)
{
    __be32 host = owner_ip(search->owner);
    if (port_claim(cfg, index, slot, SHARED_OWNER, false, now)) {
        slot->forward_id = host;
        return true;
    }
    if (!search->tries && (slot->forward_id == host || slot->block))
        return false;
    if (!share_join(index, slot, search->proto))
        return false;
    if (!search->tries)
        slot->block = host;
    return true;
}

/* Whether nothing but what hold-down keeps for a former host is left, and RFC 6888 REQ-8 A or C lets us give that away: else a
 * host could have its share of the ports, and as many once more in hold-down. */
static __always_inline bool search_tired(const struct config *cfg, const struct port_search *search)
{
    return cfg->share_own && search->tries > ALL_SEEN && !(cfg->flags & CONFIG_FILTER_EIF);
}

/* The slot for the search's owner, with one reference, and the share that goes with it. */
static __always_inline bool search_claim(const struct config *cfg, const struct port_search *search, u32 index,
                                         struct port_slot *slot, u32 now)
{
    if (search->rested && !port_rested(slot, now))
        return false;
    if (!search->shared)
        return port_claim(cfg, index, slot, search->owner, search_tired(cfg, search), now);
    if (!search_join(cfg, search, index, slot, now))
        return false;
    struct share_key key = share_key_of(index, search->proto, search->remote_ip, search->remote_port);
    struct share fresh = {.owner = search->owner, .stamp = now};
    if (!shares.insert(&key, &fresh))
        return true;
    port_put(index, slot, search->proto);
    return false;
}

/* Gives back what the gateway's own socket turned out to have. */
static __always_inline void search_unclaim(const struct port_search *search, u32 index, struct port_slot *slot)
{
    if (!search->shared) {
        port_unclaim(index, slot, search->owner);
        return;
    }
    share_drop(index, search->proto, search->remote_ip, search->remote_port);
    port_put(index, slot, search->proto);
}

/* One try at a port of the class that `wanted` belongs to (RFC 4787 REQ-3a): the wanted one itself first, or a random one that
 * looks free if that lies outside the range, as half of all do on a node of a pair; then what the bitmap shows free behind a random place
 * (RFC 6056). A word at an edge of the range seems to have room where only ports beyond the range are free, so the second
 * and third try ask behind the first word, and from it on. When none is shown, a random one: ports in hold-down may still be
 * their former host's, or shared. Where hosts have port blocks the range is the block of the port to be tried, whatever its
 * class. Returns the row, or -1 with the next try's port in the search. */
static __always_inline s64 port_try(struct __sk_buff *skb, const struct config *cfg, struct port_search *search,
                                    u32 now)
{
    u32 first = cfg->port_first, last = cfg->port_last, port = search->port ? search->port : search->wanted;
    u64 parity = ~0ULL;
    u32 block = portblock_row(cfg, search->address, port);
    if (cfg->port_block) {
        first = portblock_first(block);
        last = first + cfg->port_block - 1;
    } else if (search->wanted && search->wanted < 1024 && search->proto != IPPROTO_ICMP && search->tries <= LOW_TRIES) {
        first = 1;
        last = 1023;
    }
    if (search->shared) /* the rest is left to those who need a port of their own */
        last -= (last - first) / 8;
    if (cfg->flags & CONFIG_PARITY && search->wanted) /* RFC 4787 REQ-4 */
        parity = parity_mask(search->wanted);
    bool guess = !search->port && !cfg->port_block && !search->shared && (port < first || port > last);
    if (guess)
        port = port_of_parity(first + bpf_get_prandom_u32() % (last - first + 1), search->wanted, parity);
    u32 index = port_index(search->address, search->proto, port);
    if (guess && !portbits_shows(index))
        port = 0;
    struct port_slot *slot = port >= first && port <= last ? ports.lookup(&index) : 0;
    u32 counted = slot && cfg->port_block ? portblock_enter(block, owner_ip(search->owner), now) : 0;
    if (cfg->port_block && !counted)
        slot = 0;
    if (slot && search_claim(cfg, search, index, slot, now)) {
        if (!search->shared)
            slot->forward_id = counted;
        portbits_take(index);
        if (!has_socket(skb, search->proto, search->remote_ip, search->remote_port,
                        cfg->public_ip[search->address & (MAX_PUBLIC - 1)], bpf_htons(port))) {
            count_tries(search->tries);
            return index;
        }
        search_unclaim(search, index, slot); /* the bit stays: nobody needs to ask for this port again */
    } else {
        portblock_leave(counted, now);
    }
    u32 from = first + bpf_get_prandom_u32() % (last - first + 1);
    u32 start = search->tries & 1 ? (first | 63) + 1 : search->tries & 2 ? first : from;
    u32 found =
        portbits_find(port_index(search->address, search->proto, 0), first, last, start > last ? first : start, parity);
    search->port = found ? found : port_of_parity(from, search->wanted, parity);
    search->none = !found;
    if (!found && cfg->port_block)
        search->port = 0;
    search->tries++;
    return -1;
}

#endif
