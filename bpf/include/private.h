/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * private.h: values of maps that only C sees.
 *
 * The law of this file: nothing here outlives a load of the programs. The workspace belongs to the function that fills it,
 * and is overwritten by the next one that does.
 */
#ifndef ALGATE_PRIVATE_H
#define ALGATE_PRIVATE_H

#define OPTIONS_MAX 40 /* bytes of TCP options, RFC 9293 section 3.1 */

#define NAMED_END 32 /* bytes of a line's end: two addresses' worth, a power of two */

/* What the end of a server's line names (named.h), all through memory as UNKNOWN. */
struct named {
    u64 numbers; /* those that were read, the last one lowest: bytes, or a port */
    u32 number;  /* the one at hand */
    u32 scale;   /* of its next digit */
    u32 fields;  /* how many were read */
    u32 most;    /* separators of the form that it is of, 0: not known */
    u32 behind;  /* characters behind all numbers */
    u32 found;
    u32 opens; /* where in `end` the parenthesis stands before them, and where the one behind them */
    u32 closes;
    u8 end[NAMED_END];
};

/* What is too large for the stack, or is indexed in ways that the verifier allows in map values only. */
struct scratch {
    /* A payload to be digested (DIGEST_MAX); of an ICMP error the quote, and extensions behind it: below 2048 each for the verifier. */
    u64 words[4096 / 8];
    u8 options[64]; /* OPTIONS_MAX, up to a power of two so that an index can be masked */
    u8 changed[64];
    struct punt punt;    /* being sent to the helper */
    struct track track;  /* being made */
    struct adjust first; /* being made */
    struct notice made;  /* the session that was just made stands in it, whether it is told of or not */
    struct notice ended; /* of a session that is over; `kind` is 0 once it was told */
    struct host host;
    u32 tails_since; /* tick at which the count of punted tails began */
    u32 tails;
    u32 refused;        /* tick of the last PUNT_REFUSED */
    u32 mtu;            /* of the way out of the control packet at hand, for the helper; 0: not known */
    u32 cursor;         /* see UNKNOWN */
    struct named named; /* of the control packet at hand, once it was weighed */
    u32 retell;         /* it goes on in the other family's words (retell.h) */
    struct expectation_key named_key;
    struct expectation expected; /* being made, with this key */
    u64 claim;                   /* these five: as what a session from inside is made, through memory as UNKNOWN */
    u64 related;
    s32 address;
    u8 flags;
    u8 alg;
};

/* Through memory as UNKNOWN; 1 or 0. */
#define RETELL(room) (*(volatile u32 *)&(room)->retell)

#define HOP_ROWS 1024

/* An answer of the FIB: what was asked, and which way. */
struct hop {
    __be32 source;
    __be32 destination;
    u32 from;       /* ifindex that the packet came in by */
    u32 since;      /* tick of the answer */
    u32 ifindex;    /* to leave by */
    __be32 gateway; /* the next hop's address, or the destination's own on the link */
    u16 mtu;
    u8 proto;
    u8 sought; /* 1: a packet left since that the kernel was to find the neighbour of; 2: each one has to */
    u8 to_mac[6];
    u8 from_mac[6];
};

#if defined(SIX) || defined(NAT64)
/* The same for IPv6, and the handles of both addresses: see kept.h. */
struct hop6 {
    u64 ends[4]; /* source and destination */
    u32 from;
    u32 since;
    u32 ifindex;
    u32 gateway[4];
    u16 mtu;
    u8 proto;
    u8 asked;      /* 1: both handles were asked for since */
    __be32 source; /* handles; 0: not known */
    __be32 destination;
    u32 freed; /* how many handles had been freed when these were looked up */
    u32 sum;   /* of `ends`; this and the rest are for NAT64, whose rows are those of turn_kept.h */
    u8 to_mac[6];
    u8 from_mac[6];
    u8 near; /* 1: those are known */
    u8 pad[3];
};
#endif

#ifdef SIX
/* What is too large for the stack of the programs for IPv6. */
struct scratch6 {
    __be32 id6; /* these seven: what the walk over extension headers found, for the stages behind it */
    u16 fragment;
    u8 header_size;
    u8 proto;
    u8 options;
    u8 head;
    u8 routed;
    u8 fresh; /* and these: what name_ends found */
    __be32 names[2];
    u32 cursor;                     /* see UNKNOWN */
    struct interned row;            /* being made */
    struct expectation_key claimed; /* these four: as what a session is allowed that is to be made */
    u64 expectation;                /* 0: none was taken */
    u64 related;
    u8 alg;
    u8 flags;
    u8 leaves;         /* 1: its packet leaves at once */
    u16 askers[4];     /* who asks for handles: rows by kind from 1 on, 0: nobody who is limited */
    u8 spent[2];       /* whether that one has his share of them; and of the addresses of a /64 that is one host */
    u16 refused;       /* why there is none: a drop reason */
    u32 unknown_since; /* tick at which the count of punted tails whose ends were unknown began */
    u32 unknown;
    __be32 wanted; /* the handle that was asked for a stage ago */
    struct pieces pieces;
    u32 told_since; /* tick at which the count of NAT64's own ICMP errors began */
    u32 told;
    u64 heads[12]; /* headers being made for one of these, or of a turned error */
};

#define CUT_MOST 16384 /* bytes of payload that can be cut: no Ethernet frame has more */

/* The payload of a packet that is being cut, and as much behind it as one piece may have, for the verifier's sake. */
struct cut {
    u8 bytes[2 * CUT_MOST];
};

/* What stands in `heads`. */
struct told6 {
    struct ipv6hdr ip;
    u8 type;
    u8 code;
    u16 check;
    __be32 rest;
};

struct told4 {
    struct iphdr ip;
    u8 type;
    u8 code;
    u16 check;
    __be32 rest;
};

struct turned4 {
    struct iphdr ip;
    __be32 message[2];
    struct iphdr inner;
};
#endif

#endif
