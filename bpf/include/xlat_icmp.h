/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * xlat_icmp.h: ICMP messages to ICMPv6 ones and back: type, code, pointer, MTU, and the shape of what they quote
 * (RFC 7915 sections 4.2, 4.3, 5.2, 5.3; RFC 4884). Pure.
 *
 * The law of this file: a message that has no counterpart gives false, and is dropped without an answer.
 */
#ifndef ALGATE_XLAT_ICMP_H
#define ALGATE_XLAT_ICMP_H

/* The first 8 bytes of a message, the checksum apart: `rest` is what follows it, in host order. */
struct xlat_icmp {
    u32 type;
    u32 code;
    u32 rest;
};

/* MTUs that the caller knows, of the next hop on either side. */
struct xlat_mtus {
    u32 v4;
    u32 v6;
};

static __always_inline u32 xlat_min(u32 one, u32 other)
{
    return one < other ? one : other;
}

/* What a path carries whose router didn't say: the greatest value below the size of the packet it refused (RFC 1191
 * section 7.1), but never less than what IPv6 asks for. */
static __always_inline u32 xlat_plateau(u32 size)
{
    return size > 32000   ? 32000
           : size > 17914 ? 17914
           : size > 8166  ? 8166
           : size > 4352  ? 4352
           : size > 2002  ? 2002
           : size > 1492  ? 1492
                          : XLAT_FLOOR;
}

/* The MTU for an IPv6 sender. `told` by an IPv4 router, 0: it said none; `size`: what the packet it quotes says of its length. */
static __always_inline u32 xlat_mtu6(u32 told, u32 size, const struct xlat_mtus *mtus)
{
    u32 path = told ? told + 20 : xlat_plateau(size);
    path = xlat_min(path, xlat_min(mtus->v6, mtus->v4 + 20));
    return path < XLAT_FLOOR ? XLAT_FLOOR : path;
}

/* The MTU for an IPv4 sender. */
static __always_inline u32 xlat_mtu4(u32 told, const struct xlat_mtus *mtus)
{
    u32 path = xlat_min(told, mtus->v6);
    path = path < 20 + 68 ? 68 : path - 20; /* 68: the least that IPv4 knows (RFC 791) */
    return xlat_min(path, xlat_min(mtus->v4, 0xffff));
}

/* Where the field that an IPv4 pointer shows is in an IPv6 header; -1: it isn't. */
static __always_inline int xlat_pointer6(u32 at)
{
    if (at < 2)
        return at;
    if (at < 4)
        return 4;
    if (at == 8 || at == 9)
        return at == 8 ? 7 : 6;
    return at < 12 ? -1 : at < 16 ? 8 : at < 20 ? 24 : -1;
}

static __always_inline int xlat_pointer4(u32 at)
{
    if (at < 2)
        return at;
    if (at == 4 || at == 5)
        return 2;
    if (at == 6 || at == 7)
        return at == 6 ? 9 : 8;
    return at < 8 ? -1 : at < 24 ? 12 : at < 40 ? 16 : -1;
}

static __always_inline bool xlat_say(struct xlat_icmp *to, u32 type, u32 code, u32 rest)
{
    to->type = type;
    to->code = code;
    to->rest = rest;
    return true;
}

static __always_inline bool xlat_unreachable6(const struct xlat_icmp *from, u32 size, const struct xlat_mtus *mtus,
                                              struct xlat_icmp *to)
{
    switch (from->code) {
    case 2: /* protocol: the next header isn't known there */
        return xlat_say(to, 4, 1, 6);
    case 3:
        return xlat_say(to, 1, 4, 0);
    case 4:
        return xlat_say(to, 2, 0, xlat_mtu6(from->rest & 0xffff, size, mtus));
    case 9: /* prohibited, and the precedence of a packet that is too low */
    case 10:
    case 13:
    case 15:
        return xlat_say(to, 1, 1, 0);
    case 0:
    case 1:
    case 5:
    case 6:
    case 7:
    case 8:
    case 11:
    case 12:
        return xlat_say(to, 1, 0, 0);
    }
    return false;
}

