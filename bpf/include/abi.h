/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * abi.h: every struct, enum and constant that C and Python both see, and nothing else.
 *
 * The law of this file
 *   - This is the only definition: abi.py reads this text and derives ctypes layouts from it; the loader proves
 *     sizes against the loaded maps and a test proves offsets against clang.
 *   - Fixed-width fields only. No bitfields, no two-dimensional arrays, no implicit padding, no nested anonymous types.
 *   - __be32/__be16 are network byte order, everything else is host order.
 *   - A tick is 2^20 ns (about 1.05 ms) of CLOCK_MONOTONIC, in 32 bits: it wraps after 52 days; compare modulo 2^32.
 *   - Enumerators keep their numbers for ever: append only. A gap is a former one, whose number stays taken.
 */
#ifndef ALGATE_ABI_H
#define ALGATE_ABI_H

#define TICK_SHIFT 20        /* ns >> TICK_SHIFT = tick */
#define MAX_PUBLIC 16        /* public addresses of one gateway */
#define MAX_LANS 16          /* inside devices of one gateway */
#define MAX_FORWARDS 1024    /* [[forward]] entries, a range counts as one */
#define MAX_CORRECTIONS 8    /* unacknowledged length changes per direction of a control session */
#define DIGEST_MAX 1536      /* largest control payload (bytes) that a decision can cover; longer is always punted */
#define REPLACEMENT_MAX 1536 /* largest payload (bytes) that a decision can put in its place */
#define PUNT_FRAME_MAX 65000 /* largest frame (bytes) copied to the perf ring: the sample itself ends at 65,454 */
#define CONTROL_BATCH 20     /* session keys in one request to the control program: the verifier follows each */
#define AGED_ROWS 256        /* rows of `ports` that one CONTROL_AGE_PORTS looks at; with more the verifier gives up */
#define PORTS_PER_ADDRESS 196608 /* 3 protocol classes x 65,536 ports */
#define BITMAP_WORDS 1024        /* 64-bit words of one block of 65,536 ports in `port_bits` */
#define BITMAP_BLOCK 1040        /* those and 16 more, each bit of which says that a word is full */
#define PORT_REST 65536          /* ticks, 69 s: a public port used since is not reserved again while others are free */
#define EXEMPT_ROW 0xffffffff    /* session.port_index of a session that is not translated */
#define BLOCK_UNIT 64            /* ports: a port block is so many times 2^n, and begins at a multiple of its size */
#define BLOCK_ROWS 1024          /* rows of `port_blocks` for one public address: one for each BLOCK_UNIT ports */
#define BLOCK_WORDS 16           /* 64-bit words of one public address in `block_bits` */
#define BLOCK_USABLE 256         /* from this row of `block_bits` on: where a block may be given out */
#define BLOCKS_PER_HOST 32
#define CLASS_ALONE 1 /* minor number of the class that an ingress filter is attached with: nothing is in front of it */
#define CLASS_BEHIND 2    /* it is behind a program on the device's own hook */
#define STAGES_SIX 32     /* rows of `stages`: from here on the programs for IPv6, in the order of enum stage */
#define HANDLE_IDLE 65536 /* ticks, 69 s: a handle that nobody asked for since may be freed, see handles.h */
#define PIECE_WORDS 128   /* 64-bit words of a datagram's bitmap: a bit for each 8 bytes of 65,536 */

/* Direction of a packet relative to the gateway. */
enum direction {
    DIR_OUT = 0, /* inside to outside */
    DIR_IN = 1,  /* outside to inside */
};

/* Rows of the port table: RFC 4787 keeps mappings separate per protocol (RFC 7857 section 5). */
enum proto_class {
    CLASS_TCP = 0,
    CLASS_UDP = 1,
    CLASS_ICMP = 2, /* the "port" is the echo identifier, RFC 5508 section 3.1 */
};

/* State of a session; TCP after RFC 7857 section 2 and RFC 6146 section 3.5.2. */
enum session_state {
    STATE_DEAD = 0, /* being deleted: matches nothing */
    STATE_NEW = 1,  /* SYN seen one way */
    STATE_ESTABLISHED = 2,
    STATE_FIN_IN = 3,  /* FIN from outside */
    STATE_FIN_OUT = 4, /* FIN from inside */
    STATE_CLOSING = 5, /* FIN from both, last ACK missing */
    STATE_TIME_WAIT = 6,
    STATE_RESET = 7,     /* RST seen: data revives it, RFC 7857 section 2.2 */
    STATE_UNREPLIED = 8, /* UDP, ICMP: one way only */
    STATE_ACTIVE = 9,    /* UDP, ICMP: both ways */
};

/* Bits next to the state, in the same word. */
enum state_bit {
    BIT_SYN_OUT = 256, /* a SYN of DIR_OUT was seen */
    BIT_SYN_IN = 512,
    BIT_UNANSWERED = 1024, /* STATE_NEW, and counted in its host's `unanswered` */
    BIT_LATE_OUT = 2048,   /* a FIN of DIR_OUT came before data that it stands behind; next[DIR_OUT] acknowledges it */
    BIT_LATE_IN = 4096,
    BIT_DOUBT = 8192, /* the numbers are what the inside said last, and the outside hasn't confirmed them: window.h */
    BIT_FIN_OUT = 16384, /* STATE_RESET, and the FIN of DIR_OUT had counted */
    BIT_FIN_IN = 32768,
};

