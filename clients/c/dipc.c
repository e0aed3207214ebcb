/* dipc.c: see dipc.h. The protocol is docs/protocol.md of the server.
 *
 * All received bytes are in one buffer: in[begin..end). Events stay there, in their order, until dipc_next
 * removes them. The bytes before in[scanned] are known to be events, so the next answer begins there or later.
 */
#define _POSIX_C_SOURCE 200809L

#include "dipc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LONGEST_LINE 65536 /* bytes; no first line of an answer is longer */
#define RECEIVED 65536     /* bytes; the most that one call receives */
#define HEADER 1100        /* bytes; the server accepts 1024 */

static const struct {
    const char *word;
    dipc_error error;
} CODES[] = {
    {"NO timeout", DIPC_TIMEOUT}, {"NO conflict", DIPC_CONFLICT}, {"NO empty", DIPC_EMPTY},
    {"NO full", DIPC_FULL},       {"NO locked", DIPC_LOCKED},     {"NO ahead", DIPC_AHEAD},
    {"ERR box", DIPC_BOX},        {"ERR size", DIPC_SIZE},        {"ERR lease", DIPC_LEASE},
    {"ERR deadlock", DIPC_DEADLOCK}, {"ERR denied", DIPC_DENIED}, {"ERR busy", DIPC_BUSY},
    {"ERR drain", DIPC_DRAIN},
};

/* After an ERR of these codes the server closes. */
static const char *const CLOSING[] = {"ERR frame", "ERR auth", "ERR busy", "ERR drain", "ERR internal"};

static dipc_error fail(dipc *c, dipc_error error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(c->text, sizeof c->text, format, arguments);
    va_end(arguments);
    return c->error = error;
}

/* Ends the connection after an error: a late answer would be mistaken for that of the next request. */
static dipc_error broken(dipc *c, dipc_error error, const char *text)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->begin = c->scanned = c->end = c->out_len = 0;
    return fail(c, error, "%s", text);
}

/* Forgets the last answer. Checks that the connection can be used. */
static dipc_error start(dipc *c)
{
    c->data = "";
    c->len = 0;
    c->version = c->count = c->tries = c->lost = c->grant = c->max = 0;
    c->box = 0;
    c->text[0] = '\0';
    if (c->pid != getpid())
        return fail(c, DIPC_FORKED, "the connection was made before a fork: connect again");
    if (c->fd < 0)
        return fail(c, DIPC_IO, "the connection is closed");
    return c->error = DIPC_OK;
}

static int reserve(char **buffer, size_t *size, size_t needed)
{
    if (needed <= *size)
        return 1;
    size_t larger = needed < *size * 2 ? *size * 2 : needed;
    char *moved = realloc(*buffer, larger);
    if (moved == NULL)
        return 0;
    *buffer = moved;
    *size = larger;
    return 1;
}

/* Appends bytes to those to send. */
static int append(dipc *c, const void *bytes, size_t len)
{
    if (len >= SIZE_MAX / 2 - c->out_len || !reserve(&c->out, &c->out_size, c->out_len + len))
        return 0;
    if (len > 0)
        memcpy(c->out + c->out_len, bytes, len);
    c->out_len += len;
    return 1;
}

/* The deadline of a wait of `timeout_ms`; -1 is none. */
static int64_t deadline_in(int timeout_ms)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return timeout_ms < 0 ? -1 : (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 + timeout_ms;
}

/* Waits until the socket is ready: POLLIN, POLLOUT. Returns 0 at the deadline, -1 after a failure or a signal. */
static int wait_for_socket(int fd, short events, int64_t deadline)
{
    struct pollfd ready = {.fd = fd, .events = events};
    int64_t left = deadline < 0 ? -1 : deadline - deadline_in(0);
    int n = poll(&ready, 1, left < 0 && deadline >= 0 ? 0 : (int)left);
    return n > 0 ? ready.revents : n;
}

/* Receives bytes. 0: there are none now. */
static int receive(dipc *c)
{
    if (c->begin > 0) {
        memmove(c->in, c->in + c->begin, c->end - c->begin);
        c->end -= c->begin;
        c->scanned -= c->begin;
        c->begin = 0;
    }
    if (!reserve(&c->in, &c->in_size, c->end + RECEIVED)) {
        broken(c, DIPC_MEMORY, "no memory for the received bytes");
        return -1;
    }
    ssize_t n = recv(c->fd, c->in + c->end, RECEIVED, 0);
    if (n > 0) {
        c->end += (size_t)n;
        return 1;
    }
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return 0;
    broken(c, DIPC_IO, n == 0 ? "the server closed the connection" : strerror(errno));
    return -1;
}

