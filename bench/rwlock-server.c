/* A server of shared-memory mailboxes in the usual design: a thread for each connection, and for each mailbox
 * a pthread_rwlock with default attributes. `bench/peers` compares the longest wait of its writers among
 * readers with that of dipc.
 *
 * It implements the part of memcached's text protocol that `dipc-cli bench --system memcached` uses. A reader
 * sends its answer directly from the mailbox, under the read lock. With `copy` it copies the message under
 * the lock, and sends it afterwards.
 *
 *     rwlock-server PORT MAILBOXES BYTES [copy]
 *
 * Port 0 selects any free port. The server prints its port when clients can connect.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum { LINE = 128, STACK = 64 << 10, BACKLOG = 4096 };

struct mailbox {
    pthread_rwlock_t lock;
    size_t length;
    char *data;
};

static struct mailbox *mailboxes;
static size_t mailbox_count, mailbox_size;
static bool copies;

static bool send_all(int client, struct iovec *part, int count)
{
    while (count > 0) {
        ssize_t sent = writev(client, part, count);
        if (sent < 0)
            return false;
        for (; count > 0 && (size_t)sent >= part->iov_len; part++, count--)
            sent -= part->iov_len;
        if (count > 0) {
            part->iov_base = (char *)part->iov_base + sent;
            part->iov_len -= sent;
        }
    }
    return true;
}

static bool send_line(int client, const char *line)
{
    return send_all(client, &(struct iovec){(char *)line, strlen(line)}, 1);
}

static bool send_data(int client, size_t number, char *data, size_t length)
{
    char head[LINE];
    int head_length = snprintf(head, sizeof head, "VALUE box:%zu 0 %zu\r\n", number, length);
    return send_all(client, (struct iovec[]){{head, head_length}, {data, length}, {"\r\nEND\r\n", 7}}, 3);
}

static bool get(int client, size_t number, char *own)
{
    struct mailbox *mailbox = &mailboxes[number];
    bool is_sent = true;
    pthread_rwlock_rdlock(&mailbox->lock);
    size_t length = mailbox->length;
    if (copies)
        memcpy(own, mailbox->data, length);
    else
        is_sent = send_data(client, number, mailbox->data, length);
    pthread_rwlock_unlock(&mailbox->lock);
    return copies ? send_data(client, number, own, length) : is_sent;
}

/* Receives the data before it takes the lock, so that a slow client delays no other client. */
static bool set(FILE *in, int client, size_t number, size_t length, char *own)
{
    char end[2];
    if (fread(own, 1, length, in) < length || fread(end, 1, 2, in) < 2 || memcmp(end, "\r\n", 2) != 0)
        return false;
    struct mailbox *mailbox = &mailboxes[number];
    pthread_rwlock_wrlock(&mailbox->lock);
    memcpy(mailbox->data, own, length);
    mailbox->length = length;
    pthread_rwlock_unlock(&mailbox->lock);
    return send_line(client, "STORED\r\n");
}

static bool answer(FILE *in, int client, const char *line, char *own)
{
    size_t number, length;
    if (strcmp(line, "version\r\n") == 0)
        return send_line(client, "VERSION rwlock\r\n");
    /* The widths prevent an overflow of size_t. */
    if (sscanf(line, "get box:%9zu\r\n", &number) == 1 && number < mailbox_count)
        return get(client, number, own);
    if (sscanf(line, "set box:%9zu 0 0 %9zu\r\n", &number, &length) == 2 && number < mailbox_count &&
        length <= mailbox_size)
        return set(in, client, number, length, own);
    /* The start of the next request is unknown, so the connection is closed. */
    send_line(client, "ERROR\r\n");
    return false;
}

static void *serve(void *argument)
{
    int client = (int)(long)argument;
    FILE *in = fdopen(client, "r");
    char line[LINE], *own = malloc(mailbox_size);
    if (in == NULL || own == NULL)
        err(1, "no memory");
    while (fgets(line, sizeof line, in) != NULL && answer(in, client, line, own))
        ;
    free(own);
    fclose(in);
    return NULL;
}

static void make_mailboxes(void)
{
    mailboxes = calloc(mailbox_count, sizeof *mailboxes);
    char *memory = mmap(NULL, mailbox_count * mailbox_size, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (mailboxes == NULL || memory == MAP_FAILED)
        err(1, "no memory");
    for (size_t number = 0; number < mailbox_count; number++) {
        pthread_rwlock_init(&mailboxes[number].lock, NULL);
        mailboxes[number].data = memory + number * mailbox_size;
    }
}

static int listen_on(unsigned short port)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct in_addr loopback = {htonl(INADDR_LOOPBACK)};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = loopback};
    socklen_t length = sizeof address;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    /* Accepted sockets inherit this option. */
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, BACKLOG) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) < 0)
        err(1, "port %u", port);
    printf("%u\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(int argc, char **argv)
{
    if (argc < 4 || (mailbox_count = atoi(argv[2])) < 1 || (mailbox_size = atoi(argv[3])) < 1)
        errx(2, "PORT MAILBOXES BYTES [copy]");
    copies = argc > 4 && strcmp(argv[4], "copy") == 0;
    signal(SIGPIPE, SIG_IGN);
    make_mailboxes();
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, STACK);
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
    for (int listener = listen_on(atoi(argv[1]));;) {
        pthread_t thread;
        int client = accept(listener, NULL, NULL);
        if (client < 0)
            err(1, "accept");
        if (pthread_create(&thread, &small, serve, (void *)(long)client) != 0)
            close(client);
    }
}