enum session_flag {
    SESSION_FORWARD = 1,  /* made through a [[forward]]: the server is inside */
    SESSION_LOCAL = 2,    /* the inside end point is the gateway itself */
    SESSION_EXEMPT = 4,   /* not translated */
    SESSION_EXPECTED = 8, /* made by an expectation */
    SESSION_PEER = 64,    /* counted in `peers` */
};

/* Index into config.timeouts. */
enum timeout_kind {
    TIMEOUT_TCP_OPENING = 0,
    TIMEOUT_TCP_ESTABLISHED = 1,
    TIMEOUT_TCP_CLOSING = 2,
    TIMEOUT_TCP_RESET = 3,
    TIMEOUT_UDP = 4,
    TIMEOUT_ICMP = 5,
    TIMEOUT_COUNT = 6,
};

/* One 5-tuple, always written from the inside end point's view, untranslated. ICMP: inside_port is the echo id, remote_port
 * 0, for the remote side has none of its own. */
struct session_key {
    __be32 inside_ip;
    __be32 remote_ip;
    __be16 inside_port;
    __be16 remote_port;
    __u8 proto;
    __u8 pad[3];
};

/* 64 bytes: with its key and the 48 bytes that the hash puts before them an entry fills two cache lines. The public port
 * is the low half of port_index. state, alg, flags and last_seen are one word of 8 bytes: it moves by compare-and-swap.
 * Counters by direction, plain adds: two CPUs on one direction of one flow may lose a count. TCP numbers by direction of the
 * data, always the sender's own, before any shift (window.h). */
struct session {
    __u64 id;         /* creation time (ns, CLOCK_MONOTONIC), CPU in the low byte: unique, also the generation */
    __u64 bytes[2];   /* of IP packets in the low 56 bits; above them the high 8 bits of packets */
    __u32 packets[2]; /* the low 32 bits */
    __u32 acked[2];   /* what the receiver acknowledged last */
    __u32 next[2];    /* what the receiver expects next, if all that passed has come to it */
    __u16 state;      /* enum session_state in the low byte, enum state_bit above */
    __u8 alg;         /* enum of registry numbers, 0: none */
    __u8 flags;       /* enum session_flag */
    __u32 last_seen;  /* tick; a plain store of nearly equal values */
    __u32 port_index; /* row of `ports` that holds the mapping */
    __be32 public_ip; /* 0: not translated */
};

enum port_kind {
    PORT_FREE = 0,
    PORT_MAPPING = 1,  /* an inside end point's */
    PORT_FORWARD = 2,  /* static, of a [[forward]] */
    PORT_RESERVED = 3, /* held for an expectation */
    PORT_LOCAL = 4,    /* the gateway's own socket */
    PORT_HOME = 5,     /* an inside end point's, under the number that it has inside: not in `mappings` */
    PORT_SHARED = 6,   /* several inside end points', each towards other destinations: see `shares` */
};

/* One public port. Only `owner` decides who holds it: it changes from 0 only by compare-and-swap.
 * Layout of owner, from the low byte: inside_ip (4 bytes, as on the wire), inside_port (2, as on the wire), kind, generation. */
struct port_slot {
    __u64 owner;
    __u32 sessions;   /* references; 0 in a slot with an owner: being made or being freed */
    __u32 away;       /* entries of `mappings` whose inside port has this row's number; only for the first address */
    __u32 stamp;      /* tick of creation; once freed, of the release */
    __be32 last_host; /* who held it before: hold-down, RFC 6888 section 8 */
    __u32
        forward_id; /* PORT_FORWARD: index into `forwards`; PORT_SHARED: inside_ip of who had it first; PORT_MAPPING and
                       * PORT_RESERVED: 1 + row of the port block that counts it, 0: none does */
    __u32 block; /* PORT_RESERVED in a block that sessions share: the port of its first; PORT_SHARED: inside_ip of the
                       * second who came for its own number; else 0 */
};

/* A block of ports of one public address, all protocols' (RFC 6888 REQ-14). Its row is address * BLOCK_ROWS + first port /
 * BLOCK_UNIT. Only `holder` decides whose it is: it changes from 0, and back to 0, by compare-and-swap. */
struct port_block {
    __u64 holder;   /* inside_ip, as on the wire, in the low half; above it how many of its ports are in use */
    __u64 assigned; /* ns, CLOCK_MONOTONIC; 0: it was given out this very moment, or isn't */
    __u32 stamp;    /* tick of the last port taken from it or given back */
    __u32 size;     /* ports */
};

/* The port blocks of one inside host: 1 + row of `port_blocks`, 0: none. */
struct block_list {
    __u64 rows[32]; /* BLOCKS_PER_HOST */
};

/* Inside hosts whose first port block is computed (RFC 7422): value of `block_networks`. */
struct block_network {
    __u32 first; /* number of the network's first host among all such hosts */
    __u32 mask;  /* host bits of its addresses, host order */
};

/* Of a PORT_SHARED: towards whom it is whose. ICMP: remote_port is 0. */
struct share_key {
    __u32 port_index;
    __be32 remote_ip;
    __be16 remote_port;
    __u16 pad;
};

struct share {
    __u64 owner; /* as in port_slot, of kind PORT_MAPPING */
    __u32 stamp; /* tick of creation */
    __u32 pad;
};

/* Where the data of an expected TCP session begins: the number of the first payload byte, by direction of the data. */
struct beginning {
    __u32 seq[2];
};