/* Reads a number of at least one digit, at `*at`. */
static int number(const char **at, uint64_t *value)
{
    const char *digit = *at;
    for (*value = 0; *digit >= '0' && *digit <= '9'; digit++) {
        unsigned last = (unsigned)(*digit - '0');
        if (*value > (UINT64_MAX - last) / 10)
            return 0;
        *value = *value * 10 + last;
    }
    int any = digit != *at;
    *at = digit;
    return any;
}

/* Extent of the answer or event at in[at]. 0: it is incomplete. -1: it is none of dipc. Its line is then
 * in[at..at+*line), and its data, if any, is between the line and its last byte. */
static int extent(dipc *c, size_t at, size_t *line, size_t *total)
{
    size_t there = c->end - at;
    if (there == 0)
        return 0;
    const char *start = c->in + at;
    const char *lf = memchr(start, '\n', there < LONGEST_LINE ? there : LONGEST_LINE);
    if (lf == NULL)
        return there < LONGEST_LINE ? 0 : -1;
    *line = (size_t)(lf - start);
    *total = *line + 1;
    for (const char *byte = start; byte < lf; byte++)
        if (*byte == '\0')
            return -1;
    const char *len = strncmp(start, "DATA ", 5) == 0 ? start + 5 : strncmp(start, "EVENT ", 6) == 0 ? start + 6 : NULL;
    if (len == NULL) {
        int is_ok = strncmp(start, "OK", 2) == 0 && (start[2] == ' ' || start[2] == '\n');
        return is_ok || strncmp(start, "NO ", 3) == 0 || strncmp(start, "ERR ", 4) == 0 ? 1 : -1;
    }
    uint64_t bytes;
    if (!number(&len, &bytes) || (*len != ' ' && *len != '\n') || bytes >= SIZE_MAX / 4)
        return -1;
    *total += (size_t)bytes + 1;
    if (there < *total)
        return 0;
    return start[*total - 1] == '\n' ? 1 : -1;
}

/* Value of a field in the line of the last answer, or NULL. The fields end before " : ". */
static const char *field(const dipc *c, const char *key)
{
    size_t len = strlen(key);
    for (const char *word = c->answer; (word = strchr(word, ' ')) != NULL;) {
        word++;
        if (word[0] == ':' && word[1] == ' ')
            return NULL;
        if (strncmp(word, key, len) == 0 && word[len] == '=')
            return word + len + 1;
    }
    return NULL;
}

static int number_field(const dipc *c, const char *key, uint64_t *value)
{
    const char *at = field(c, key);
    return at != NULL && number(&at, value);
}

/* Moves the answer or event at in[at] to `answer`, and its values to the fields. */
static int move(dipc *c, size_t at, size_t line, size_t total)
{
    if (!reserve(&c->answer, &c->answer_size, total + 1))
        return 0;
    memcpy(c->answer, c->in + at, total);
    c->answer[line] = c->answer[total] = '\0';
    if (at == c->begin) {
        c->begin += total;
    } else {
        memmove(c->in + at, c->in + at + total, c->end - at - total);
        c->end -= total;
    }
    if (c->scanned < c->begin)
        c->scanned = c->begin;
    c->data = "";
    c->len = 0;
    if (total > line + 1) {
        c->answer[total - 1] = '\0';
        c->data = c->answer + line + 1;
        c->len = total - line - 2;
    }
    uint64_t box = 0;
    number_field(c, "box", &box);
    number_field(c, "v", &c->version);
    number_field(c, "n", &c->count);
    number_field(c, "tries", &c->tries);
    number_field(c, "lost", &c->lost);
    number_field(c, "grant", &c->grant);
    number_field(c, "max", &c->max);
    c->box = (unsigned)box;
    return 1;
}

/* Moves the next answer, behind events that stay. 0: it has not arrived. */
static int next_answer(dipc *c)
{
    size_t line, total;
    for (;;) {
        int found = extent(c, c->scanned, &line, &total);
        if (found < 0) {
            broken(c, DIPC_PROTOCOL, "not an answer of dipc");
            return -1;
        }
        if (c->scanned - c->begin > DIPC_KEPT) {
            broken(c, DIPC_MEMORY, "too many events that dipc_next has not returned");
            return -1;
        }
        if (found == 0)
            return 0;
        if (c->in[c->scanned] != 'E' || c->in[c->scanned + 1] != 'V')
            break;
        c->scanned += total;
    }
    if (!move(c, c->scanned, line, total)) {
        broken(c, DIPC_MEMORY, "no memory for an answer");
        return -1;
    }
    return 1;
}

