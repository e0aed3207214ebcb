/* dipc_local_torture.c: local readers beside writers, lock holders, takers that do not read their answer, kills and
 * new mailboxes. Each message proves itself: a reader that sees a part of another one reports it.
 *
 *     ./dipc_local_torture DIPC DIR   the server's program, and an empty directory in memory
 *
 * DIPC_TORTURE_SECONDS is its length, by default 4. Prints the numbers of reads, and exits with 1 if one was wrong.
 */
#define _GNU_SOURCE

#include "dipc.h"
#include "dipc_local.h"
#include "test_server.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#define BOXES 6
#define SIZE (1 << 20) /* bytes of a mailbox */
#define READERS 4
#define HEADER 3       /* words before the body of a message: seed, length, kind */

enum { LARGE, QUEUE, JOBS, LOCKED, UNDONE, PATCHED };            /* mailboxes */
enum { FINISHED = 1, UNFINISHED };                               /* kinds */
enum { READS, BYTES, HELD, BUSY, RETIRED, NEWS, WAKES, TORN, EARLY, BACKWARD, MISSING, DAMAGED, REFUSED, COUNTERS };

static const char *const NAMES[COUNTERS] = {
    "reads", "bytes", "held", "busy", "retired", "after", "wakes",
    /* These are failures. */
    "torn", "unfinished", "backward", "missing", "damaged", "refused"};

static struct shared {
    _Atomic uint64_t counters[COUNTERS];
    _Atomic int port, is_calm, is_over; /* is_calm: no server is killed, so no message is missing */
} *shared;

static struct server server;
static char socket_path[108];
static uint64_t message[SIZE / 8];

static void count(int counter, uint64_t n)
{
    atomic_fetch_add_explicit(&shared->counters[counter], n, memory_order_relaxed);
}

static uint64_t random_number(void)
{
    static _Thread_local uint64_t state;
    if (state == 0)
        state = (uint64_t)getpid() * UINT64_C(0x9e3779b97f4a7c15) | 1;
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}

/* Writers. */

/* Makes a message of `len` bytes, at least a header. Each word of its body depends on the seed and on its place. */
static void make(size_t len, uint64_t kind)
{
    uint64_t seed = random_number();
    message[0] = seed;
    message[1] = len;
    message[2] = kind;
    for (size_t i = HEADER; i < (len + 7) / 8; i++)
        message[i] = seed + i;
}

static size_t length_up_to(size_t most)
{
    size_t len = random_number() % (most - HEADER * 8) + HEADER * 8;
    return random_number() % 4 ? len % 4096 + HEADER * 8 : len;
}

static void connect_again(dipc *c)
{
    while (c->fd < 0 && !shared->is_over && dipc_reconnect(c) != DIPC_OK && c->error != DIPC_AHEAD)
        usleep(1000);
}

static void write_large(dipc *c, uint64_t number)
{
    size_t len = number % 2 ? SIZE : length_up_to(SIZE);
    make(len, FINISHED);
    dipc_write(c, LARGE, message, len);
}

static void put_and_take(dipc *c)
{
    size_t len = length_up_to(65536);
    make(len, FINISHED);
    dipc_put(c, QUEUE, message, len, 1, 0);
    if (c->fd >= 0 && random_number() % 8 == 0)
        dipc_take(c, QUEUE, 0);
}

/* Removes messages in another order than they were put in. */
static void work(dipc *c)
{
    uint64_t versions[8];
    int n = 0, wanted = 2 + (int)(random_number() % 6);
    for (int i = 0; i < wanted; i++) {
        size_t len = length_up_to(2000);
        make(len, FINISHED);
        dipc_put(c, JOBS, message, len, 1, 0);
    }
    for (; n < wanted && dipc_take_job(c, JOBS, 60000, 0) == DIPC_OK; n++)
        versions[n] = c->version;
    for (; n > 0 && c->fd >= 0; n--) {
        int i = (int)(random_number() % (unsigned)n);
        random_number() % 8 ? dipc_done(c, JOBS, versions[i]) : dipc_back(c, JOBS, versions[i]);
        versions[i] = versions[n - 1];
    }
}