/* ICMP to ICMPv6. `size`: the length that the quoted packet says of itself. */
static __always_inline bool xlat_icmp6(const struct xlat_icmp *from, u32 size, const struct xlat_mtus *mtus,
                                       struct xlat_icmp *to)
{
    int pointer = xlat_pointer6(from->rest >> 24);
    switch (from->type) {
    case 8:
        return xlat_say(to, 128, 0, from->rest);
    case 0:
        return xlat_say(to, 129, 0, from->rest);
    case 3:
        return xlat_unreachable6(from, size, mtus, to);
    case 11:
        return from->code < 2 && xlat_say(to, 3, from->code, 0);
    case 12:
        return (from->code == 0 || from->code == 2) && pointer >= 0 && xlat_say(to, 4, 0, pointer);
    }
    return false;
}

/* ICMPv6 to ICMP. */
static __always_inline bool xlat_icmp4(const struct xlat_icmp *from, const struct xlat_mtus *mtus, struct xlat_icmp *to)
{
    int pointer = xlat_pointer4(from->rest);
    switch (from->type) {
    case 128:
        return xlat_say(to, 8, 0, from->rest);
    case 129:
        return xlat_say(to, 0, 0, from->rest);
    case 1:
        if (from->code > 4)
            return false;
        return xlat_say(to, 3, from->code == 1 ? 10 : from->code == 4 ? 3 : 1, 0);
    case 2:
        return xlat_say(to, 3, 4, xlat_mtu4(from->rest, mtus));
    case 3:
        return from->code < 2 && xlat_say(to, 11, from->code, 0);
    case 4:
        if (from->code == 1)
            return xlat_say(to, 3, 2, 0);
        return from->code == 0 && pointer >= 0 && xlat_say(to, 12, 0, (u32)pointer << 24);
    }
    return false;
}

/* What an error has after its 8 bytes, as it came. */
struct xlat_carried {
    u32 quoted;    /* bytes of the packet it is about */
    u32 at;        /* where its extensions begin, */
    u32 extension; /* and their bytes, 0: none */
};

/* `size` bytes follow the first 8; `padded`: what the length field says of them, in bytes, 0: there is none; `whole`: the length that
 * the quoted packet says of itself. A length that can't be true is no length (RFC 4884 section 5.5). */
static __always_inline void xlat_carried(u32 size, u32 padded, u32 whole, struct xlat_carried *from)
{
    from->quoted = from->at = size;
    from->extension = 0;
    if (!padded || padded > size)
        return;
    from->quoted = xlat_min(padded, whole);
    from->at = padded;
    from->extension = size - padded < 4 ? 0 : size - padded; /* shorter than their header */
}

/* The length field: in 4-byte words of ICMP's rest, in 8-byte ones of ICMPv6's; as bytes. */
static __always_inline u32 xlat_length4(const struct xlat_icmp *one)
{
    bool has = one->type == 3 || one->type == 11 || one->type == 12;
    return has ? (one->rest >> 16 & 0xff) * 4 : 0;
}

static __always_inline u32 xlat_length6(const struct xlat_icmp *one)
{
    return one->type == 1 || one->type == 3 ? (one->rest >> 24) * 8 : 0;
}

/* What an error carries after its 8 bytes: so much of the packet it is about, zeros up to `padded`, then extensions. */
struct xlat_shape {
    u32 quoted;
    u32 padded;
    u32 extension;
    u32 words; /* the message's length field: `padded` in units of the family, 0: it has no extensions */
};

/* The shape of a translated error of at most `room` bytes after its first 8. `quoted`: the translated packet, headers and all;
 * `extension`: bytes of extensions; `unit`: 4 for ICMP, 8 for ICMPv6, 0: a message of this type has no length field. The
 * quoted packet is cut to make room, to 128 bytes at least (RFC 4884 section 5.1); else the extensions go. */
static __always_inline void xlat_reshape(u32 quoted, u32 extension, u32 unit, u32 room, struct xlat_shape *to)
{
    to->extension = to->words = 0;
    if (!extension || !unit || extension > room || room - extension < 128) {
        to->quoted = to->padded = xlat_min(quoted, room);
        return;
    }
    u32 up = quoted < 128 ? 128 : (quoted + unit - 1) & ~(unit - 1);
    to->padded = xlat_min(xlat_min(up, (room - extension) & ~(unit - 1)), 255 * unit); /* the field is a byte */
    to->quoted = xlat_min(quoted, to->padded);
    to->extension = extension;
    to->words = unit == 4 ? to->padded >> 2 : to->padded >> 3;
}

#endif
