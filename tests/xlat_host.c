/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * xlat_host.c: xlat.h and xlat_icmp.h as a library of the host's, for the property tests. Bytes in, bytes out.
 */
#include <asm/byteorder.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
#define bpf_ntohl __be32_to_cpu
#define bpf_htonl __cpu_to_be32
#define bpf_ntohs __be16_to_cpu
#define bpf_htons __cpu_to_be16
#define bpf_csum_diff(from, from_size, to, to_size, seed) (seed) /* not called here */

#include "csum.h"
#include "xlat.h"
#include "xlat_icmp.h"

static struct xlat_prefix prefix_of(const u8 *ip, u32 bits)
{
    struct xlat_prefix prefix = {.bits = bits};
    memcpy(&prefix.ip, ip, 16);
    return prefix;
}

void embed(const u8 *ip, u32 bits, const u8 *v4, u8 *out)
{
    struct xlat_prefix prefix = prefix_of(ip, bits);
    struct in6_addr made;
    __be32 word;
    memcpy(&word, v4, 4);
    xlat_embed(&made, &prefix, word);
    memcpy(out, &made, 16);
}

int extract(const u8 *ip, u32 bits, const u8 *v6, u8 *out)
{
    struct xlat_prefix prefix = prefix_of(ip, bits);
    struct in6_addr from;
    __be32 word = 0;
    memcpy(&from, v6, 16);
    bool found = xlat_extract(&from, &prefix, &word);
    memcpy(out, &word, 4);
    return found;
}

int within(const u8 *ip, u32 bits, const u8 *v6)
{
    struct xlat_prefix prefix = prefix_of(ip, bits);
    struct in6_addr from;
    memcpy(&from, v6, 16);
    return xlat_within(&from, &prefix);
}

int is_global(const u8 *v4)
{
    __be32 word;
    memcpy(&word, v4, 4);
    return xlat_global(word);
}

int well_known(const u8 *ip, u32 bits)
{
    struct xlat_prefix prefix = prefix_of(ip, bits);
    return xlat_well_known(&prefix);
}

/* `out` begins with a header whose addresses are filled in, and has room for a fragment header. */
u32 head6(const u8 *in, u32 size, u8 hop, u8 *out)
{
    struct iphdr ip;
    struct ipv6hdr to;
    struct xlat_fragment fragment = {};
    memcpy(&ip, in, sizeof(ip));
    memcpy(&to, out, sizeof(to));
    u32 all = xlat_head6(&ip, size, hop, &to, &fragment);
    memcpy(out, &to, sizeof(to));
    memcpy(out + sizeof(to), &fragment, sizeof(fragment));
    return all;
}

int head4(const u8 *in, u32 size, u8 hop, u16 id, u8 *out)
{
    struct ipv6hdr ip;
    struct xlat_fragment fragment;
    struct iphdr to;
    memcpy(&ip, in, sizeof(ip));
    memcpy(&fragment, in + sizeof(ip), sizeof(fragment));
    memcpy(&to, out, sizeof(to));
    bool fragmented = ip.nexthdr == IPPROTO_FRAGMENT;
    bool goes =
        xlat_head4(&ip, fragmented ? &fragment : 0, fragmented ? fragment.next : ip.nexthdr, size, hop, id, &to);
    memcpy(out, &to, sizeof(to));
    return goes;
}

/* A checksum field (as it lies in memory) of a transport header, from `v4` to `v6`, or back. */
u16 resum(const u8 *v4, const u8 *v6, u32 size, u8 proto, int back, u16 check)
{
    struct iphdr four;
    struct ipv6hdr six;
    memcpy(&four, v4, sizeof(four));
    memcpy(&six, v6, sizeof(six));
    u32 change = back ? xlat_pair_change_back(&six, &four) : xlat_pair_change(&four, &six);
    if (proto == IPPROTO_ICMP) {
        change = xlat_icmp_pseudo(&six, size);
        change = back ? (u16)~csum_fold(change) : change;
    }
    return proto == IPPROTO_UDP ? xlat_udp_sum(check, change) : csum_apply(check, change);
}

int icmp6(u32 type, u32 code, u32 rest, u32 size, u32 v4, u32 v6, u32 *out)
{
    struct xlat_icmp from = {type, code, rest}, to = {};
    struct xlat_mtus mtus = {v4, v6};
    bool goes = xlat_icmp6(&from, size, &mtus, &to);
    memcpy(out, &to, sizeof(to));
    return goes;
}

int icmp4(u32 type, u32 code, u32 rest, u32 v4, u32 v6, u32 *out)
{
    struct xlat_icmp from = {type, code, rest}, to = {};
    struct xlat_mtus mtus = {v4, v6};
    bool goes = xlat_icmp4(&from, &mtus, &to);
    memcpy(out, &to, sizeof(to));
    return goes;
}

void reshape(u32 quoted, u32 extension, u32 unit, u32 room, u32 *out)
{
    struct xlat_shape to;
    xlat_reshape(quoted, extension, unit, room, &to);
    memcpy(out, &to, sizeof(to));
}