/* A data session that is over, see finish.h. */
struct finished {
    struct session_key key;
    __u64 id;
};

/* Inside end point -> public port: the RFC 6146 BIB, by its inside key, without those that `ports` itself leads to
 * (PORT_HOME). */
struct mapping_key {
    __be32 inside_ip;
    __be16 inside_port;
    __u8 proto;
    __u8 pad;
};

struct mapping {
    __u32 port_index;
    __u32 pad;
};

enum forward_flag {
    FORWARD_USED = 1,
    FORWARD_SOURCES = 2, /* `forward_sources` lists who may use it */
    FORWARD_LIVE = 4,    /* added by the CLI, not by the configuration */
};

struct forward {
    __be32 to_ip;
    __u16 to_port;   /* inside port that wan_first maps to; host order */
    __u16 wan_first; /* host order */
    __u16 wan_last;
    __u8 proto;
    __u8 alg;
    __u32 flags; /* enum forward_flag */
    __u64 hits;
};

/* Longest-prefix key of `forward_sources`: the forward's index in front of the address. */
struct forward_source_key {
    __u32 prefix_len; /* 32 + prefix length */
    __u32 forward_id;
    __be32 address;
};

/* (protocol, destination port) -> what to do: key of `alg_ports` and `allow_out`. */
struct service_key {
    __be16 port;
    __u8 proto;
    __u8 pad;
};

enum expectation_state {
    EXPECT_PENDING = 1, /* holds the public port, admits nothing but by EXPECT_EARLY; a SYN that matches is held */
    EXPECT_OPEN = 2,    /* both sides agreed */
    EXPECT_USED = 3,
};

enum expectation_flag {
    EXPECT_PERSISTENT = 1, /* admits more than one connection, until it expires */
    EXPECT_EARLY = 2,      /* its peer is known to connect before it agrees: a pending one admits it, too */
};

/* Who may connect to what. DIR_IN: to is public ip:port; DIR_OUT: to is remote ip:port and from the inside host. Of a range
 * of ports to_port is, DIR_IN, the first of the shared block (port_slot.block), DIR_OUT 0. */
struct expectation_key {
    __be32 from; /* 0: any, only where a plug-in asked for it and policy allows it */
    __be32 to;
    __be16 to_port;
    __u8 proto;
    __u8 dir; /* enum direction of the first packet */
};

/* Ids of what the kernel expects by itself (named.h): this bit, the port, and a clock. */
#define EXPECT_NAMED 63
#define EXPECT_NAMED_PORT 47 /* the lowest bit of the port */

struct expectation {
    __u64 id;
    __u64 control_id;               /* id of the control session: the expectation dies with it */
    struct session_key control_key; /* that session's key in `sessions` */
    __u64 state;                    /* enum expectation_state; to used by compare-and-swap in the kernel */
    __be32 inside_ip;               /* DIR_IN: where the connection is sent */
    __be16 inside_port;
    __u8 alg;
    __u8 flags;       /* enum expectation_flag */
    __u32 port_index; /* DIR_IN: reserved row of `ports` */
    __u32 expires;    /* tick */
    __be16 from_port; /* the connection comes from this port, 0: from any */
    __u16 first;      /* host order: adjacent destination ports first to last, 0: the key's alone */
    __u16 last;
    __u16 pad;
};

/* A stretch of a sender's stream that was replaced by bytes of another length. Sequence numbers of the sender. */
struct correction {
    __u32 start;
    __u32 end;
    __s32 before; /* shift of what is before start */
    __s32 after;  /* shift from end on */
};

enum adjust_flag {
    ADJUST_BYPASS = 1,  /* the helper no longer watches: payload passes, shifts stay */
    ADJUST_LINES = 2,   /* both streams are at a line's end: lines with a word in `passable` may pass */
    ADJUST_OWED = 4,    /* behind what is decided come bytes that the gateway acknowledged for the receiver, and has */
    ADJUST_COPIES = 8,  /* something of interest is unanswered: of each such line the helper gets a copy */
    ADJUST_BEGINS = 16, /* nothing was decided yet: `decided` is what follows the SYNs */
    ADJUST_SETTLES =
        32, /* what is unanswered is known for certain: a LINE_SETTLES that leaves nothing so ends what ADJUST_COPIES says */
};
#define ADJUST_UNANSWERED 8  /* bits 8 to 15 of adjust.flags: final replies that are still to come at that moment */
#define ADJUST_REMEMBERED 16 /* bits 16 to 23: what the plug-in hands on to the next helper's conversation */

/* What of a new session's first lines may pass, whatever its ends: what the helper would say of it. Row: session.alg, and
 * OPENING_MIXED more if NAT64 stands between its ends. */
#define OPENING_MIXED 256
struct opening {
    __u32 flags;    /* of adjust; 0: the helper says so of each session by itself */
    __u32 interest; /* of adjust */
    __u32 lasts;    /* ticks for which the kernel expects what a LINE_NAMES names; 0: such a line is held */
};

/* Only the helper writes it, all at once, but for the first one (struct opening). Index: enum direction of the data.
 * Corrections: DIR_OUT 0..7, DIR_IN 8..15. */