static void lock_and_write(dipc *c)
{
    if (dipc_lock(c, "3", 0, 60000, 1000) != DIPC_OK)
        return;
    size_t len = length_up_to(65536);
    make(len, UNFINISHED);
    dipc_write(c, LOCKED, message, len);
    make(len, FINISHED);
    if (c->fd >= 0 && dipc_write(c, LOCKED, message, len) == DIPC_OK)
        dipc_unlock(c, "3");
}

/* A raw connection, for requests that dipc.h does not have. */
static int connect_raw(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Takes a message that does not fit into the buffers of the socket, and leaves: it is put back. */
static void take_and_leave(void)
{
    char first;
    int fd = connect_raw();
    if (fd >= 0 && send(fd, "take 4\n", 7, MSG_NOSIGNAL) == 7)
        (void)!recv(fd, &first, 1, 0);
    if (fd >= 0)
        close(fd);
}

/* Overwrites the body, and the seed before it, in place. */
static void patch(void)
{
    char line[64], answer[64];
    int fd = connect_raw();
    if (fd < 0)
        return;
    for (int i = 0; i < 20; i++) {
        size_t len = 8192;
        make(len, FINISHED);
        int n = snprintf(line, sizeof line, "w 5 %zu off=0\n", len);
        if (send(fd, line, (size_t)n, MSG_NOSIGNAL) != n || send(fd, message, len, MSG_NOSIGNAL) != (ssize_t)len ||
            send(fd, "\n", 1, MSG_NOSIGNAL) != 1 || recv(fd, answer, sizeof answer, 0) <= 0)
            break;
    }
    close(fd);
}

static void write_until_the_end(int kind)
{
    dipc c;
    if (dipc_connect_unix(&c, socket_path, NULL, -1) != DIPC_OK)
        c.fd = -1;
    for (uint64_t number = 1; !shared->is_over; number++) {
        connect_again(&c);
        switch (kind) {
        case LARGE: write_large(&c, number); break;
        case QUEUE: put_and_take(&c); break;
        case JOBS: work(&c); break;
        case LOCKED: lock_and_write(&c); break;
        default:
            patch();
            if (shared->is_calm)
                take_and_leave();
        }
    }
    dipc_close(&c);
}

/* Readers. */

/* Checks a message. The message of a lock holder stays unfinished if the server is killed. */
static void check(const uint64_t *read, size_t len, int is_calm)
{
    if (len < HEADER * 8 || read[1] != len) {
        count(TORN, 1);
        return;
    }
    uint64_t wrong = 0;
    for (size_t i = HEADER; i < len / 8; i++)
        wrong |= read[i] ^ (read[0] + i);
    if (len % 8)
        wrong |= (read[len / 8] ^ (read[0] + len / 8)) << (8 - len % 8) * 8;
    count(TORN, wrong != 0);
    count(EARLY, is_calm && read[2] != FINISHED);
}

static void count_refusal(long refusal)
{
    switch (refusal) {
    case DIPC_LOCAL_NONE: break;
    case DIPC_LOCAL_AHEAD: break;
    case DIPC_LOCAL_HELD: count(HELD, 1); break;
    case DIPC_LOCAL_BUSY: count(BUSY, 1); break;
    case DIPC_LOCAL_RETIRED: count(RETIRED, 1); break;
    case DIPC_LOCAL_DAMAGED: count(DAMAGED, 1); break;
    default: count(REFUSED, 1);
    }
}

static void read_until_the_end(void)
{
    static uint64_t buffer[SIZE / 8];
    dipc_local_cursor cursors[BOXES];
    uint64_t versions[BOXES] = {0}, lives[BOXES] = {0};
    dipc_local *local = NULL;
    while (!local && dipc_local_open(&local, server.dir, shared->port) != 0)
        usleep(1000);
    for (unsigned box = 0; box < BOXES; box++)
        cursors[box] = (dipc_local_cursor){.box = box};
    while (!shared->is_over) {
        dipc_local_message m;
        unsigned box = (unsigned)(random_number() % BOXES);
        int was_calm = shared->is_calm;
        long len = dipc_local_read(local, box, buffer, sizeof buffer, &m);
        if (len < 0) {
            count_refusal(len);
        } else {
            count(READS, 1);
            count(BYTES, (uint64_t)len);
            if (m.count > 0)
                check(buffer, (size_t)len, was_calm && shared->is_calm);
            count(BACKWARD, m.life == lives[box] && m.version < versions[box]);
            count(MISSING, box == UNDONE && was_calm && shared->is_calm && m.count != 1);
            versions[box] = m.version;
            lives[box] = m.life;
        }
        dipc_local_cursor *cursor = &cursors[random_number() % BOXES];
        uint64_t before = cursor->version;
        len = dipc_local_after(local, cursor, buffer, sizeof buffer, &m);
        if (len >= 0) {
            count(NEWS, 1);
            check(buffer, (size_t)len, was_calm && shared->is_calm);
            count(BACKWARD, cursor->version != before + m.lost + 1);
        } else {
            count_refusal(len);
            if (len == DIPC_LOCAL_AHEAD)
                *cursor = (dipc_local_cursor){.box = cursor->box};
        }
        if (random_number() % 64 == 0)
            count(WAKES, dipc_local_wait(local, cursors, BOXES, 100) >= 0);
    }
    dipc_local_close(local);
}

/* Starts a process that ends when the test is over. */
static void spawn(void (*run)(int), int argument)
{
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run(argument);
        _exit(0);
    }
}

