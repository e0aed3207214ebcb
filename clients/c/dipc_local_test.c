/* dipc_local_test.c: every function and every refusal of dipc_local.h, beside servers that the test starts.
 *
 *     ./dipc_local_test DIPC DIR   the server's program, dipcrm beside it, and an empty directory in memory;
 *                                  prints nothing if all is well
 */
#define _GNU_SOURCE

#include "dipc.h"
#include "dipc_local.h"
#include "test_server.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define LIMIT 20000 /* ms; the longest wait of a test */
#define SIZE 65536  /* bytes of a mailbox: dipc 4 64 PORT 64 */

#define CHECK(condition) check((condition) != 0, #condition, __LINE__)
#define DO(call) check((call) == DIPC_OK, #call, __LINE__)

static struct server server;
static dipc_local *local;
static dipc_local_message message;
static char buffer[SIZE];

static void check(int is_true, const char *condition, int line)
{
    if (!is_true) {
        fprintf(stderr, "dipc_local_test.c:%d: %s\n", line, condition);
        exit(1);
    }
}

static dipc connected(void)
{
    dipc c;
    DO(dipc_connect(&c, "127.0.0.1", server.port, "test", LIMIT));
    return c;
}

static long read_local(unsigned box)
{
    return dipc_local_read(local, box, buffer, sizeof buffer, &message);
}

static long after_local(dipc_local_cursor *cursor)
{
    return dipc_local_after(local, cursor, buffer, sizeof buffer, &message);
}

static int is_message(long len, const char *data, uint64_t version, uint64_t count)
{
    return len == (long)strlen(data) && memcmp(buffer, data, (size_t)len) == 0 && message.version == version &&
           message.count == count && message.len == (uint64_t)len;
}

/* Compares all that a connection reads of a mailbox with what is read locally. */
static void check_same(dipc *c, unsigned box)
{
    DO(dipc_read(c, box));
    long len = read_local(box);
    CHECK(len == (long)c->len && memcmp(buffer, c->data, c->len) == 0);
    CHECK(message.version == c->version && message.count == c->count && message.lost == 0);
    uint64_t last = c->version, version;
    CHECK(dipc_local_version(local, box, &version) == 0 && version == last);
    uint64_t oldest = last > 100 ? last - 100 : 0;
    for (uint64_t after = oldest; after <= last; after++) {
        dipc_local_cursor cursor = {.box = box, .version = after};
        dipc_error error = dipc_read_after(c, box, after, 0);
        len = after_local(&cursor);
        if (error != DIPC_OK) {
            CHECK(error == DIPC_TIMEOUT && len == DIPC_LOCAL_NONE && cursor.version == after);
            continue;
        }
        CHECK(len == (long)c->len && memcmp(buffer, c->data, c->len) == 0);
        CHECK(message.version == c->version && message.count == c->count && message.lost == c->lost);
        CHECK(cursor.version == c->version);
    }
    /* One cursor along the list, which remembers its place. */
    dipc_local_cursor cursor = {.box = box, .version = oldest};
    for (uint64_t after = oldest; dipc_read_after(c, box, after, 0) == DIPC_OK; after = c->version) {
        len = after_local(&cursor);
        CHECK(len == (long)c->len && memcmp(buffer, c->data, c->len) == 0 && cursor.version == c->version);
    }
    CHECK(after_local(&cursor) == DIPC_LOCAL_NONE);
}

static void test_opening(const char *dir)
{
    dipc_local *none = local;
    CHECK(dipc_local_open(&none, dir, 1) == DIPC_LOCAL_RETIRED && none == NULL);
    CHECK(dipc_local_open(&none, "/nonexistent", 5000) == DIPC_LOCAL_RETIRED);
    CHECK(dipc_local_open(&none, dir, 0) == DIPC_LOCAL_USAGE);
    CHECK(dipc_local_open(&none, dir, 65536) == DIPC_LOCAL_USAGE);
    CHECK(chmod(dir, 0777) == 0);
    CHECK(dipc_local_open(&none, dir, server.port) == DIPC_LOCAL_FOREIGN);
    CHECK(chmod(dir, 0700) == 0);
    dipc_local_close(none);
    for (int refusal = DIPC_LOCAL_USAGE; refusal <= 0; refusal++)
        CHECK(strcmp(dipc_local_text(refusal), "unknown refusal") != 0);
    CHECK(dipc_local_api() == DIPC_LOCAL_API);

    dipc c = connected();
    dipc_local_info info;
    char life[32];
    DO(dipc_ping(&c));
    CHECK(dipc_local_mailboxes(local, &info) == 0 && info.boxes == 4 && info.size == SIZE);
    snprintf(life, sizeof life, "%llu", (unsigned long long)info.life);
    CHECK(strcmp(life, c.life) == 0);
    dipc_close(&c);
}

