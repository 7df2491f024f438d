/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * tell64.h: what NAT64 refuses, and whom it tells: the sender, by the packet as it came.
 */
#ifndef ALGATE_TELL64_H
#define ALGATE_TELL64_H

/* To an inside host. */
static __always_inline int tell6(struct __sk_buff *skb, int at, u32 reason, u32 mtu)
{
    return drop(reason);
}

/* To an outside one. */
static __always_inline int tell4(struct __sk_buff *skb, int at, u32 reason, u32 mtu)
{
    return drop(reason);
}

#endif