/* The error of the last answer. Closes the connection if the server closes it. */
static dipc_error judge(dipc *c)
{
    const char *line = c->answer;
    if (strncmp(line, "NO ", 3) != 0 && strncmp(line, "ERR ", 4) != 0)
        return DIPC_OK;
    dipc_error error = line[0] == 'N' ? DIPC_NOT_DONE : DIPC_REFUSED;
    const char *reason = strchr(line, ' ') + 1;
    size_t len = (size_t)(reason - line) + strcspn(reason, " ");
    for (size_t i = 0; i < sizeof CODES / sizeof *CODES; i++)
        if (strlen(CODES[i].word) == len && strncmp(line, CODES[i].word, len) == 0)
            error = CODES[i].error;
    for (size_t i = 0; i < sizeof CLOSING / sizeof *CLOSING; i++)
        if (strlen(CLOSING[i]) == len && strncmp(line, CLOSING[i], len) == 0)
            broken(c, error, "");
    const char *colon = strstr(reason, " : ");
    int fields = colon == NULL ? (int)strlen(reason) : (int)(colon - reason);
    return fail(c, error, "%.*s%s%s", fields, reason, colon == NULL ? "" : ": ", colon == NULL ? "" : colon + 3);
}

/* Sends the bytes of `out` and receives the next answer. Both at once: while an event waits for this client, the
 * server reads no request. */
static dipc_error exchange(dipc *c)
{
    size_t sent = 0;
    int has_answer = next_answer(c); /* it may have arrived with the one before */
    int64_t deadline = deadline_in(c->timeout_ms);
    if (has_answer < 0)
        return c->error;
    while (!has_answer || sent < c->out_len) {
        int ready = wait_for_socket(c->fd, POLLIN | (sent < c->out_len ? POLLOUT : 0), deadline);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready < 0)
            return broken(c, DIPC_IO, strerror(errno));
        if (ready == 0)
            return broken(c, DIPC_SILENT, "the server was silent for too long; the connection is closed");
        deadline = deadline_in(c->timeout_ms);
        if (ready & POLLOUT) {
            ssize_t n = send(c->fd, c->out + sent, c->out_len - sent, MSG_NOSIGNAL);
            if (n >= 0)
                sent += (size_t)n;
            else if (errno == EPIPE || errno == ECONNRESET)
                sent = c->out_len; /* the server may have sent an ERR before it closed: receive it */
            else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
                return broken(c, DIPC_IO, strerror(errno));
        }
        if ((ready & ~POLLOUT) && receive(c) < 0)
            return c->error;
        if (!has_answer && (has_answer = next_answer(c)) < 0)
            return c->error;
        if (has_answer && judge(c) != DIPC_OK && c->fd < 0)
            return c->error;
    }
    c->out_len = 0;
    return judge(c);
}

/* Receives the answer of the hello that was sent in front of the first request. */
static dipc_error greeted(dipc *c)
{
    if (!c->is_greeting)
        return DIPC_OK;
    if (exchange(c) != DIPC_OK)
        return c->fd < 0 ? c->error : broken(c, DIPC_PROTOCOL, "the server does not accept hello");
    c->is_greeting = 0;
    number_field(c, "boxes", &c->boxes);
    number_field(c, "size", &c->size);
    number_field(c, "packet", &c->packet);
    const char *life = field(c, "life");
    if (life != NULL)
        snprintf(c->life, sizeof c->life, "%.*s", (int)strcspn(life, " "), life);
    return DIPC_OK;
}

/* Whether the last answer has this shape: its kind, and its numeric fields. */
static int has_shape(const dipc *c, const char *shape)
{
    size_t len = strcspn(shape, " ");
    if (strncmp(c->answer, shape, len) != 0 || (c->answer[len] != ' ' && c->answer[len] != '\0'))
        return 0;
    for (const char *key = shape + len; *key == ' '; key += len) {
        char name[16];
        uint64_t value;
        key++;
        len = strcspn(key, " ");
        snprintf(name, sizeof name, "%.*s", (int)len, key);
        if (!number_field(c, name, &value))
            return 0;
    }
    return 1;
}

