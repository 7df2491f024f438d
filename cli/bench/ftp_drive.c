/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * ftp_drive.c: FTP clients, many at once: login, PASV or PORT, LIST, QUIT, and again.
 *
 * Usage: ftp_drive HOST PORT CLIENTS SECONDS MODE [USER PASSWORD [ENOUGH [steps]]]. MODE: pasv, port, epsv, eprt,
 * noop or site. It ends after SECONDS, or once ENOUGH sessions (0: any number) have ended and LEAST has passed;
 * sessions under way then come to their end, which no longer counts for the rate. Three lines: sessions, seconds,
 * failures, own CPU time (s); the times (ns) from the command of MODE to its reply; the times of whole sessions, from
 * connect to the reply to QUIT. With `steps` a line more for each of these: ns from its begin to each enum step, 0
 * for one that it hasn't. With noop and site a client stays logged in, and what is counted are commands. A session
 * that takes longer than 10 s has failed. On stderr: of the first session that failed, after which command, and what
 * happened.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CLIENTS 1024
#define BUFFER 4096
#define LONGEST 10000000000ull
#define LEAST 300000000ull
#define MAX_TIMES 262144

enum state {
    GREETING,
    USER,
    PASS,
    NOOP,
    MODE,
    LIST,
    QUIT
};

enum step {
    GREETED,
    ASKED,     /* for the password */
    LOGGED_IN,
    AGREED,    /* the reply to PASV or PORT */
    OPENING,   /* 150 */
    ACCEPTED,  /* the data connection; 0 if the client made it */
    DATA_ENDED,
    FINISHED,  /* 226 */
    LEFT,      /* 221 */
    STEPS
};

struct client {
    int control, data, listener;
    enum state state;
    int data_done, control_done, used;
    uint64_t began, asked, at[STEPS];
    char buffer[BUFFER];
};

static struct client clients[MAX_CLIENTS];
/* Over IPv4, or over IPv6, which EPSV and EPRT alone can say. */
union end {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

static union end server;
static socklen_t end_size;
static int loop, active, extended, idle, ending;
static const char *command = "NOOP\r\n";
static char user[128], password[128];
static uint64_t sessions, failures;
static uint64_t times[MAX_TIMES], lasted[MAX_TIMES], steps[MAX_TIMES][STEPS];
static uint32_t count, whole;
static char first_failure[256];

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* Which descriptor of which client an event is about. */
static void watch(int fd, int number, int which, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)which << 32 | number};
    epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
}