static void test_contents(void)
{
    dipc c = connected();
    static char large[SIZE];
    uint64_t version;
    CHECK(is_message(read_local(0), "", 0, 0));
    CHECK(dipc_local_version(local, 0, &version) == 0 && version == 0);
    dipc_local_cursor cursor = {.box = 0};
    CHECK(after_local(&cursor) == DIPC_LOCAL_NONE);
    DO(dipc_write(&c, 0, "hello", 5));
    CHECK(is_message(read_local(0), "hello", 1, 1) && message.lost == 0);
    CHECK(dipc_local_read(local, 0, buffer, 5, NULL) == 5);
    CHECK(dipc_local_read(local, 0, buffer, 4, &message) == DIPC_LOCAL_SIZE && message.len == 5);
    CHECK(dipc_local_read(local, 0, NULL, 0, &message) == DIPC_LOCAL_SIZE);
    DO(dipc_write(&c, 0, "", 0));
    CHECK(is_message(read_local(0), "", 2, 1));
    CHECK(dipc_local_read(local, 0, NULL, 0, NULL) == 0);
    DO(dipc_put(&c, 0, "three", 5, 0, 0));
    DO(dipc_put(&c, 0, "four", 4, 0, 0));
    CHECK(is_message(read_local(0), "four", 4, 3));
    CHECK(after_local(&cursor) == 0 && cursor.version == 2 && message.lost == 1);
    CHECK(dipc_local_after(local, &cursor, buffer, 4, &message) == DIPC_LOCAL_SIZE && message.len == 5);
    CHECK(cursor.version == 2);
    CHECK(is_message(after_local(&cursor), "three", 3, 3) && message.lost == 0);
    CHECK(is_message(after_local(&cursor), "four", 4, 3));
    CHECK(after_local(&cursor) == DIPC_LOCAL_NONE && cursor.version == 4);
    cursor.version = 5;
    CHECK(after_local(&cursor) == DIPC_LOCAL_AHEAD);
    CHECK(read_local(4) == DIPC_LOCAL_BOX && dipc_local_version(local, 4, &version) == DIPC_LOCAL_BOX);
    cursor = (dipc_local_cursor){.box = 4};
    CHECK(after_local(&cursor) == DIPC_LOCAL_BOX);
    check_same(&c, 0);
    for (size_t i = 0; i < sizeof large; i++)
        large[i] = (char)(i * 7 + i / 256);
    DO(dipc_write(&c, 0, large, sizeof large));
    CHECK(read_local(0) == SIZE && memcmp(buffer, large, SIZE) == 0);
    DO(dipc_write(&c, 0, "", 0));
    dipc_close(&c);
}

/* Lists of messages of many lengths, at every place of the ring. */
static void test_the_ring(void)
{
    dipc c = connected();
    static char data[SIZE];
    unsigned random = 1;
    for (int step = 0; step < 600; step++) {
        random = random * 1103515245 + 12345;
        size_t len = random / 65536 % (step % 5 == 0 ? 9000 : 300);
        memset(data, 'a' + step % 26, len);
        if (random / 64 % 4 == 0 && dipc_take(&c, 1, 0) != DIPC_OK)
            CHECK(c.error == DIPC_EMPTY);
        DO(dipc_put(&c, 1, data, len, 1, 0));
        if (step % 20 == 0)
            check_same(&c, 1);
        DO(dipc_read(&c, 1));
        CHECK(read_local(1) == (long)c.len && memcmp(buffer, c.data, c.len) == 0 && message.count == c.count);
    }
    check_same(&c, 1);
    dipc_close(&c);
}

