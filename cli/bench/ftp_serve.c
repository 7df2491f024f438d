/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * ftp_serve.c: an FTP server that does as little as FTP allows, so that a gateway before it is what limits a rate.
 *
 * One process, one epoll loop. It knows USER, PASS, PASV, EPSV, PORT, EPRT, LIST, NOOP, SITE and QUIT; every listing is the same line.
 * Usage: ftp_serve PORT. It serves until killed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_FD 65536
#define LINE 256
static const char LISTING[] = "-rw-r--r--   1 ftp      ftp             6 Jan 01 00:00 file\r\n";

enum kind {
    FREE,
    LISTENER,
    CONTROL,
    PASSIVE,
    ACTIVE
};

/* One descriptor. A control connection and its data side name each other. */
struct end {
    enum kind kind;
    int peer;  /* CONTROL: the data side or -1; PASSIVE, ACTIVE: the control connection */
    int asked; /* CONTROL: LIST came before the data connection */
    int used;
    char line[LINE];
    struct sockaddr_in to; /* CONTROL: what PORT named, sin_port 0: nothing */
};

static struct end ends[MAX_FD];
static int loop;

static void watch(int fd, enum kind kind, int peer, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    memset(&ends[fd], 0, sizeof(ends[fd]));
    ends[fd].kind = kind;
    ends[fd].peer = peer;
    epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
}

static void say(int fd, const char *words)
{
    if (send(fd, words, strlen(words), MSG_NOSIGNAL) < 0)
        return; /* the next read sees it closed */
}

static void drop(int fd)
{
    if (fd < 0 || ends[fd].kind == FREE)
        return;
    int peer = ends[fd].peer;
    enum kind kind = ends[fd].kind;
    ends[fd].kind = FREE;
    close(fd);
    if (peer < 0)
        return;
    if (kind == CONTROL)
        drop(peer);
    else
        ends[peer].peer = -1;
}

