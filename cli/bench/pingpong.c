/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * pingpong.c: one small message there and back, again and again.
 *
 * Usage: pingpong serve PORT, until killed; pingpong udp|tcp HOST PORT SECONDS, which prints the times (ns) of the round
 * trips in one line. An answer that doesn't come within a second ends it with exit code 1.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SIZE 32
#define MAX_TIMES 262144
#define WARM 200 /* round trips that don't count */

static uint32_t times[MAX_TIMES];

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static struct sockaddr_in end_point(const char *host, const char *port)
{
    struct sockaddr_in made = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    made.sin_addr.s_addr = host ? inet_addr(host) : INADDR_ANY;
    return made;
}

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static int serve(const char *port)
{
    struct sockaddr_in at = end_point(0, port), from;
    char room[SIZE];
    int one = 1, udp = socket(AF_INET, SOCK_DGRAM, 0), tcp = socket(AF_INET, SOCK_STREAM, 0), talking = -1;
    setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(udp, (void *)&at, sizeof(at)) || bind(tcp, (void *)&at, sizeof(at)) || listen(tcp, 8))
        return fail("listen");
    for (;;) {
        struct pollfd ready[3] = {{udp, POLLIN, 0}, {tcp, POLLIN, 0}, {talking, POLLIN, 0}};
        socklen_t size = sizeof(from);
        poll(ready, 3, -1);
        if (ready[0].revents && recvfrom(udp, room, SIZE, 0, (void *)&from, &size) == SIZE)
            sendto(udp, room, SIZE, 0, (void *)&from, size);
        if (talking >= 0 && ready[2].revents) {
            if (recv(talking, room, SIZE, MSG_WAITALL) != SIZE || send(talking, room, SIZE, MSG_NOSIGNAL) != SIZE) {
                close(talking);
                talking = -1;
            }
        }
        if (ready[1].revents) {
            close(talking);
            talking = accept(tcp, 0, 0);
            setsockopt(talking, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        }
    }
}

int main(int words, char **word)
{
    if (words == 3 && !strcmp(word[1], "serve"))
        return serve(word[2]);
    if (words != 5)
        return 2;
    struct sockaddr_in to = end_point(word[2], word[3]);
    struct timeval patience = {.tv_sec = 1};
    char room[SIZE] = "ping";
    uint32_t count = 0, warm = 0;
    int one = 1, fd = socket(AF_INET, strcmp(word[1], "tcp") ? SOCK_DGRAM : SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (connect(fd, (void *)&to, sizeof(to)))
        return fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    uint64_t stop = now() + (uint64_t)(atof(word[4]) * 1e9);
    while (now() < stop && count < MAX_TIMES) {
        uint64_t begin = now();
        if (send(fd, room, SIZE, 0) != SIZE || recv(fd, room, SIZE, MSG_WAITALL) != SIZE)
            return fail("no answer");
        if (warm++ >= WARM)
            times[count++] = now() - begin;
    }
    for (uint32_t i = 0; i < count; i++)
        printf("%u ", times[i]);
    printf("\n");
    return 0;
}
