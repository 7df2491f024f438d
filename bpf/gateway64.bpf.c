/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * gateway64.bpf.c: IPv4's programs where NAT64 is configured, in place of gateway.bpf.c's: the same text, which knows inside
 * hosts of IPv6 too (turned.h).
 */
#define NAT64
#include "gateway.bpf.c"
