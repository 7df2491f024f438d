/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * unhindered.c: preloaded into the bench's FTP servers, to take three waits of their own out of the measurement.
 *
 * proftpd's daemon sleeps 200 ms after each signal, so after each session that ended, by a select() without descriptors:
 * that one returns at once. vsftpd's queue of connections to accept has 32 places: what many clients beyond that send is
 * dropped, and sent again after a second. Port 20 is free for the next server although the one before it left connections in
 * TIME-WAIT there.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/select.h>
#include <sys/socket.h>

#define QUEUE 4096

int select(int count, fd_set *reading, fd_set *writing, fd_set *failing, struct timeval *timeout)
{
    static int (*real)(int, fd_set *, fd_set *, fd_set *, struct timeval *);
    if (!count && !reading && !writing && !failing)
        return 0;
    if (!real)
        real = dlsym(RTLD_NEXT, "select");
    return real(count, reading, writing, failing, timeout);
}

int bind(int descriptor, const struct sockaddr *address, socklen_t size)
{
    static int (*real)(int, const struct sockaddr *, socklen_t);
    int one = 1;
    if (!real)
        real = dlsym(RTLD_NEXT, "bind");
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    return real(descriptor, address, size);
}

int listen(int descriptor, int queue)
{
    static int (*real)(int, int);
    if (!real)
        real = dlsym(RTLD_NEXT, "listen");
    return real(descriptor, queue < QUEUE ? QUEUE : queue);
}