/* Messages that are removed behind older ones. */
static void test_holes(void)
{
    static const int ORDERS[][6] = {{1, 2, 3, 4, 5, 0}, {5, 4, 3, 2, 1, 0}, {5, 3, 1, 4, 0, 2}, {4, 5, 0, 2, 3, 1}};
    dipc c = connected();
    for (unsigned order = 0; order < sizeof ORDERS / sizeof *ORDERS; order++) {
        uint64_t versions[6];
        for (int i = 0; i < 6; i++) {
            char text[16];
            int len = snprintf(text, sizeof text, "job %u%d", order, i);
            DO(dipc_put(&c, 2, text, (size_t)len, 0, 0));
            versions[i] = c.version;
        }
        for (int i = 0; i < 6; i++)
            DO(dipc_take_job(&c, 2, LIMIT, 0));
        for (int i = 0; i < 6; i++) {
            DO(dipc_done(&c, 2, versions[ORDERS[order][i]]));
            check_same(&c, 2);
        }
    }
    /* Messages behind holes, a plain take behind one in hand, and a write that ends all of them. */
    for (int i = 0; i < 4; i++)
        DO(dipc_put(&c, 2, "again", 5, 0, 0));
    uint64_t last = c.version;
    for (int i = 0; i < 3; i++)
        DO(dipc_take_job(&c, 2, LIMIT, 0));
    DO(dipc_done(&c, 2, last - 1));
    DO(dipc_take(&c, 2, 0));
    check_same(&c, 2);
    DO(dipc_put(&c, 2, "newer", 5, 0, 0));
    check_same(&c, 2);
    DO(dipc_back(&c, 2, last - 2));
    check_same(&c, 2);
    DO(dipc_write(&c, 2, "one", 3));
    check_same(&c, 2);
    dipc_close(&c);
}

static void test_locks(void)
{
    dipc c = connected();
    dipc_local_cursor cursor = {.box = 3};
    uint64_t version;
    DO(dipc_write(&c, 3, "free", 4));
    DO(dipc_lock(&c, "3", 0, LIMIT, 0));
    CHECK(read_local(3) == DIPC_LOCAL_HELD && after_local(&cursor) == DIPC_LOCAL_HELD);
    CHECK(dipc_local_version(local, 3, &version) == DIPC_LOCAL_HELD);
    DO(dipc_write(&c, 3, "unfinished", 10));
    CHECK(read_local(3) == DIPC_LOCAL_HELD && read_local(2) >= 0);
    DO(dipc_read(&c, 3)); /* the holder's own connection */
    DO(dipc_write(&c, 3, "finished", 8));
    DO(dipc_unlock(&c, "3"));
    CHECK(is_message(read_local(3), "finished", 3, 1));
    DO(dipc_lock(&c, "3", 1, LIMIT, 0));
    CHECK(is_message(read_local(3), "finished", 3, 1));
    DO(dipc_unlock(&c, "3"));
    DO(dipc_lock(&c, "3", 0, 50, 0));
    CHECK(read_local(3) == DIPC_LOCAL_HELD);
    CHECK(dipc_next(&c, LIMIT) == DIPC_LEASE);
    CHECK(is_message(read_local(3), "finished", 3, 1));
    dipc_close(&c);
}

/* Waits until a flag of the file of waiters is set: another process sleeps, or looks for the last time before. */
static void await_waiter(unsigned box)
{
    char path[512];
    uint32_t flag = 0;
    snprintf(path, sizeof path, "%s/%d/waiters", server.dir, server.port);
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0);
    while (pread(fd, &flag, sizeof flag, box * sizeof flag) == sizeof flag && flag == 0)
        usleep(100);
    CHECK(flag != 0);
    close(fd);
}

/* Waits in another process, which exits with the result. */
static pid_t waiting(const dipc_local_cursor *cursors, unsigned n)
{
    pid_t pid = fork();
    if (pid > 0)
        return pid;
    dipc_local *own;
    CHECK(dipc_local_open(&own, server.dir, server.port) == 0);
    int result = dipc_local_wait(own, cursors, n, LIMIT);
    dipc_local_close(own);
    _exit(result < 0 ? 100 - result : result);
}

static int result_of(pid_t pid)
{
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    int result = WEXITSTATUS(status);
    return result > 100 ? 100 - result : result;
}

