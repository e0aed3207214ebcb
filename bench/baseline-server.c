/* The baseline: a server that receives requests and sends prepared answers, and does nothing else. Its cost
 * is the cost of the system calls: an epoll_wait for many events, and a recv and a send for each batch of
 * requests. Optimizing dipc can gain at most the difference between dipc and the baseline.
 *
 * It implements the part of dipc's protocol that `dipc-cli bench -t r` and `-t w` use. It receives and
 * discards writes. An answer to a read has the size of the last write. All requests of a batch have to be of
 * the same kind.
 *
 *     baseline-server PORT      port 0: any free port; prints the port when clients can connect
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
enum { RECEIVED = 64 << 10, PREPARED = 64 << 10, DATA_MAX = 16 << 20 };

/* Consecutive copies of one answer, so that one send answers several requests. */
struct answer {
    size_t length; /* of one copy */
    size_t size;   /* of all copies */
    char *bytes;
};

static struct client {
    char line[LINE];
    size_t line_length;
    /* Bytes of a body that are not received yet, including the newline after it. */
    size_t body;
    /* The answer to each request of the current batch. */
    const struct answer *answer;
    /* How many bytes of the answers to the batch are sent, and how many are unsent. */
    size_t sent, unsent;
} clients[CLIENTS];

static struct answer done, data, hello;
static size_t data_size;

static size_t minimum(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void prepare(struct answer *answer, const char *head, size_t size, const char *end)
{
    size_t head_length = strlen(head), length = head_length + size + strlen(end);
    size_t copies = length < PREPARED ? PREPARED / length : 1;
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
    prepare(&data, head, size, "\n");
    data_size = size;
}

/* Appends an answer to the unsent ones. Returns false if the batch mixes two kinds of requests. */
static bool append(struct client *client, const struct answer *answer)
{
    if (client->unsent > 0 && client->answer != answer)
        return false;
    client->answer = answer;
    client->unsent += answer->length;
    return true;
}

/* Handles a complete line. Returns false if it is invalid. */
static bool handle_line(struct client *client)
{
    if (client->line[0] == 'r')
        return append(client, &data);
    if (client->line[0] == 'p')
        return append(client, &done);
    if (client->line[0] == 'h')
        return append(client, &hello);
    const char *last = strrchr(client->line, ' ');
    size_t size = last != NULL ? strtoul(last, NULL, 10) : DATA_MAX + 1;
    if (client->line[0] != 'w' || size > DATA_MAX)
        return false;
    if (size != data_size)
        make_data(size);
    client->body = size + 1;
    return true;
}

static bool parse(struct client *client, const char *bytes, size_t length)
{
    while (length > 0) {
        size_t used;
        if (client->body > 0) {
            used = minimum(client->body, length);
            client->body -= used;
            if (client->body == 0 && !append(client, &done))
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
                if (!handle_line(client))
                    return false;
            }
        }
        bytes += used;
        length -= used;
    }
    return true;
}

/* Receives and parses requests. Returns false if the client has closed the connection, or if a request is
 * invalid. */
static bool receive(int fd)
{
    static char received[RECEIVED];
    ssize_t length;
    do {
        length = recv(fd, received, sizeof received, 0);
        if (length <= 0)
            return length < 0 && errno == EAGAIN;
        if (!parse(&clients[fd], received, length))
            return false;
    } while (length == sizeof received);
    return true;
}

/* Sends the answers. Returns false if the connection has failed. */
static bool flush(int fd)
{
    struct client *client = &clients[fd];
    while (client->unsent > 0) {
        size_t at = client->sent % client->answer->length;
        size_t length = minimum(client->unsent, client->answer->size - at);
        ssize_t sent = send(fd, client->answer->bytes + at, length, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN;
        client->sent += sent;
        client->unsent -= sent;
    }
    client->sent = 0;
    return true;
}

static void accept_clients(int epoll, int listener)
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
    struct in_addr loopback = {htonl(INADDR_LOOPBACK)};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = loopback};
    socklen_t length = sizeof address;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    /* Accepted sockets inherit these options, which dipc sets as well. */
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(listener, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, BACKLOG) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) < 0)
        err(1, "port %u", port);
    printf("%u\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        errx(2, "PORT");
    prepare(&done, "OK v=1000000", 0, "\n");
    prepare(&hello, "OK proto=1 server=baseline boxes=100000 size=16777216 packet=16777216 feat=", 0, "\n");
    make_data(0);
    int epoll = epoll_create1(0), listener = listen_on(atoi(argv[1]));
    struct epoll_event event = {EPOLLIN, {.fd = listener}};
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0)
        err(1, "epoll");
    for (;;) {
        struct epoll_event events[EVENTS];
        int fds[EVENTS], received = 0, count = epoll_wait(epoll, events, EVENTS, -1);
        for (int at = 0; at < count; at++) {
            int fd = events[at].data.fd;
            if (fd == listener)
                accept_clients(epoll, listener);
            else if (events[at].events == EPOLLOUT || receive(fd))
                fds[received++] = fd;
            else
                close(fd);
        }
        /* The requests of all clients of a poll are received before the first answer is sent. */
        for (int at = 0; at < received; at++)
            if (!flush(fds[at]))
                close(fds[at]);
    }
}
