/* A server that does nothing: it receives requests, and sends answers that lie ready. What it costs is what the system's
 * calls cost: an epoll_wait for many events, a recv and a send for each batch of requests. dipc is compared with it for
 * what there is to gain.
 *
 * It speaks as much of dipc's protocol as `dipc-cli bench -t r` and `-t w` do. A write is read and thrown away; a read is
 * answered by as many bytes as the last write had. Requests of one batch are of one kind.
 *
 *     baseline-server PORT      port 0: any free one; prints which, when clients can connect
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { EVENTS = 64, CLIENTS = 20000, BACKLOG = 4096, LINE = 64 };
enum { RECEIVED = 64 << 10, READY = 64 << 10, DATA_MAX = 16 << 20 };

/* Copies of one answer, one behind the other, for a whole batch. */
struct answer {
    size_t length, ready;
    char *bytes;
};

static struct client {
    char line[LINE];
    size_t line_length;
    /* Bytes of a body that have not come yet, with the end of line behind it. */
    size_t body;
    /* What it is answered, and how much of that has left and has not. */
    const struct answer *answer;
    size_t sent, owed;
} clients[CLIENTS];

static struct answer done, data;
static size_t data_size;

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void make_ready(struct answer *answer, const char *head, size_t size, const char *end)
{
    size_t head_length = strlen(head), length = head_length + size + strlen(end);
    size_t copies = length < READY ? READY / length : 1;
    free(answer->bytes);
    *answer = (struct answer){length, copies * length, malloc(copies * length + 1)};
    if (answer->bytes == NULL)
        err(1, "no memory");
    for (char *copy = answer->bytes; copies > 0; copies--, copy += length) {
        memcpy(copy, head, head_length);
        memset(copy + head_length, 'x', size);
        memcpy(copy + head_length + size, end, strlen(end));
    }
}

static void make_data(size_t size)
{
    char head[LINE];
    snprintf(head, sizeof head, "DATA %zu v=1000000 n=1\n", size);
    make_ready(&data, head, size, "\n");
    data_size = size;
}

static bool owe(struct client *client, const struct answer *answer)
{
    if (client->owed > 0 && client->answer != answer)
        return false;
    client->answer = answer;
    client->owed += answer->length;
    return true;
}

/* A whole line has come. */
static bool begin(struct client *client)
{
    if (client->line[0] == 'r')
        return owe(client, &data);
    if (client->line[0] == 'p')
        return owe(client, &done);
    const char *last = strrchr(client->line, ' ');
    size_t size = last != NULL ? strtoul(last, NULL, 10) : DATA_MAX + 1;
    if (client->line[0] != 'w' || size > DATA_MAX)
        return false;
    if (size != data_size)
        make_data(size);
    client->body = size + 1;
    return true;
}

static bool take_in(struct client *client, const char *bytes, size_t length)
{
    while (length > 0) {
        size_t used;
        if (client->body > 0) {
            used = least(client->body, length);
            client->body -= used;
            if (client->body == 0 && !owe(client, &done))
                return false;
        } else {
            const char *end = memchr(bytes, '\n', length);
            used = end != NULL ? (size_t)(end - bytes) + 1 : length;
            if (client->line_length + used >= LINE)
                return false;
            memcpy(client->line + client->line_length, bytes, used);
            client->line_length += used;
            if (end != NULL) {
                client->line[client->line_length] = '\0';
                client->line_length = 0;
                if (!begin(client))
                    return false;
            }
        }
        bytes += used;
        length -= used;
    }
    return true;
}

/* False when the client has gone, or has said what is not understood. */
static bool receive(int fd)
{
    static char received[RECEIVED];
    ssize_t length;
    do {
        length = recv(fd, received, sizeof received, 0);
        if (length <= 0)
            return length < 0 && errno == EAGAIN;
        if (!take_in(&clients[fd], received, length))
            return false;
    } while (length == sizeof received);
    return true;
}

static bool answer(int fd)
{
    struct client *client = &clients[fd];
    while (client->owed > 0) {
        size_t at = client->sent % client->answer->length;
        size_t length = least(client->owed, client->answer->ready - at);
        ssize_t sent = send(fd, client->answer->bytes + at, length, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN;
        client->sent += sent;
        client->owed -= sent;
    }
    client->sent = 0;
    return true;
}

static void enter(int epoll, int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct epoll_event event = {EPOLLIN | EPOLLOUT | EPOLLET, {.fd = fd}};
        if (fd >= CLIENTS || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
            close(fd);
            continue;
        }
        clients[fd] = (struct client){.body = 0};
    }
}

static int listen_on(unsigned short port)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    /* Those that are accepted inherit these: what dipc asks for. */
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(listener, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, BACKLOG) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) < 0)
        err(1, "port %u", port);
    printf("%u\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(int count, char **words)
{
    if (count != 2)
        errx(2, "PORT");
    make_ready(&done, "OK v=1000000", 0, "\n");
    make_data(0);
    int epoll = epoll_create1(0), listener = listen_on(atoi(words[1]));
    struct epoll_event event = {EPOLLIN, {.fd = listener}};
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0)
        err(1, "epoll");
    for (;;) {
        struct epoll_event events[EVENTS];
        int fds[EVENTS], known = 0, happened = epoll_wait(epoll, events, EVENTS, -1);
        for (int at = 0; at < happened; at++) {
            int fd = events[at].data.fd;
            if (fd == listener)
                enter(epoll, listener);
            else if (events[at].events == EPOLLOUT || receive(fd))
                fds[known++] = fd;
            else
                close(fd);
        }
        /* All have been heard before the first one is answered. */
        for (int at = 0; at < known; at++)
            if (!answer(fds[at]))
                close(fds[at]);
    }
}
