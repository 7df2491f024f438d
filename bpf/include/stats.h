/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * stats.h: counters, drop reasons and time. Every drop goes through drop(): nothing is dropped silently.
 */
#ifndef ALGATE_STATS_H
#define ALGATE_STATS_H

enum drop_reason {
#define X(name, number, text) DROP_##name = number,
#include "reasons.def"
#undef X
};

static long (*ktime_coarse)(void) = (void *)160; /* bpf_ktime_get_coarse_ns, Linux 5.11: BCC 0.26 doesn't name it */

static __always_inline u32 now_tick(void)
{
    return (u64)ktime_coarse() >> TICK_SHIFT;
}

static __always_inline void count(u32 row, u64 amount)
{
    u64 *value = counters.lookup(&row);
    if (value)
        *value += amount;
}

/* One translated packet of that many bytes of IP. */
static __always_inline void account(u8 dir, u32 bytes)
{
    count(dir == DIR_OUT ? COUNT_PACKETS_OUT : COUNT_PACKETS_IN, 1);
    count(dir == DIR_OUT ? COUNT_BYTES_OUT : COUNT_BYTES_IN, bytes);
}

static __always_inline int drop(u32 reason)
{
    u64 *value = drops.lookup(&reason);
    if (value)
        *value += 1;
    return TC_ACT_SHOT;
}

static __always_inline struct config *get_config(void)
{
    u32 zero = 0;
    return configs.lookup(&zero);
}

#if defined(SIX) || defined(NAT64)
static __always_inline struct config6 *get_config6(void)
{
    u32 zero = 0;
    return configs6.lookup(&zero);
}
#endif

/* CLOCK_MONOTONIC ns with the CPU in the low byte: no two sessions share it, as none is made within 256 ns on one CPU. */
static __always_inline u64 new_id(void)
{
    return (bpf_ktime_get_ns() & ~0xffULL) | (bpf_get_smp_processor_id() & 0xff);
}

#endif
