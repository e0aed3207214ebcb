/* Measures local reads (clients/c/dipc_local.h) beside memcpy and beside reads over the Unix socket, and the time
 * from a write to the reader of its message: a local waiter beside a watcher over the Unix socket.
 *
 *     make -C clients/c bench
 *     dipc 4 1024 5000 1024 --unix /tmp/dipc.socket
 *     clients/c/local_bench 5000 /tmp/dipc.socket [DIR]    DIR: that of dipc --dir
 *
 * Each value is the median of rounds, and in brackets are the values between which nine of ten rounds are. A round of
 * reads takes about a millisecond, so that other programs interrupt few of them. It repeats one read of the same
 * message, which is in the cache if it fits.
 */
#define _GNU_SOURCE
#include "dipc.h"
#include "dipc_local.h"

#include <err.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 9, SHORT_ROUNDS = 201, ROUND_NS = 1000000, LARGEST = 1 << 20, WAKES = 2000, PAUSE_US = 300 };

static dipc client;
static dipc_local *local;
static char buffer[LARGEST], source[LARGEST];

/* What the writer and the readers of the delays share. */
static struct {
    _Atomic uint64_t seen;
    int64_t delays[WAKES];
} *shared;

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void check(dipc_error error)
{
    if (error != DIPC_OK)
        errx(1, "%s", client.text);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void copy(size_t len)
{
    const char *from = source;
    char *to = buffer;
    __asm__ volatile("" : "+r"(from), "+r"(to) : : "memory");
    memcpy(to, from, len);
    __asm__ volatile("" : : : "memory");
}

static void read_local(size_t len)
{
    if (dipc_local_read(local, 0, buffer, sizeof buffer, NULL) != (long)len)
        errx(1, "a local read failed");
}

static void read_after(size_t len)
{
    dipc_local_cursor cursor = {.box = 0};
    if (dipc_local_after(local, &cursor, buffer, sizeof buffer, NULL) != (long)len)
        errx(1, "a local read failed");
}

static void read_socket(size_t len)
{
    (void)len;
    check(dipc_read(&client, 0));
}

static double repeat(void (*call)(size_t), size_t len, long repeats)
{
    int64_t begin = now_ns();
    for (long i = 0; i < repeats; i++)
        call(len);
    return (double)(now_ns() - begin) / (double)repeats;
}

/* Prints the nanoseconds of one call. */
static void measure(void (*call)(size_t), size_t len)
{
    double rounds[SHORT_ROUNDS];
    long repeats = (long)(ROUND_NS / repeat(call, len, 10)) + 1;
    for (int round = 0; round < SHORT_ROUNDS; round++)
        rounds[round] = repeat(call, len, repeats);
    qsort(rounds, SHORT_ROUNDS, sizeof *rounds, ascending);
    char text[64];
    snprintf(text, sizeof text, "%.1f (%.1f-%.1f)", rounds[SHORT_ROUNDS / 2], rounds[SHORT_ROUNDS / 20],
             rounds[SHORT_ROUNDS * 19 / 20]);
    printf("  %-30s", text);
    fflush(stdout);
}

static void measure_reads(void)
{
    static const size_t SIZES[] = {0, 100, 256, 4096, 65536, LARGEST};
    printf("ns for one read\n   bytes  %-30s  %-30s  %-30s  %s\n", "memcpy", "dipc_local_read", "dipc_local_after",
           "dipc_read over the Unix socket");
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
        check(dipc_write(&client, 0, source, SIZES[i]));
        printf("%8zu", SIZES[i]);
        measure(copy, SIZES[i]);
        measure(read_local, SIZES[i]);
        measure(read_after, SIZES[i]);
        measure(read_socket, SIZES[i]);
        printf("\n");
    }
}

static void record_delay(const char *data)
{
    int64_t sent;
    memcpy(&sent, data, sizeof sent);
    uint64_t seen = shared->seen;
    shared->delays[seen] = now_ns() - sent;
    shared->seen = seen + 1;
}

static void wait_locally(uint64_t version, const char *dir, int port)
{
    dipc_local_cursor cursor = {.box = 1, .version = version};
    if (dipc_local_open(&local, dir, port) != 0)
        errx(1, "no local reads");
    while (shared->seen < WAKES)
        if (dipc_local_wait(local, &cursor, 1, -1) == 0 &&
            dipc_local_after(local, &cursor, buffer, sizeof buffer, NULL) > 0)
            record_delay(buffer);
}

static void watch(uint64_t version, const char *path)
{
    check(dipc_connect_unix(&client, path, NULL, -1));
    check(dipc_watch(&client, "1", version));
    while (shared->seen < WAKES) {
        check(dipc_next(&client, -1));
        record_delay(client.data);
    }
}

/* One round: a reader in another process, and messages with pauses in which it falls asleep. */
static void measure_delays(int is_local, const char *path, const char *dir, int port, double *median, double *late)
{
    double sorted[WAKES];
    shared->seen = 0;
    check(dipc_write(&client, 1, "", 0));
    uint64_t version = client.version;
    pid_t reader = fork();
    if (reader == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        is_local ? wait_locally(version, dir, port) : watch(version, path);
        _exit(0);
    }
    for (uint64_t i = 0; i < WAKES; i++) {
        usleep(i == 0 ? 100000 : PAUSE_US);
        int64_t now = now_ns();
        check(dipc_write(&client, 1, &now, sizeof now));
        while (shared->seen <= i)
            usleep(20);
    }
    waitpid(reader, NULL, 0);
    for (int i = 0; i < WAKES; i++)
        sorted[i] = (double)shared->delays[i] / 1000;
    qsort(sorted, WAKES, sizeof *sorted, ascending);
    *median = sorted[WAKES / 2];
    *late = sorted[WAKES * 99 / 100];
}

static void print_delays(const char *what, double *medians, double *lates)
{
    qsort(medians, ROUNDS, sizeof *medians, ascending);
    qsort(lates, ROUNDS, sizeof *lates, ascending);
    printf("%-26s %6.1f (%.1f-%.1f)   p99 %6.1f\n", what, medians[ROUNDS / 2], medians[0], medians[ROUNDS - 1],
           lates[ROUNDS / 2]);
}

int main(int argc, char **argv)
{
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: local_bench PORT SOCKET [DIR]\n");
        return 2;
    }
    int port = atoi(argv[1]);
    const char *path = argv[2], *dir = argc == 4 ? argv[3] : NULL;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        err(1, "mmap");
    memset(source, 'x', sizeof source);
    int refusal = dipc_local_open(&local, dir, port);
    if (refusal)
        errx(1, "%s", dipc_local_text(refusal));
    check(dipc_connect_unix(&client, path, NULL, -1));
    measure_reads();
    double medians[2][ROUNDS], lates[2][ROUNDS];
    for (int round = 0; round < ROUNDS; round++)
        for (int is_local = 0; is_local < 2; is_local++)
            measure_delays(is_local, path, dir, port, &medians[is_local][round], &lates[is_local][round]);
    printf("us from a write to its reader\n");
    print_delays("watch over the Unix socket", medians[0], lates[0]);
    print_delays("dipc_local_wait", medians[1], lates[1]);
    dipc_local_close(local);
    dipc_close(&client);
    return 0;
}
