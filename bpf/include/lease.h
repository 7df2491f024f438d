/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * lease.h: until when this gateway may use its port blocks, where several gateways lease them of an engine (alg/ha/leases.py);
 * of a pair, until when the node that leads may give out ports (alg/gateway/fence.py).
 *
 * The law of this file: the kernel needs nobody to tell it that the time is up: a daemon that was stopped or has died can't. From
 * `new_until` on no port is given out; from `gone_at` on, when the blocks may be another gateway's, nothing of them passes.
 * Both are 0 where nothing is leased.
 */
#ifndef ALGATE_LEASE_H
#define ALGATE_LEASE_H

/* A host that slept finds its lease over: this clock went on, the one of ticks didn't. */
static u64 (*ktime_boot)(void) = (void *)125; /* bpf_ktime_get_boot_ns */

/* No port may be given out any more. */
static __always_inline bool lease_lapsed(const struct config *cfg)
{
    return cfg->new_until && ktime_boot() >= cfg->new_until;
}

#define LEASE_STALE (1U << 26) /* ticks, 19 hours: far less than a tick takes to wrap */

/* The blocks may be another gateway's. A tick wraps, and after 26 days without a daemon `gone_at` would lie ahead again: so who
 * finds it long past moves it on. A daemon that is back writes its own. */
static __always_inline bool lease_gone(const struct config *cfg, u32 now)
{
    if (!__builtin_expect(cfg->gone_at, 0) || (s32)(now - cfg->gone_at) < 0)
        return false;
    if (now - cfg->gone_at > LEASE_STALE)
        ((struct config *)cfg)->gone_at = (now - LEASE_STALE / 2) | 1;
    return true;
}

/* The same where nothing else needs the time: it is looked at if there is a lease alone. */
static __always_inline bool lease_is_gone(const struct config *cfg)
{
    return __builtin_expect(cfg->gone_at, 0) && lease_gone(cfg, now_tick());
}

#endif