/* This program is compiled without looks: a waiter sleeps until a server wakes it, or LIMIT is over. */
static void test_waiting(void)
{
    dipc c = connected();
    dipc_local_cursor cursors[4];
    for (unsigned box = 0; box < 4; box++) {
        uint64_t version;
        CHECK(dipc_local_version(local, box, &version) == 0);
        cursors[box] = (dipc_local_cursor){.box = box, .version = version};
    }
    CHECK(dipc_local_wait(local, cursors, 4, 10) == DIPC_LOCAL_NONE);
    CHECK(dipc_local_wait(local, cursors, 1, 0) == DIPC_LOCAL_NONE);
    CHECK(dipc_local_wait(local, cursors, 0, 0) == DIPC_LOCAL_USAGE);
    CHECK(dipc_local_wait(local, cursors, DIPC_LOCAL_CURSORS + 1, 0) == DIPC_LOCAL_USAGE);
    for (int round = 0; round < 200; round++) {
        unsigned n = 1 + 3 * (round % 2), box = n == 1 ? 0 : (unsigned)round % 4;
        pid_t pid = waiting(cursors, n);
        await_waiter(box);
        DO(round % 3 ? dipc_write(&c, box, "news", 4) : dipc_put(&c, box, "news", 4, 1, 0));
        CHECK(result_of(pid) == (int)box);
        CHECK(dipc_local_wait(local, cursors, n, LIMIT) == (int)box);
        cursors[box].version = c.version;
    }

    /* A message of a lock holder counts from the unlock on. */
    pid_t pid = waiting(cursors + 3, 1);
    await_waiter(3);
    DO(dipc_lock(&c, "3", 0, LIMIT, 0));
    DO(dipc_write(&c, 3, "locked", 6));
    CHECK(dipc_local_wait(local, cursors + 3, 1, 10) == DIPC_LOCAL_NONE);
    CHECK(waitpid(pid, NULL, WNOHANG) == 0);
    DO(dipc_unlock(&c, "3"));
    CHECK(result_of(pid) == 0);

    dipc_local_cursor ahead = {.box = 2, .version = cursors[2].version + 1}, none = {.box = 4};
    CHECK(dipc_local_wait(local, &ahead, 1, LIMIT) == DIPC_LOCAL_AHEAD);
    CHECK(dipc_local_wait(local, &none, 1, LIMIT) == DIPC_LOCAL_BOX);
    dipc_close(&c);
}

static void test_restarts(void)
{
    dipc c = connected();
    uint64_t version;
    dipc_local_info info;
    DO(dipc_write(&c, 0, "kept", 4));
    version = c.version;
    dipc_local_cursor cursor = {.box = 0, .version = version - 1};
    CHECK(after_local(&cursor) == 4);
    DO(dipc_lock(&c, "1", 0, LIMIT, 0));

    /* Reads work without a server. What was locked at a kill is not read until the next start. */
    end_server(&server, SIGKILL);
    CHECK(is_message(read_local(0), "kept", version, 1) && read_local(1) == DIPC_LOCAL_HELD);
    start_server(&server, "4 64 PORT 64");
    CHECK(is_message(read_local(0), "kept", version, 1) && read_local(1) >= 0);
    CHECK(after_local(&cursor) == DIPC_LOCAL_NONE);
    dipc_close(&c);
    c = connected();
    DO(dipc_lock(&c, "1", 0, LIMIT, 0));
    end_server(&server, SIGTERM);
    CHECK(read_local(0) == 4 && read_local(1) >= 0);

    /* Another number of mailboxes, with the same messages. */
    start_server(&server, "5 32 PORT 32 --resize");
    CHECK(is_message(read_local(0), "kept", version, 1));
    CHECK(dipc_local_mailboxes(local, &info) == 0 && info.boxes == 5 && info.size == SIZE / 2);
    dipc_close(&c);
    c = connected();
    DO(dipc_put(&c, 0, "more", 4, 0, 0));
    CHECK(is_message(after_local(&cursor), "more", version + 1, 2) && message.lost == 0);

    /* A new server takes the mailboxes over. */
    pid_t old = server.pid;
    start_server(&server, "5 32 PORT 32 --takeover");
    CHECK(waitpid(old, NULL, 0) == old);
    dipc_close(&c);
    c = connected();
    pid_t pid = waiting(&cursor, 1);
    await_waiter(0);
    DO(dipc_put(&c, 0, "again", 5, 0, 0));
    CHECK(result_of(pid) == 0);
    CHECK(is_message(after_local(&cursor), "again", version + 2, 3));

    /* Other mailboxes wake the waiters, whose cursors do not fit. */
    pid = waiting(&cursor, 1);
    await_waiter(0);
    end_server(&server, SIGKILL);
    start_server(&server, "4 64 PORT 64 --fresh");
    CHECK(result_of(pid) == DIPC_LOCAL_AHEAD);
    CHECK(is_message(read_local(0), "", 0, 0));
    dipc_close(&c);
    c = connected();
    do {
        CHECK(after_local(&cursor) == DIPC_LOCAL_AHEAD);
        CHECK(dipc_local_wait(local, &cursor, 1, LIMIT) == DIPC_LOCAL_AHEAD);
        DO(dipc_write(&c, 0, "other", 5));
    } while (c.version < cursor.version + 5);
    dipc_close(&c);

    /* Without mailboxes every call is refused, and the next ones are found. */
    cursor = (dipc_local_cursor){.box = 1};
    pid = waiting(&cursor, 1);
    await_waiter(1);
    remove_server(&server);
    CHECK(result_of(pid) == DIPC_LOCAL_RETIRED);
    CHECK(read_local(0) == DIPC_LOCAL_RETIRED && dipc_local_version(local, 0, &version) == DIPC_LOCAL_RETIRED);
    CHECK(after_local(&cursor) == DIPC_LOCAL_RETIRED && dipc_local_mailboxes(local, &info) == DIPC_LOCAL_RETIRED);
    CHECK(dipc_local_wait(local, &cursor, 1, LIMIT) == DIPC_LOCAL_RETIRED);
    start_server(&server, "4 64 PORT 64");
    CHECK(is_message(read_local(0), "", 0, 0));

    /* A segment that has lost its name ends with its server. */
    char path[512];
    snprintf(path, sizeof path, "%s/%d/segment", server.dir, server.port);
    CHECK(unlink(path) == 0);
    while (read_local(0) == 0)
        usleep(1000);
    CHECK(read_local(0) == DIPC_LOCAL_RETIRED);
    remove_server(&server);
    start_server(&server, "4 64 PORT 64");
    CHECK(read_local(0) == 0);
}