/* Sends a request and receives its answer. `data` NULL: the request has none. */
static dipc_error ask(dipc *c, const char *shape, const void *data, size_t len, const char *format, ...)
{
    char header[HEADER];
    if (start(c) != DIPC_OK)
        return c->error;
    va_list arguments;
    va_start(arguments, format);
    int header_len = vsnprintf(header, sizeof header, format, arguments);
    va_end(arguments);
    if (header_len < 0 || header_len >= HEADER)
        return fail(c, DIPC_USAGE, "the request is too long");
    for (int i = 0; i < header_len; i++)
        if (header[i] < ' ' || header[i] > '~')
            return fail(c, DIPC_USAGE, "the request is not printable ASCII");
    int is_complete = append(c, header, (size_t)header_len) && append(c, "\n", 1);
    if (!is_complete || (data != NULL && !(append(c, data, len) && append(c, "\n", 1))))
        return broken(c, DIPC_MEMORY, "no memory for the request");
    if (greeted(c) != DIPC_OK || exchange(c) != DIPC_OK)
        return c->error;
    return has_shape(c, shape) ? DIPC_OK : broken(c, DIPC_PROTOCOL, "the server answered another request");
}

/* Makes a socket and connects it. */
static dipc_error open_socket(dipc *c, int family, const struct sockaddr *address, socklen_t len)
{
    const int on = 1;
    c->fd = socket(family, SOCK_STREAM, 0);
    if (c->fd < 0)
        return fail(c, DIPC_IO, "%s", strerror(errno));
    fcntl(c->fd, F_SETFD, FD_CLOEXEC);
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0)
        return broken(c, DIPC_IO, strerror(errno));
    int failure = connect(c->fd, address, len) == 0 ? 0 : errno;
    if (failure == EINPROGRESS || failure == EINTR) {
        int64_t deadline = deadline_in(c->timeout_ms);
        int ready;
        do
            ready = wait_for_socket(c->fd, POLLOUT, deadline);
        while (ready < 0 && errno == EINTR);
        if (ready == 0)
            return broken(c, DIPC_SILENT, "no connection within the time limit");
        socklen_t failure_len = sizeof failure;
        if (ready < 0 || getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &failure, &failure_len) < 0)
            failure = errno;
    }
    if (failure != 0)
        return broken(c, DIPC_IO, strerror(failure));
    if (family != AF_UNIX)
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return DIPC_OK;
}

static dipc_error open_unix(dipc *c)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(c->address) >= sizeof address.sun_path)
        return fail(c, DIPC_USAGE, "the path is too long");
    strcpy(address.sun_path, c->address);
    return open_socket(c, AF_UNIX, (const struct sockaddr *)&address, sizeof address);
}

static dipc_error open_tcp(dipc *c)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    char port[16];
    snprintf(port, sizeof port, "%d", c->port);
    int failure = getaddrinfo(c->address, port, &hints, &found);
    if (failure != 0)
        return fail(c, DIPC_IO, "%s: %s", c->address, gai_strerror(failure));
    dipc_error error = DIPC_IO;
    for (const struct addrinfo *one = found; one != NULL && error != DIPC_OK; one = one->ai_next)
        error = open_socket(c, one->ai_family, one->ai_addr, one->ai_addrlen);
    freeaddrinfo(found);
    return error;
}

/* Opens the connection, and puts hello in front of the first request. */
static dipc_error open_connection(dipc *c)
{
    c->pid = getpid();
    if ((c->is_unix ? open_unix(c) : open_tcp(c)) != DIPC_OK)
        return c->error;
    c->is_greeting = 1;
    const char *key = c->name[0] == '\0' ? "" : " name=";
    if (!append(c, "hello", 5) || !append(c, key, strlen(key)) || !append(c, c->name, strlen(c->name)) ||
        !append(c, "\n", 1))
        return broken(c, DIPC_MEMORY, "no memory for the request");
    c->text[0] = '\0';
    return c->error = DIPC_OK;
}

static dipc_error connect_to(dipc *c, const char *address, int is_unix, int port, const char *name, int timeout_ms)
{
    memset(c, 0, sizeof *c);
    c->data = "";
    c->fd = -1;
    c->pid = getpid();
    c->is_unix = is_unix;
    c->port = port;
    c->timeout_ms = timeout_ms;
    if (strlen(address) >= sizeof c->address)
        return fail(c, DIPC_USAGE, "the address is too long");
    strcpy(c->address, address);
    if (name != NULL && strlen(name) >= sizeof c->name)
        return fail(c, DIPC_USAGE, "the name is longer than 64 bytes");
    strcpy(c->name, name == NULL ? "" : name);
    for (const char *byte = c->name; *byte != '\0'; byte++)
        if (*byte <= ' ' || *byte > '~')
            return fail(c, DIPC_USAGE, "the name is not one word of printable ASCII");
    if (!is_unix && (port < 1 || port > 65535))
        return fail(c, DIPC_USAGE, "port %d is not within 1..65535", port);
    return open_connection(c);
}