struct adjust {
    __u64 id;         /* of the session: another id means a dead generation */
    __u32 decided[2]; /* sender's sequence number up to which the helper has decided */
    __s32 base[2];    /* shift before the first correction kept here */
    __u32 count[2];   /* corrections in use */
    __u32 flags;      /* enum adjust_flag */
    __u32 interest;   /* ADJUST_LINES: which rows of `passable` hold */
    __u64 lines;      /* track.lines as the helper last took account of it */
    __u64 agrees;     /* id of a pending expectation, 0: none. LINE_AGREES opens it if it is what comes next */
    struct expectation_key agrees_key; /* its row */
    __u32 pad;
    struct correction at[16];
};

/* What the kernel knows of the two TCP streams of a control session; only the kernel writes it. Index: enum
 * direction of the segment. Sequence and acknowledgement numbers are the sender's own, before any shift. */
struct track {
    __u64 id;
    __u32 isn[2];
    __u32 next[2];     /* highest sequence number seen, FIN included */
    __u32 acked[2];    /* highest acknowledgement of the data of this direction, mapped back to the sender's numbers */
    __u32 ack_sent[2]; /* highest acknowledgement of the data of this direction, as the receiver wrote it */
    __u32 window[2];   /* window field of the last segment sent in this direction, unscaled */
    __u32 ts_value[2]; /* latest timestamp option sent in this direction, 0: none */
    __u16 mss[2];      /* of the SYN in this direction, 536 if it had none, RFC 9293 section 3.7.1 */
    __u8 window_scale[2]; /* 255: not offered */
    __u8 flags;           /* enum track_flag */
    __u8 opening;         /* what LINES_COPIES counted up to and with the last copy after which all lines are copied */
    __u64 lines;          /* what passed without the helper, see LINES_COMMANDS; changes by compare-and-swap */
    __u32
        line_seq[4]; /* the last lines that did, two for each direction: each has a decision until it is acknowledged */
    __u16 line_size[4];    /* 0: none; with LINE_SIZE_RETOLD */
    __u32 ts_recent[2];    /* the receiver's TS.Recent, as far as lines that passed by themselves moved it, or 0 */
    __u64 punted[2];       /* what the latest segment copied to the helper said, see segment_said(); 0: none */
    __u32 punted_at[2];    /* tick */
    __u16 punted_count[2]; /* the low bits of `lines` that its copy carries */
    __u32 syn;             /* the number behind the last SYN from inside that began nothing, 0: there was none */
    __u64 agreed;          /* the last adjust.agrees that a reply agreed to */
    __u64 asked;           /* `lines` with the last EPSV that went on as PASV, if all before it was answered; 0: none */
    __u64 settled;         /* `lines` with the last LINE_SETTLES that left nothing unanswered, 0: none */
};

/* Bits of track.lines, all counted modulo: segments punted (the low 16 bits), commands and final replies that passed without
 * waiting for the helper, of how many lines it got a copy, and their bytes by direction. A statement of the helper
 * (ADJUST_LINES) holds while nothing was punted since. */
#define LINES_COMMANDS 16       /* 7 bits */
#define LINES_REPLIES 23        /* 7 bits */
#define LINES_COPIES 30         /* 6 bits */
#define LINES_BYTES 36          /* 14 bits of DIR_OUT, then 14 of DIR_IN */
#define LINE_MAX 256            /* longest line (bytes) that passes without waiting */
#define LINE_SIZE_RETOLD 0x8000 /* in track.line_size: it went on in other words, which stand in `replacements` */

/* What becomes of a line with a word in `passable`. */
enum line {
    LINE_HELD = 0,   /* there is no such row */
    LINE_PASSES = 1, /* of no interest: only counted */
    LINE_COPIED = 2, /* passes, and the helper gets a copy; until that is judged, of what follows as well */
    LINE_TOLD = 3,   /* passes, and the helper gets a copy, by which nothing else begins to matter */
    LINE_QUIET = 8,  /* added to any of these: a copy needn't wake the helper, which looks within 10 ms anyway */
    LINE_AGREES =
        16, /* added to that of a reply: it opens the expectation that the helper's record names (adjust.agrees) */
    LINE_NAMES =
        32, /* added to that of a reply: it names a connection, which the kernel must expect before it passes */
    LINE_RETOLD =
        64, /* added to any but LINE_HELD, between two IP families: it goes on in the other one's words (retell.h) */
    LINE_SETTLES =
        128, /* added to that of a reply: if all is answered with it, nothing that came before matters any more */
};

/* A first word that nobody waits for: a command's verb in upper case, or a reply's three digits, zero-padded. Zeros alone: the
 * value is the interest that holds behind a LINE_SETTLES. */
struct passable_key {
    __u32 interest;
    __u8 reply; /* 1: the word is a reply's */
    __u8 pad[3];
    __u8 word[4];
};

enum track_flag {
    TRACK_TIMESTAMPS = 1, /* both SYNs carried the option */
    TRACK_SACK = 2,
    TRACK_UNTOUCHABLE = 4, /* TCP-MD5 or TCP-AO: can't be rewritten, bypassed (RFC 2385, RFC 5925) */
    TRACK_SYN_OUT = 8,     /* the SYN of DIR_OUT was seen */
    TRACK_SYN_IN = 16,
    TRACK_FIN_OUT = 32, /* the FIN of DIR_OUT went on, right behind what was decided */
    TRACK_FIN_IN = 64,
};

enum verdict {
    VERDICT_PASS = 1,
    VERDICT_REPLACE = 2,
};