static void shut(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int begin(int number)
{
    struct client *c = &clients[number];
    int one = 1;
    memset(c, 0, sizeof(*c));
    c->data = c->listener = -1;
    c->began = now();
    c->control = socket(server.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->control < 0 || (connect(c->control, &server.any, end_size) && errno != EINPROGRESS)) {
        perror("connect");
        return -1;
    }
    setsockopt(c->control, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    watch(c->control, number, 0, EPOLLIN);
    return 0;
}

static void passed(struct client *c, enum step step)
{
    c->at[step] = now() - c->began;
}

static void failed(const struct client *c, const char *what)
{
    static const char *const after[] = {"connect", "USER", "PASS", "NOOP", "the transfer's command", "LIST", "QUIT"};
    if (!*first_failure)
        snprintf(first_failure, sizeof(first_failure), "after %s, %.1f s from its begin%s%s: %s", after[c->state],
                 (now() - c->began) / 1e9,
                 c->data_done   ? ", data at its end"
                 : c->data >= 0 ? ", data connection there"
                                : "",
                 c->control_done ? ", final reply there" : "", what);
}

static void end(int number, int good)
{
    struct client *c = &clients[number];
    shut(&c->control);
    shut(&c->data);
    shut(&c->listener);
    if (!good)
        failures++;
    else if (whole < MAX_TIMES) {
        memcpy(steps[whole], c->at, sizeof(c->at));
        lasted[whole++] = now() - c->began;
    }
    if (good && !ending)
        sessions++;
}

static void say(struct client *c, const char *words, enum state next)
{
    c->state = next;
    if (send(c->control, words, strlen(words), MSG_NOSIGNAL) < 0)
        c->state = next; /* the next read sees it closed */
}

static int ask_port(struct client *c, int number)
{
    union end own;
    socklen_t size = sizeof(own);
    char words[128], text[INET6_ADDRSTRLEN];
    getsockname(c->control, &own.any, &size);
    own.four.sin_port = 0; /* where IPv6's is, too */
    c->listener = socket(own.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(c->listener, &own.any, size) || listen(c->listener, 1))
        return -1;
    getsockname(c->listener, &own.any, &size);
    watch(c->listener, number, 2, EPOLLIN);
    uint32_t a = ntohl(own.four.sin_addr.s_addr);
    unsigned p = ntohs(own.four.sin_port);
    if (own.any.sa_family == AF_INET6)
        snprintf(words, sizeof(words), "EPRT |2|%s|%u|\r\n",
                 inet_ntop(AF_INET6, &own.six.sin6_addr, text, sizeof(text)), p);
    else if (extended)
        snprintf(words, sizeof(words), "EPRT |1|%u.%u.%u.%u|%u|\r\n", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255, p);
    else
        snprintf(words, sizeof(words), "PORT %u,%u,%u,%u,%u,%u\r\n", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255,
                 p >> 8, p & 255);
    say(c, words, MODE);
    return 0;
}

static int connect_data(struct client *c, int number, const char *reply)
{
    unsigned n[6];
    const char *numbers = strchr(reply, '(');
    union end to = server;
    if (!numbers)
        return -1;
    if (extended) {
        if (sscanf(numbers, "(|||%u|", n) != 1)
            return -1;
        to.four.sin_port = htons(n[0]);
    } else {
        if (sscanf(numbers, "(%u,%u,%u,%u,%u,%u", n, n + 1, n + 2, n + 3, n + 4, n + 5) != 6)
            return -1;
        to.four.sin_addr.s_addr = htonl(n[0] << 24 | n[1] << 16 | n[2] << 8 | n[3]);
        to.four.sin_port = htons(n[4] << 8 | n[5]);
    }
    c->data = socket(server.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->data < 0 || (connect(c->data, &to.any, end_size) && errno != EINPROGRESS))
        return -1;
    watch(c->data, number, 1, EPOLLIN);
    return 0;
}

static void note(const struct client *c)
{
    if (count < MAX_TIMES)
        times[count++] = now() - c->asked;
}

/* -1: failed. What a final reply means in each state. */
static int reply(struct client *c, int number, const char *line)
{
    int code = atoi(line);
    if (code >= 400) {
        failed(c, line);
        return -1;
    }
    switch (c->state) {
    case GREETING:
        passed(c, GREETED);
        say(c, user, USER);
        return 0;
    case USER:
        passed(c, ASKED);
        say(c, password, PASS);
        return 0;
    case NOOP:
        note(c);
        sessions++;
        c->began = c->asked = now();
        say(c, command, NOOP);
        return 0;
    case PASS:
        passed(c, LOGGED_IN);
        c->asked = now();
        if (idle) {
            say(c, command, NOOP);
            return 0;
        }
        if (active)
            return ask_port(c, number);
        say(c, extended ? "EPSV\r\n" : "PASV\r\n", MODE);
        return 0;
    case MODE:
        note(c);
        passed(c, AGREED);
        if (!active && connect_data(c, number, line))
            return -1;
        say(c, "LIST\r\n", LIST);
        return 0;
    case LIST:
        passed(c, code >= 200 ? FINISHED : OPENING);
        if (code >= 200)
            c->control_done = 1;
        break;
    case QUIT:
        passed(c, LEFT);
        return 1;
    }
    return 0;
}

static int finished(struct client *c)
{
    if (c->state == LIST && c->control_done && c->data_done)
        say(c, "QUIT\r\n", QUIT);
    return 0;
}

static int control_event(struct client *c, int number)
{
    ssize_t got = recv(c->control, c->buffer + c->used, BUFFER - 1 - c->used, 0);
    if (got <= 0)
        return got < 0 && errno == EAGAIN ? 0 : -1;
    c->used += got;
    c->buffer[c->used] = 0;
    char *stop;
    while ((stop = strchr(c->buffer, '\n'))) {
        *stop = 0;
        int final = stop - c->buffer > 3 && isdigit(c->buffer[0]) && c->buffer[3] == ' ';
        int result = final ? reply(c, number, c->buffer) : 0;
        if (result)
            return result;
        c->used -= stop + 1 - c->buffer;
        memmove(c->buffer, stop + 1, c->used + 1);
    }
    return c->used == BUFFER - 1 ? -1 : finished(c);
}

static int data_event(struct client *c)
{
    char room[BUFFER];
    ssize_t got;
    while ((got = recv(c->data, room, sizeof(room), 0)) > 0)
        ;
    if (got < 0)
        return errno == EAGAIN ? 0 : -1;
    c->data_done = 1;
    passed(c, DATA_ENDED);
    shut(&c->data);
    return finished(c);
}

static int handle(int number, int which)
{
    struct client *c = &clients[number];
    if (which == 0)
        return control_event(c, number);
    if (which == 1)
        return c->data < 0 ? 0 : data_event(c);
    if (c->listener < 0)
        return 0;
    c->data = accept4(c->listener, 0, 0, SOCK_NONBLOCK);
    shut(&c->listener);
    if (c->data < 0)
        return -1;
    passed(c, ACCEPTED);
    watch(c->data, number, 1, EPOLLIN);
    return 0;
}

/* A client's session is over: the next one, unless the sample has ended. */
static int again(int number, int good)
{
    end(number, good);
    return ending ? 0 : begin(number);
}

static int expire(int number_of)
{
    uint64_t t = now();
    for (int i = 0; i < number_of; i++)
        if (clients[i].control >= 0 && t - clients[i].began > LONGEST) {
            failed(&clients[i], "nothing more came");
            if (again(i, 0))
                return -1;
        }
    return 0;
}

static int under_way(int number_of)
{
    for (int i = 0; i < number_of && !idle; i++)
        if (clients[i].control >= 0)
            return 1;
    return 0;
}

/* One turn of the loop; -1: no further session can be begun. */
static int turn(int number_of)
{
    struct epoll_event ready[256];
    int n = epoll_wait(loop, ready, 256, 100);
    for (int i = 0; i < n; i++) {
        int number = (uint32_t)ready[i].data.u64;
        int result = clients[number].control < 0 ? 0 : handle(number, ready[i].data.u64 >> 32);
        if (result < 0)
            failed(&clients[number], strerror(errno));
        if (result && again(number, result > 0))
            return -1;
    }
    return n ? 0 : expire(number_of);
}

static void print(const uint64_t *values, uint32_t number)
{
    for (uint32_t i = 0; i < number; i++)
        printf("%lu ", values[i]);
    printf("\n");
}

static void set_mode(const char *mode)
{
    active = !strcmp(mode, "port") || !strcmp(mode, "eprt");
    extended = mode[0] == 'e';
    idle = !strcmp(mode, "noop") || !strcmp(mode, "site");
    if (!strcmp(mode, "site"))
        command = "SITE IDLE\r\n";
}

static void set_server(const char *host, int port)
{
    server.any.sa_family = strchr(host, ':') ? AF_INET6 : AF_INET;
    end_size = strchr(host, ':') ? sizeof(server.six) : sizeof(server.four);
    inet_pton(server.any.sa_family, host, strchr(host, ':') ? (void *)&server.six.sin6_addr : &server.four.sin_addr);
    server.four.sin_port = htons(port);
}

int main(int words, char **word)
{
    struct rusage used;
    if (words != 6 && (words < 8 || words > 10))
        return 2;
    set_server(word[1], atoi(word[2]));
    int number_of = atoi(word[3]) < MAX_CLIENTS ? atoi(word[3]) : MAX_CLIENTS;
    uint64_t start = now(), stop = start + (uint64_t)(atof(word[4]) * 1e9), enough = words > 8 ? atoll(word[8]) : 0;
    set_mode(word[5]);
    snprintf(user, sizeof(user), "USER %s\r\n", words > 7 ? word[6] : "anonymous");
    snprintf(password, sizeof(password), "PASS %s\r\n", words > 7 ? word[7] : "bench@");
    loop = epoll_create1(0);
    for (int i = 0; i < number_of; i++)
        if (begin(i))
            return 1;
    while (now() < stop && !(enough && sessions >= enough && now() - start >= LEAST))
        if (turn(number_of))
            return 1;
    double seconds = (now() - start) / 1e9;
    for (ending = 1; under_way(number_of);)
        turn(number_of);
    getrusage(RUSAGE_SELF, &used);
    printf("%lu %.3f %lu %.6f\n", sessions, seconds, failures,
           used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
    print(times, count);
    print(lasted, whole);
    for (uint32_t i = 0; words > 9 && i < whole; i++)
        print(steps[i], STEPS);
    if (*first_failure)
        fprintf(stderr, "%s\n", first_failure);
    return 0;
}