dipc_error dipc_connect(dipc *c, const char *host, int port, const char *name, int timeout_ms)
{
    return connect_to(c, host, 0, port, name, timeout_ms);
}

dipc_error dipc_connect_unix(dipc *c, const char *path, const char *name, int timeout_ms)
{
    return connect_to(c, path, 1, 0, name, timeout_ms);
}

dipc_error dipc_reconnect(dipc *c)
{
    char life[sizeof c->life];
    strcpy(life, c->life);
    broken(c, DIPC_IO, "");
    if (open_connection(c) != DIPC_OK || dipc_ping(c) != DIPC_OK)
        return c->error;
    if (life[0] == '\0' || strcmp(life, c->life) == 0)
        return DIPC_OK;
    return fail(c, DIPC_AHEAD, "the server has other mailboxes than before");
}

void dipc_close(dipc *c)
{
    if (c->fd >= 0 && c->pid == getpid())
        send(c->fd, "q\n", 2, MSG_NOSIGNAL); /* if this fails, the close ends the connection as well */
    broken(c, DIPC_IO, "the connection is closed");
    free(c->in);
    free(c->out);
    free(c->answer);
    c->in = c->out = c->answer = NULL;
    c->in_size = c->out_size = c->answer_size = 0;
    c->data = "";
    c->len = 0;
}

dipc_error dipc_ping(dipc *c)
{
    return ask(c, "OK", NULL, 0, "ping");
}

#define SECONDS 40 /* bytes; enough for every key with seconds */

/* Writes a key with seconds, and a blank before it, or nothing. Returns `text`. */
static const char *seconds(char text[SECONDS], const char *key, long ms)
{
    text[0] = '\0';
    if (ms >= 0)
        snprintf(text, SECONDS, " %s=%ld.%03ld", key, ms / 1000, ms % 1000);
    else if (ms != DIPC_DEFAULT)
        snprintf(text, SECONDS, " %s=inf", key);
    return text;
}

dipc_error dipc_read(dipc *c, unsigned box)
{
    return ask(c, "DATA v n", NULL, 0, "r %u", box);
}

dipc_error dipc_read_after(dipc *c, unsigned box, uint64_t after, long wait_ms)
{
    char wait[SECONDS];
    return ask(c, "DATA v n", NULL, 0, "r %u after=%" PRIu64 "%s", box, after, seconds(wait, "wait", wait_ms));
}

dipc_error dipc_write(dipc *c, unsigned box, const void *data, size_t len)
{
    return ask(c, "OK v", len > 0 ? data : "", len, "w %u %zu", box, len);
}

dipc_error dipc_write_if(dipc *c, unsigned box, const void *data, size_t len, uint64_t if_version)
{
    return ask(c, "OK v", len > 0 ? data : "", len, "w %u %zu if=%" PRIu64, box, len, if_version);
}

dipc_error dipc_put(dipc *c, unsigned box, const void *data, size_t len, int drop, long wait_ms)
{
    char wait[SECONDS];
    return ask(c, "OK v n", len > 0 ? data : "", len, "put %u %zu%s%s", box, len, drop ? " full=drop" : "",
               seconds(wait, "wait", wait_ms));
}

dipc_error dipc_take(dipc *c, unsigned box, long wait_ms)
{
    char wait[SECONDS];
    return ask(c, "DATA v n", NULL, 0, "take %u%s", box, seconds(wait, "wait", wait_ms));
}

dipc_error dipc_take_job(dipc *c, unsigned box, long ttl_ms, long wait_ms)
{
    char ttl[SECONDS], wait[SECONDS];
    /* Without a value it is the server's default. Without the key the message would be removed. */
    const char *key = ttl_ms == DIPC_DEFAULT ? " ttl=" : seconds(ttl, "ttl", ttl_ms);
    return ask(c, "DATA v n tries", NULL, 0, "take %u%s%s", box, key, seconds(wait, "wait", wait_ms));
}

static dipc_error end_job(dipc *c, const char *shape, const char *verb, unsigned box, uint64_t version)
{
    if (ask(c, shape, NULL, 0, "%s %u v=%" PRIu64, verb, box, version) == DIPC_LEASE)
        c->error = DIPC_JOB_LOST;
    return c->error;
}