struct decision_key {
    __u64 id;  /* session */
    __u32 seq; /* of the first byte, sender's number */
    __u16 size;
    __u8 dir;
    __u8 pad;
};

struct decision {
    __u64 digest;     /* of the payload that this was decided for */
    __u32 sum_change; /* VERDICT_REPLACE: what the TCP checksum's sum gains, as bpf_csum_diff gives it */
    __u16 new_size;   /* VERDICT_REPLACE: bytes in `replacements` under the same key */
    __u8 verdict;     /* enum verdict */
    __u8 pad;
};

struct replacement {
    __u8 bytes[1536]; /* REPLACEMENT_MAX */
};

enum punt_kind {
    PUNT_SEGMENT = 1,     /* control payload, or a FIN or RST beyond what was decided: the original is held */
    PUNT_DATA_SYN = 2,    /* first packet of a connection whose expectation is pending: held */
    PUNT_EXPECT_USED = 3, /* no frame: expectation_id was used by session id */
    PUNT_OPENED = 4,      /* no frame: a control session was made */
    PUNT_TAIL = 5,        /* a fragment that came before its head: held */
    PUNT_REFUSED = 6, /* the start of a packet that was dropped for want of room: tell its sender (RFC 5508 REQ-8) */
    PUNT_TOO_BIG = 7, /* as PUNT_SEGMENT, but larger than `mtu` and not to be fragmented: tell its sender (RFC 1191) */
    PUNT_UNSENT = 8,  /* the start of a frame of the helper that found no way out, seq: drop reason; id 0: nobody's */
    PUNT_PATH = 9,    /* no frame: a router takes `mtu` bytes (0: it doesn't say) of dir; payload_size: it was given */
    PUNT_COPY = 10,   /* a line that passed: as PUNT_SEGMENT, but it went on; `lines`: itself counted */
    PUNT_RETOLD = 11, /* the same of a line that went on in the other family's words: this is what its sender said */
};

/* Precedes the frame in the perf ring. */
struct punt {
    __u64 time;           /* ns, CLOCK_MONOTONIC */
    __u64 id;             /* session */
    __u64 expectation_id; /* PUNT_COPY, PUNT_RETOLD: which the kernel made as the line passed, or 0 */
    struct session_key key;
    __u32 acked[2];       /* track.acked at this moment */
    __u32 frame_size;     /* bytes of the frame, all of which follow */
    __u32 seq;            /* of the first payload byte, sender's number */
    __u16 payload_offset; /* from the start of the frame */
    __u16 ip_offset;
    __u32 payload_size;
    __u8 kind; /* enum punt_kind */
    __u8 dir;  /* enum direction */
    __u8 alg;
    __u8 tcp_flags;
    __u8 session_flags; /* enum session_flag */
    __u8 pad[3];
    __be32 public_ip;
    __be16 public_port;
    __u16 mtu;          /* largest packet that the way out takes, headers included, in dir; 0: not known */
    __u64 lines;        /* PUNT_SEGMENT: track.lines, this punt counted */
    __u32 ts_recent[2]; /* track.ts_recent at this moment */
};

/* What is told of one session, in the perf ring `notices`. */
enum notice_kind {
    NOTICE_NONE = 0,
    NOTICE_MADE = 1,
    NOTICE_ENDED = 2,
};

enum notice_flag {
    NOTICE_PORT = 1,   /* its public port was taken for its inside end point with it, or is free again */
    NOTICE_SHARED = 2, /* that port is this end point's towards this destination alone */
};

struct notice {
    __u64 time;    /* ns, CLOCK_MONOTONIC */
    __u64 related; /* id of the control session that expected it, or 0 */
    struct session_key key;
    struct session session; /* as it was made, or at its end */
    __u32 since;            /* NOTICE_ENDED: tick at which its public port was taken */
    __u8 kind;              /* enum notice_kind */
    __u8 flags;             /* enum notice_flag */
    __u16 pad;
};

/* What of it is asked for, config.tell; 0: nothing. */
enum tell_flag {
    TELL_SESSIONS = 1, /* of all sessions */
    TELL_PORTS = 2,    /* of those with NOTICE_PORT */
    TELL_WATCHED = 4,  /* only of those that an ALG watches */
    TELL_TCP = 8,      /* of this protocol class, and the next two */
    TELL_UDP = 16,
    TELL_ICMP = 32,
};

/* First byte of the destination MAC of a frame that the helper writes to its TAP device; 0x02 is "locally administered". */
enum inject_kind {
    INJECT_OUT = 0x12,     /* as the inside host sent it: gate, translate, leave by the WAN */
    INJECT_IN = 0x22,      /* as the outside host sent it */
    INJECT_RAW_OUT = 0x32, /* finished: leaves by the WAN unchanged */
    INJECT_RAW_IN = 0x42,  /* finished: leaves by the route to its destination unchanged */
};

enum config_flag {
    CONFIG_MAPPING_APDM = 1, /* mapping address-and-port-dependent; else endpoint-independent, RFC 4787 section 4.1 */
    CONFIG_FILTER_EIF = 2,   /* filtering endpoint-independent; RFC 4787 section 5 */
    CONFIG_FILTER_ADF = 4,   /* filtering address-dependent; neither: address-and-port-dependent */
    CONFIG_PARITY = 8,
    CONFIG_HAIRPIN = 16,
    CONFIG_FAIL_OPEN = 32,
    CONFIG_ALLOW_LIST = 64, /* only `allow_out` may open from inside */
    CONFIG_EXEMPT = 256,    /* `exempt` is not empty */
};