static uint64_t mix(uint64_t sum, uint64_t number)
{
    sum = (sum ^ number) * UINT64_C(0x9e3779b97f4a7c15);
    return sum << 29 | sum >> 35;
}

/* Stores the checksum of the header: FNV-1a of the bytes before the fields that change. */
static void store_checksum(unsigned char *header)
{
    uint64_t sum = UINT64_C(0xcbf29ce484222325);
    for (int i = 0; i < 4056; i++)
        sum = (sum ^ header[i]) * UINT64_C(0x100000001b3);
    memcpy(header + 4088, &sum, sizeof sum);
}

/* Contents that no server writes lead to refusals or to bytes of the mailbox, never to others. */
static void test_damage(void)
{
    static char larger[8 * SIZE]; /* larger than a ring */
    char from[512], to[512], dir[512], instance[600];
    dipc c = connected();
    for (unsigned box = 0; box < 4; box++)
        for (int i = 0; i < 5; i++)
            DO(dipc_put(&c, box, "some bytes", 10, 0, 0));
    dipc_close(&c);
    snprintf(from, sizeof from, "%s/%d/segment", server.dir, server.port);
    snprintf(dir, sizeof dir, "%s/damaged", server.dir);
    snprintf(instance, sizeof instance, "%s/7", dir);
    CHECK(mkdir(dir, 0700) == 0 && mkdir(instance, 0700) == 0);
    snprintf(to, sizeof to, "%s/damaged/7/segment", server.dir);
    struct stat found;
    int source = open(from, O_RDONLY), target = open(to, O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(source >= 0 && target >= 0 && fstat(source, &found) == 0 && ftruncate(target, found.st_size) == 0);
    size_t size = (size_t)found.st_size;
    unsigned char *whole = mmap(NULL, size, PROT_READ, MAP_SHARED, source, 0);
    unsigned char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, target, 0);
    CHECK(whole != MAP_FAILED && map != MAP_FAILED);
    memcpy(map, whole, size);
    dipc_local *damaged;
    CHECK(dipc_local_open(&damaged, dir, 7) == 0);
    CHECK(dipc_local_read(damaged, 3, buffer, sizeof buffer, &message) == 10);
    uint64_t random = 88172645463325252u;
    int refused = 0;
    for (int step = 0; step < 20000; step++) {
        unsigned box = step % 4;
        unsigned char *control = map + 4096 + box * 128, *ring = map + 8192 + box * ((2 * (SIZE + 4) + 7) / 8 * 8);
        uint64_t fields[6];
        memcpy(control, whole + 4096 + box * 128, 128);
        memcpy(fields, control + 8 + 48 * (control[0] & 1), sizeof fields);
        for (int i = 0; i < 5; i++) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            if (random % 3 == 0)
                fields[i] = random / 16 % 4 ? fields[i] + random / 64 % 64 - 32 : random >> (random / 16 % 64);
            if (random % 7 == 0)
                fields[1 + i % 3] = fields[1] + random / 7 % (SIZE * 3);
        }
        uint32_t length = random % 2 ? (uint32_t)(random >> 20) : 10 | (uint32_t)(random / 2 % 2) << 31;
        memcpy(ring + (random / 4 % 6) * 14, &length, 4);
        if (random % 11 == 0) { /* one message, of any length */
            length = (uint32_t)(random / 16 % (SIZE * 3));
            memcpy(ring, &length, 4);
            uint64_t one[] = {5, 0, 4 + length, 0, 1};
            memcpy(fields, one, sizeof one);
        }
        fields[5] = 0x64697063;
        for (int i = 0; i < 5; i++)
            fields[5] = mix(fields[5], fields[i]);
        if (random % 5)
            memcpy(control + 8 + 48 * (control[0] & 1), fields, sizeof fields);
        if (random / 32 % 2) {
            uint32_t holes = (uint32_t)(random / 64 % 6);
            uint64_t newest = (random / 512 % 5) << 32 | (uint32_t)(random / 4096 % 90);
            memcpy(control + 116, &holes, 4);
            memcpy(control + 120, &newest, 8);
        }
        for (uint64_t after = 0; after < 7; after++) {
            dipc_local_cursor cursor = {.box = box, .version = after};
            long len = after == 6 ? dipc_local_read(damaged, box, larger, sizeof larger, &message)
                                  : dipc_local_after(damaged, &cursor, larger, sizeof larger, &message);
            CHECK(len <= SIZE && len != DIPC_LOCAL_SIZE && message.len <= SIZE);
            refused += len < 0;
        }
        if (step % 16 == 0)
            memcpy(ring, whole + (ring - map), 6 * 14);
    }
    CHECK(refused > 1000);
    /* A header of another format or size, or with a wrong checksum, is no segment. */
    memcpy(map, whole, 4096);
    dipc_local *none;
    for (int at = 0; at < 40; at++) {
        map[at] ^= 1;
        CHECK(dipc_local_open(&none, dir, 7) == DIPC_LOCAL_FOREIGN);
        store_checksum(map);
        int is_identity = (at >= 20 && at < 24) || at >= 32; /* the user and the life */
        CHECK(dipc_local_open(&none, dir, 7) == (is_identity ? DIPC_LOCAL_OK : DIPC_LOCAL_FOREIGN));
        dipc_local_close(none);
        map[at] ^= 1;
        store_checksum(map);
    }
    /* A retired segment that still has its name is used by no server. */
    memcpy(map, whole, 2 * 4096);
    CHECK(dipc_local_read(damaged, 3, buffer, sizeof buffer, &message) == 10);
    map[4064] = 1;
    CHECK(dipc_local_read(damaged, 3, buffer, sizeof buffer, &message) == DIPC_LOCAL_RETIRED);
    CHECK(dipc_local_open(&none, dir, 7) == DIPC_LOCAL_RETIRED);
    map[4064] = 0;
    CHECK(dipc_local_read(damaged, 3, buffer, sizeof buffer, &message) == 10);
    CHECK(ftruncate(target, found.st_size + 8) == 0);
    CHECK(dipc_local_open(&none, dir, 7) == DIPC_LOCAL_FOREIGN);
    dipc_local_close(damaged);
    munmap(map, size);
    munmap(whole, size);
    close(source);
    close(target);
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    server = (struct server){.program = argv[1], .dir = argv[2]};
    start_server(&server, "4 64 PORT 64");
    CHECK(dipc_local_open(&local, server.dir, server.port) == 0);
    test_opening(argv[2]);
    test_contents();
    test_the_ring();
    test_holes();
    test_locks();
    test_waiting();
    test_restarts();
    test_damage();
    dipc_local_close(local);
    remove_server(&server);
    return 0;
}