dipc_error dipc_done(dipc *c, unsigned box, uint64_t version)
{
    return end_job(c, "OK n", "done", box, version);
}

dipc_error dipc_back(dipc *c, unsigned box, uint64_t version)
{
    return end_job(c, "OK", "back", box, version);
}

/* Whether this is one word, and not several of a request. */
static int is_word(const char *name)
{
    return name[0] != '\0' && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-") == strlen(name);
}

dipc_error dipc_mailbox(dipc *c, const char *name, unsigned *box)
{
    uint64_t number_of_box;
    if (start(c) != DIPC_OK)
        return c->error;
    if (!is_word(name))
        return fail(c, DIPC_USAGE, "the name of a mailbox has only a-z 0-9 _ . -");
    if (ask(c, "DATA", NULL, 0, "stat box %s", name) != DIPC_OK)
        return c->error;
    const char *at = c->data + strlen("mailbox ");
    if (strncmp(c->data, "mailbox ", strlen("mailbox ")) != 0 || !number(&at, &number_of_box))
        return broken(c, DIPC_PROTOCOL, "the server answered another request");
    *box = (unsigned)number_of_box;
    c->data = "";
    c->len = 0;
    return DIPC_OK;
}

dipc_error dipc_name(dipc *c, unsigned box, const char *name)
{
    if (start(c) != DIPC_OK)
        return c->error;
    if (name != NULL && (!is_word(name) || strcmp(name, "-") == 0))
        return fail(c, DIPC_USAGE, "the name of a mailbox has only a-z 0-9 _ . -, and begins with a letter");
    return ask(c, "OK", NULL, 0, "name %u %s", box, name == NULL ? "-" : name);
}

dipc_error dipc_lock(dipc *c, const char *boxes, int shared, long ttl_ms, long wait_ms)
{
    char ttl[SECONDS], wait[SECONDS];
    return ask(c, "OK grant", NULL, 0, "lock %s%s%s%s", boxes, shared ? " r" : "", seconds(ttl, "ttl", ttl_ms),
               seconds(wait, "wait", wait_ms));
}

dipc_error dipc_unlock(dipc *c, const char *boxes)
{
    return ask(c, "OK", NULL, 0, "unlock %s", boxes);
}

dipc_error dipc_watch(dipc *c, const char *boxes, uint64_t after)
{
    if (after == DIPC_NOW)
        return ask(c, "OK v", NULL, 0, "watch %s", boxes);
    return ask(c, "OK v", NULL, 0, "watch %s after=%" PRIu64, boxes, after);
}

dipc_error dipc_unwatch(dipc *c, const char *boxes)
{
    return ask(c, "OK", NULL, 0, "unwatch %s", boxes);
}

dipc_error dipc_next(dipc *c, int timeout_ms)
{
    size_t line, total;
    int found;
    int64_t deadline = deadline_in(timeout_ms);
    if (start(c) != DIPC_OK)
        return c->error;
    while ((found = extent(c, c->begin, &line, &total)) == 0) {
        int ready = wait_for_socket(c->fd, POLLIN, deadline);
        if (ready == 0 || (ready < 0 && errno == EINTR))
            return fail(c, DIPC_TIMEOUT, "no event arrived in time");
        if (ready < 0)
            return broken(c, DIPC_IO, strerror(errno));
        if (receive(c) < 0)
            return c->error;
    }
    if (found < 0)
        return broken(c, DIPC_PROTOCOL, "not an event of dipc");
    if (!move(c, c->begin, line, total))
        return broken(c, DIPC_MEMORY, "no memory for an event");
    if (strncmp(c->answer, "ERR ", 4) == 0) /* the server may send one before it closes */
        return judge(c);
    if (strncmp(c->answer, "EVENT ", 6) != 0)
        return broken(c, DIPC_PROTOCOL, "an answer without a request");
    const char *lost = field(c, "lost");
    if (lost != NULL && strncmp(lost, "lock", 4) == 0)
        return fail(c, DIPC_LEASE, "the lock of mailbox %u has expired", c->box);
    if (lost != NULL && strncmp(lost, "take", 4) == 0)
        return fail(c, DIPC_JOB_LOST, "message %" PRIu64 " of mailbox %u was given back", c->version, c->box);
    return DIPC_OK;
}

int dipc_fd(const dipc *c)
{
    return c->fd;
}