struct config {
    __u64 secret; /* seed of the payload digest, new per pin folder */
    __u32 wan;    /* ifindex */
    __u32 flags;  /* enum config_flag */
    __u32 public_count;
    __be32 public_ip[16]; /* MAX_PUBLIC; position = row block of `ports` */
    __u32 lan[16];        /* MAX_LANS: ifindex, 0 ends the list */
    __u8 wan_mac[8];      /* 6 bytes, 1 for a device of bare IP packets (no Ethernet header), padding */
    __u8 lan_mac[128];    /* MAX_LANS of 8 bytes each, like wan_mac */
    __u32 timeouts[6];    /* ticks, enum timeout_kind */
    __u16 port_first;     /* host order */
    __u16 port_last;
    __u16 mss_clamp; /* 0: off */
    __u16 pad;
    __u32 helper_timeout;        /* ticks */
    __u32 hold_down;             /* ticks */
    __u32 max_sessions_per_host; /* 0: no limit */
    __u32 max_ports_per_host;
    __u32 new_sessions_per_second;
    __u32 max_unanswered_per_host; /* TCP */
    __u32 share_own;               /* a host may go on while own * share_own < free * share_free; 0: it may always */
    __u32 share_free;              /* these two add up to SHARE_WHOLE */
    __u32 max_sessions;            /* entries that `sessions` has room for */
    __u32 port_block;              /* ports of a port block, 0: hosts get single ports */
    __u32 block_idle;              /* ticks that a block is kept at least when none of its ports is in use */
    __u32 block_first;             /* the first block's port / BLOCK_UNIT */
    __u32 block_count;             /* whole blocks of one public address */
    __u32 tell;                    /* enum tell_flag */
    __be32 tell_net;               /* of inside hosts in this network alone */
    __be32 tell_mask;
    __u32 gone_at;   /* tick from which on nothing of the leased port blocks passes, 0: they aren't leased; lease.h */
    __u64 new_until; /* ns, CLOCK_BOOTTIME: from then on no public port is given out; 0: always */
};

/* Rows of the per-CPU array `counters`. */
enum counter {
    COUNT_PACKETS_OUT = 0, /* translated */
    COUNT_PACKETS_IN = 1,
    COUNT_BYTES_OUT = 2,
    COUNT_BYTES_IN = 3,
    COUNT_SESSIONS_NEW = 4,
    COUNT_PUNTS = 5,
    COUNT_PUNTS_LOST = 6,     /* the perf ring refused */
    COUNT_DECISIONS_PASS = 7, /* segments that met a decision */
    COUNT_DECISIONS_REPLACE = 8,
    COUNT_REINJECTED = 9,
    COUNT_EXPECTATIONS_USED = 10,
    COUNT_XDP_REDIRECTED = 11,
    COUNT_TC_REDIRECTED = 12,
    COUNT_TO_STACK = 13,    /* handed to the host's stack */
    COUNT_ICMP_ERRORS = 14, /* translated */
    COUNT_FAIL_OPEN = 15,   /* undecided payload passed with the helper dead and fail = "open" */
    COUNT_SESSIONS_ENDED = 16,
    COUNT_ALG_SEGMENTS = 17, /* payload segments on control sessions, punted or not */
    COUNT_PORT_TRIES_1 = 18, /* public ports got at the first try */
    COUNT_PORT_TRIES_2 = 19,
    COUNT_PORT_TRIES_4 = 20, /* at the third or fourth */
    COUNT_PORT_TRIES_MORE = 21,
    COUNT_HAIRPINS = 22,
    COUNT_LINES_PASSED = 23,    /* control segments of one line each that the helper had no interest in */
    COUNT_TOO_BIG = 24,         /* control packets larger than their way out takes, whose senders were to be told */
    COUNT_LINES_COPIED = 25,    /* such segments that passed at once, and were copied to the helper */
    COUNT_IGNORED = 26,         /* RST, SYN, FIN that their receiver would not accept: passed on, no state moved */
    COUNT_NOTICES = 27,         /* told through `notices` */
    COUNT_NOTICES_LOST = 28,    /* the ring had no room */
    COUNT_NOTICES_UNREAD = 29,  /* nobody reads the ring; the daemon starts it anew */
    COUNT_OTHER_PROTOCOLS = 30, /* sessions made of packets that are neither TCP, UDP nor ICMP */
    COUNTER_COUNT = 32,
};

/* What one inside host uses, for the limits of RFC 6888 sections 4 and 5 and for its share. The row of 0.0.0.0 is that of all
 * for whom there was no room. */
struct host {
    __u64 sessions;
    __u64 ports;      /* of its mappings and shares */
    __u64 credit;     /* new sessions it may still make, in 1/1024; refilled by time */
    __u32 stamp;      /* tick of the last refill */
    __u32 refused;    /* first packets, for a reason of this host's; a plain add */
    __u32 unanswered; /* TCP sessions that it began and nobody has answered */
    __u32 pad;
    __u32 held[4]; /* ports by enum proto_class, what is reserved for its data connections too */
};

/* What is in use of something that all hosts take from. A cache line, since all CPUs count in it. Rows: the blocks of 65,536
 * rows of `ports`, of which inside hosts' ports are counted, and POOL_SESSIONS. */