static int listen_on(struct in_addr address, int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = address, .sin_port = htons(port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (fd < 0 || fd >= MAX_FD || bind(fd, (void *)&at, sizeof(at)) || listen(fd, 4096)) {
        perror("listen");
        close(fd);
        return -1;
    }
    return fd;
}

static void passive(int fd, int extended)
{
    struct sockaddr_in own, got;
    socklen_t size = sizeof(own);
    char words[96];
    getsockname(fd, (void *)&own, &size);
    int data = listen_on(own.sin_addr, 0);
    if (data < 0) {
        say(fd, "425 no port\r\n");
        return;
    }
    size = sizeof(got);
    getsockname(data, (void *)&got, &size);
    drop(ends[fd].peer);
    watch(data, PASSIVE, fd, EPOLLIN);
    ends[fd].peer = data;
    uint32_t a = ntohl(own.sin_addr.s_addr);
    unsigned p = ntohs(got.sin_port);
    if (extended)
        snprintf(words, sizeof(words), "229 Entering Extended Passive Mode (|||%u|)\r\n", p);
    else
        snprintf(words, sizeof(words), "227 Entering Passive Mode (%u,%u,%u,%u,%u,%u).\r\n", a >> 24, a >> 16 & 255,
                 a >> 8 & 255, a & 255, p >> 8, p & 255);
    say(fd, words);
}

static void port(int fd, const char *argument, int extended)
{
    unsigned n[6] = {};
    if (extended ? sscanf(argument, "|1|%u.%u.%u.%u|%u|", n, n + 1, n + 2, n + 3, n + 5) != 5
                 : sscanf(argument, "%u,%u,%u,%u,%u,%u", n, n + 1, n + 2, n + 3, n + 4, n + 5) != 6) {
        say(fd, "501 what?\r\n");
        return;
    }
    ends[fd].to.sin_family = AF_INET;
    ends[fd].to.sin_addr.s_addr = htonl(n[0] << 24 | n[1] << 16 | n[2] << 8 | n[3]);
    ends[fd].to.sin_port = htons(n[4] << 8 | n[5]);
    say(fd, "200 PORT command successful.\r\n");
}

/* The data connection stands: the listing, and the end of it. */
static void transfer(int data, int control)
{
    say(data, LISTING);
    say(control, "226 Directory send OK.\r\n");
}

static void list(int fd)
{
    struct end *e = &ends[fd];
    say(fd, "150 Here comes the directory listing.\r\n");
    if (e->to.sin_port) {
        int one = 1, data = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        setsockopt(data, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (data < 0 || data >= MAX_FD || (connect(data, (void *)&e->to, sizeof(e->to)) && errno != EINPROGRESS)) {
            say(fd, "425 can't connect\r\n");
            close(data);
            return;
        }
        e->to.sin_port = 0;
        e->peer = data;
        watch(data, ACTIVE, fd, EPOLLOUT);
    } else if (e->peer < 0) {
        say(fd, "425 use PORT or PASV first\r\n");
    } else {
        e->asked = 1;
        struct epoll_event event = {.events = EPOLLIN, .data.fd = e->peer};
        epoll_ctl(loop, EPOLL_CTL_MOD, e->peer, &event);
    }
}

static int command(int fd, char *line)
{
    if (!strncasecmp(line, "USER", 4))
        say(fd, "331 Please specify the password.\r\n");
    else if (!strncasecmp(line, "PASS ", 5))
        say(fd, "230 Login successful.\r\n");
    else if (!strncasecmp(line, "PASV", 4))
        passive(fd, 0);
    else if (!strncasecmp(line, "EPSV", 4))
        passive(fd, 1);
    else if (!strncasecmp(line, "PORT ", 5))
        port(fd, line + 5, 0);
    else if (!strncasecmp(line, "EPRT ", 5))
        port(fd, line + 5, 1);
    else if (!strncasecmp(line, "LIST", 4))
        list(fd);
    else if (!strncasecmp(line, "NOOP", 4))
        say(fd, "200 NOOP ok.\r\n");
    else if (!strncasecmp(line, "SITE", 4))
        say(fd, "200 SITE ok.\r\n");
    else if (!strncasecmp(line, "QUIT", 4)) {
        say(fd, "221 Goodbye.\r\n");
        return -1;
    } else
        say(fd, "502 not here\r\n");
    return 0;
}

static void readable(int fd)
{
    struct end *e = &ends[fd];
    ssize_t got = recv(fd, e->line + e->used, LINE - 1 - e->used, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            drop(fd);
        return;
    }
    e->used += got;
    e->line[e->used] = 0;
    char *end;
    while ((end = strchr(e->line, '\n'))) {
        *end = 0;
        if (command(fd, e->line)) {
            drop(fd);
            return;
        }
        e->used -= end + 1 - e->line;
        memmove(e->line, end + 1, e->used + 1);
    }
    if (e->used == LINE - 1)
        drop(fd);
}

static void accept_control(int listener)
{
    int one = 1, fd;
    while ((fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_FD) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        watch(fd, CONTROL, -1, EPOLLIN);
        say(fd, "220 ready\r\n");
    }
}

static void data_event(int fd, uint32_t events)
{
    int control = ends[fd].peer, data;
    if (ends[fd].kind == ACTIVE) {
        if (events & (EPOLLERR | EPOLLHUP))
            say(control, "426 broken\r\n");
        else
            transfer(fd, control);
        drop(fd);
        return;
    }
    if (!ends[control].asked) { /* connected before LIST: look again then */
        struct epoll_event none = {.events = 0, .data.fd = fd};
        epoll_ctl(loop, EPOLL_CTL_MOD, fd, &none);
        return;
    }
    if ((data = accept4(fd, 0, 0, 0)) < 0)
        return;
    ends[control].asked = 0;
    drop(fd);
    transfer(data, control);
    close(data);
}

int main(int count, char **arguments)
{
    struct epoll_event ready[256];
    struct in_addr any = {.s_addr = INADDR_ANY};
    loop = epoll_create1(0);
    int listener = count > 1 ? listen_on(any, atoi(arguments[1])) : -1;
    if (listener < 0)
        return 1;
    watch(listener, LISTENER, -1, EPOLLIN);
    for (;;) {
        int n = epoll_wait(loop, ready, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            if (ends[fd].kind == LISTENER)
                accept_control(fd);
            else if (ends[fd].kind == CONTROL)
                readable(fd);
            else if (ends[fd].kind != FREE)
                data_event(fd, ready[i].events);
        }
    }
}
