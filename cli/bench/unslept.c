/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * unslept.c: preloaded into proftpd by the bench. Its daemon sleeps 200 ms after each signal, so after each session that
 * ended, by a select() without descriptors: that one returns at once.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/select.h>

int select(int count, fd_set *reading, fd_set *writing, fd_set *failing, struct timeval *timeout)
{
    static int (*real)(int, fd_set *, fd_set *, fd_set *, struct timeval *);
    if (!count && !reading && !writing && !failing)
        return 0;
    if (!real)
        real = dlsym(RTLD_NEXT, "select");
    return real(count, reading, writing, failing, timeout);
}