struct pool {
    __u64 used;
    __u64 pad[7];
};
#define POOL_SESSIONS 48 /* behind 3 protocol classes of MAX_PUBLIC addresses */
#define POOL_HANDLES 49  /* IPv6 addresses that have one */
#define POOL_FREED 50    /* handles freed so far; a row of its own, since each packet of IPv6 reads it */
#define POOL_ROWS 51
#define SHARE_WHOLE 1024
/* Of so few ports half is no more than what one host's transfers of four minutes hold (tcp_closing), which is given up as soon as
 * somebody needs it (finish.h): a share would refuse the next transfer and leave nothing to anybody. */
#define SHARE_RANGE 256
#define SHARE_FLOOR 64 /* whoever has less of something may always have more, if there is any */

/* An inside end point and an outside host that it has a session with: address-dependent filtering, RFC 4787 section 5. */
struct peer_key {
    __be32 inside_ip;
    __be32 remote_ip;
    __be16 inside_port;
    __u8 proto;
    __u8 pad;
};

/* Longest-prefix key of `exempt`. */
struct exempt_key {
    __u32 prefix_len;
    __be32 address;
};

/* A fragmented packet whose head was translated: its tails carry no ports. */
struct fragment_key {
    __be32 source;
    __be32 destination;
    __be16 ip_id;
    __u8 proto;
    __u8 dir;
};

struct fragment {
    __be32 source;
    __be32 destination;
    __u32 expires; /* tick */
    __be16 ip_id;  /* outside */
    __u16 pad;
};

/* An id that a fragmented packet left with: unique among those lately used, RFC 7857 section 10. The value, one word that
 * moves by compare-and-swap, from the low byte: tick of its end >> 10 (2 bytes), the sender's own id (2, as on the wire),
 * inside_ip (4). */
struct fragment_id_key {
    __be32 source; /* public */
    __be32 destination;
    __be16 ip_id;
    __u8 proto;
    __u8 pad;
};

/* An IPv6 address as on the wire: key of `handles`, whose value is the handle. A handle is a __be32 out of 0.0.0.0/8, where no
 * IPv4 host is, and stands for the address wherever there is room for 32 bits. */
struct address6 {
    __u8 bytes[16];
};

/* A handle's row in `addresses6`, key: the handle. */
struct interned {
    __u8 bytes[16]; /* the address: never another one while the row lives */
    __u64 word;     /* enum handle_state in the upper half, in the lower the tick at which somebody asked for it last */
    __be32 host;    /* the handle under which it is counted in `hosts`: its own, or that of its /64 */
    __u16 askers[2]; /* rows of `askers` that count it; 0: none does */
};

/* `askers`: how many handles were made for whom, by a keyed hash of what cannot be chosen freely. Each of the three kinds has so many rows:
 * a neighbour (device and MAC); that one's packets of one /64 inside; the addresses of this /64 that count as one host. */
#define ASKERS_A_KIND 4096
#define ASKER_ROWS 16384 /* the first of four parts, which has row 0, is unused */

enum handle_state {
    HANDLE_LIVE = 1,
    HANDLE_GONE = 2, /* being freed */
};

enum six_flag {
    SIX_FILTER = 1,
    SIX_IPSEC_ANY = 2,    /* ESP, AH and IKE from any peer; */
    SIX_IPSEC_SPOKEN = 4, /* or from one that the inside host speaks one of them to; neither: like all else */
    SIX_HOST_64 = 8,      /* an inside host, for its limits, is a /64 */
};

/* What is for IPv6 alone; all else is in struct config and means the same. */
struct config6 {
    __u32 flags;       /* enum six_flag */
    __u16 mss_clamp;   /* 0: off */
    __u16 mss_turned;  /* the same of NAT64 */
    __u8 prefix[16];   /* of NAT64; what follows its bits is zero */
    __u32 prefix_bits; /* 32, 40, 48, 56, 64 or 96; 0: there is no NAT64 */
    __u8 address[16];  /* the gateway's own, inside: of its ICMPv6 errors; zeros: it has none */
    __u32 lowest_mtu;  /* what others may fragment becomes no larger IPv6 packets (RFC 7915 section 4.1) */
    __u32 rest[20];
};

/* A service of an inside host that the outside may use: key of `allow_in`. */
struct admission_key {
    __u8 to[16];
    __be16 port;
    __u8 proto;
    __u8 pad;
};

enum admission_flag {
    ADMISSION_SOURCES = 1, /* `allow_in_sources` lists who may use it */
    ADMISSION_LIVE = 2,    /* added by the CLI, not by the configuration */
    ADMISSION_HOST = 4, /* under port 0: this host has such a service, whichever its port; for fragments without one */
};

struct admission {
    __u32 id;    /* of its [[allow_in]] entry, which may have more ports */
    __u32 flags; /* enum admission_flag */
    __u64 hits;
};

/* Longest-prefix key of `allow_in_sources`: the entry's id in front of the address. */
struct admission_source_key {
    __u32 prefix_len; /* 32 + prefix length */
    __u32 id;
    __u8 address[16];
};

/* A datagram in fragments whose head was let through: what of it has passed. */
struct piece_key {
    __be32 source; /* handles */
    __be32 destination;
    __be32 id;
    __u32 dir;
};

struct pieces {
    __u64 seen[128]; /* PIECE_WORDS; a bit changes by compare-and-swap of its word */
    __u32 expires;   /* tick */
    __u32 pad;
};