static void run_reader(int unused)
{
    (void)unused;
    read_until_the_end();
}

static void start(const char *option)
{
    char words[256];
    snprintf(words, sizeof words, "%d %d PORT %d --unix %s %s", BOXES, SIZE / 1024, SIZE / 1024, socket_path, option);
    start_server(&server, words);
}

static void sleep_ms(unsigned ms)
{
    /* The time of the test passes. */
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

static int has_failed(void)
{
    for (int i = TORN; i < COUNTERS; i++)
        if (shared->counters[i] > 0)
            return 1;
    return 0;
}

static double seconds_since(const struct timespec *begin)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - begin->tv_sec) + (double)(now.tv_nsec - begin->tv_nsec) / 1e9;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: dipc_local_torture DIPC DIR\n");
        return 2;
    }
    const char *given = getenv("DIPC_TORTURE_SECONDS");
    double seconds = given ? atof(given) : 4;
    server = (struct server){.program = argv[1], .dir = argv[2]};
    snprintf(socket_path, sizeof socket_path, "%s/socket", argv[2]);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        fail_test("mmap");
    start("");
    shared->port = server.port;
    dipc c;
    make(SIZE, FINISHED);
    if (dipc_connect_unix(&c, socket_path, NULL, -1) != DIPC_OK ||
        dipc_write(&c, UNDONE, message, SIZE) != DIPC_OK)
        fail_test("the first message");
    dipc_close(&c);
    shared->is_calm = 1;
    for (int kind = LARGE; kind <= UNDONE; kind++)
        spawn(write_until_the_end, kind);
    for (int i = 0; i < READERS; i++)
        spawn(run_reader, i);
    struct timespec begin;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    int kills = 0;
    for (double passed = 0; passed < seconds && !has_failed(); passed = seconds_since(&begin)) {
        if (passed < seconds / 2) {
            sleep_ms(20);
            continue;
        }
        shared->is_calm = 0;
        sleep_ms(20 + (unsigned)(random_number() % 100));
        end_server(&server, kills % 5 == 4 ? SIGTERM : SIGKILL);
        start(kills++ % 4 == 3 ? "--fresh" : "");
    }
    shared->is_over = 1;
    /* Writers that wait for an answer see the end of the server. */
    remove_server(&server);
    while (wait(NULL) > 0)
        continue;
    for (int i = 0; i < COUNTERS; i++)
        printf("%s %llu\n", NAMES[i], (unsigned long long)shared->counters[i]);
    printf("kills %d\n", kills);
    return has_failed();
}