/* Rows of the program array `stages`. */
enum stage {
    STAGE_NEW_OUT = 0,
    STAGE_NEW_IN = 1,
    STAGE_ALG = 2,
    STAGE_ICMP = 3,
    STAGE_FRAGMENT = 4,
    STAGE_HAIRPIN = 5,
    STAGE_LEAVE = 6,
    STAGE_FRESH = 7,
    STAGE_PASS = 8,
    STAGE_FINISH = 9,
    STAGE_SHARE = 10,
    STAGE_WEIGH = 11,
    STAGE_REFUSE = 12,
    STAGE_JUDGE = 13,
    STAGE_BLOCK = 14,
    STAGE_BLOCK_CONTROL = 15,
    STAGE_TELL = 16,
    STAGE_BEGIN = 17,
    STAGE_ENTER_OUT =
        18, /* these three for IPv6 alone: where a packet of another family goes from the entry programs */
    STAGE_ENTER_IN = 19,
    STAGE_RAW = 20,
    STAGE_FROM6 = 21,    /* these for NAT64 alone: IPv4's programs take over what has just become IPv4 */
    STAGE_TURN_OUT = 22, /* IPv6 to IPv4, from the entry programs */
    STAGE_TURN_IN = 23,
    STAGE_TURN_ERROR_OUT = 24, /* ICMP errors */
    STAGE_TURN_ERROR_IN = 25,
    STAGE_TELL6 = 26,     /* the gateway's own errors, to an inside host */
    STAGE_TELL4 = 27,     /* to an outside one */
    STAGE_TURN_WANT = 28, /* makes the handle of a host whose packet may begin a session, and back to STAGE_TURN_OUT */
    STAGE_CUT6 = 29,      /* fragments what others may fragment: what has become IPv6, */
    STAGE_CUT4 = 30,      /* or IPv4 */
    STAGE_WAY = 31,       /* for IPv6 alone: where a first packet goes, and whether its source may say what it says */
    STAGE_MAKE = 32,      /* and the stage that makes its session, once that is allowed */
    STAGE_ENDS = 33,      /* makes the handles of its ends, and back to STAGE_MAKE */
    STAGE_RETELL = 66, /* behind those for IPv6, for NAT64 alone: a control line goes on in the other family's words */
    STAGE_COUNT = 80,
};

enum control_op {
    CONTROL_SWEEP = 1, /* keys[]: delete those that are expired; answer: how many */
    CONTROL_RESERVE =
        2, /* a public port for owner, one try; of kind PORT_FORWARD: that row, count = index in `forwards` */
    CONTROL_RELEASE =
        3, /* drop the reservation of port_index if owner still has it; count: the block's first port, or 0 */
    CONTROL_KILL = 4,    /* keys[]: delete whatever their state */
    CONTROL_REFRESH = 5, /* keys[]: set last_seen to now (a control session with live data) */
    CONTROL_BYPASS = 6,  /* keys[]: clear session.alg */
    CONTROL_AGE_PORTS =
        7,             /* AGED_ROWS from port_index: give back what hold-down and idle claims kept; answer: how many */
    CONTROL_CLAIM = 8, /* port_index itself for owner, in the shared block whose first port is `count` */
    CONTROL_PEERS = 9, /* keys[]: count in `peers` those made before filtering became address-dependent */
    CONTROL_OLDEST =
        10, /* the port unused longest among AGED_ROWS from port_index on that owner may have; count: where to go on */
    CONTROL_RECLAIM = 11, /* keys[]: delete those that nobody has answered or that are over; answer: how many */
    CONTROL_UNBLOCK = 12, /* take the port block in row port_index back, if it has been empty for config.block_idle */
    CONTROL_AGREE =
        13, /* keys[]: begins with the key of a pending expectation with the id `owner`: open it; answer: how many */
};

/* Requests to the control program for IPv6, with SWEEP, KILL, REFRESH, BYPASS, PEERS and RECLAIM of handles' sessions. */
enum handle_op {
    HANDLE_INTERN = 32, /* bytes: of the address; answer: its handle in `handle`, made if it had none; error */
    HANDLE_FREE = 33,   /* `handle`, if nobody asked for it within `idle`; answer: count */
};

/* Behind 14 bytes of Ethernet header, like struct control. */
struct handle_request {
    __u32 op;    /* enum handle_op */
    __u32 count; /* answer */
    __be32 handle;
    __s32 error; /* answer: 0 or a negative errno */
    __u32 idle;  /* ticks */
    __u32 pad;
    __u8 bytes[16];
};

enum reserve_flag {
    RESERVE_TIRED = 1, /* also a port used within PORT_REST */
};

/* Request and answer of the control program, as the packet of a test-run. 14 bytes of Ethernet header come first. */
struct control {
    __u32 op;         /* enum control_op */
    __u32 count;      /* keys in use; answer: rows acted on */
    __u32 port_index; /* RESERVE: wanted row, or the block (port 0) to choose in; answer: the row; RELEASE: the row */
    __s32 error;      /* answer: 0 or a negative errno */
    __u64 owner;      /* RESERVE, RELEASE, OLDEST: see port_slot.owner; AGREE: an id */
    __u32 flags;      /* RESERVE: enum reserve_flag */
    __u32 age;        /* OLDEST: answer: ticks since the port was used; 0xffffffff: it never was */
    struct session_key keys[20]; /* CONTROL_BATCH */
};

#endif
