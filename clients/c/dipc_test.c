/* dipc_test.c: every function and every error of dipc.h, against a new server: dipc 4 64 PORT 8 --unix PATH
 *
 *     ./dipc_test PORT PATH   prints nothing if all is well
 */
#define _POSIX_C_SOURCE 200809L

#include "dipc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT 20000 /* ms; the longest wait of a test */

#define CHECK(condition) check((condition) != 0, #condition, __LINE__)
#define EXPECT(expected, call) expect(&c, expected, call, #call, __LINE__)
#define EXPECT2(expected, call) expect(&other, expected, call, #call, __LINE__)

static int port;
static const char *path;

static void check(int is_true, const char *condition, int line)
{
    if (!is_true) {
        fprintf(stderr, "dipc_test.c:%d: %s\n", line, condition);
        exit(1);
    }
}

static void expect(const dipc *c, dipc_error expected, dipc_error error, const char *call, int line)
{
    if (error != expected || c->error != expected || (error == DIPC_OK) != (c->text[0] == '\0')) {
        fprintf(stderr, "dipc_test.c:%d: %s: error %d instead of %d: %s\n", line, call, error, expected, c->text);
        exit(1);
    }
}

static int is_data(const dipc *c, const char *data, size_t len)
{
    return c->len == len && memcmp(c->data, data, len) == 0 && c->data[len] == '\0';
}

static dipc connected(void)
{
    dipc c;
    EXPECT(DIPC_OK, dipc_connect(&c, "127.0.0.1", port, "test", LIMIT));
    return c;
}

static void test_connecting(void)
{
    dipc c;
    char long_text[300];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    EXPECT(DIPC_USAGE, dipc_connect(&c, "127.0.0.1", 0, NULL, LIMIT));
    EXPECT(DIPC_USAGE, dipc_connect(&c, "127.0.0.1", port, "two words", LIMIT));
    EXPECT(DIPC_USAGE, dipc_connect(&c, "127.0.0.1", port, long_text, LIMIT));
    EXPECT(DIPC_USAGE, dipc_connect(&c, long_text, port, NULL, LIMIT));
    EXPECT(DIPC_IO, dipc_connect_unix(&c, "/nonexistent", NULL, LIMIT));
    CHECK(strstr(c.text, "No such file") != NULL);
    EXPECT(DIPC_IO, dipc_read(&c, 3));
    dipc_close(&c);

    EXPECT(DIPC_OK, dipc_connect_unix(&c, path, "test", LIMIT));
    EXPECT(DIPC_OK, dipc_ping(&c));
    CHECK(c.boxes == 4 && c.size == 65536 && c.packet == 8192 && c.life[0] != '\0');
    dipc_close(&c);
    EXPECT(DIPC_IO, dipc_ping(&c));
    dipc_close(&c);
    CHECK(dipc_fd(&c) == -1);

    EXPECT(DIPC_OK, dipc_connect(&c, "localhost", port, NULL, -1));
    EXPECT(DIPC_OK, dipc_ping(&c));
    dipc_close(&c);
}

static void test_reading_and_writing(void)
{
    dipc c = connected();
    char bytes[256];
    for (int i = 0; i < 256; i++)
        bytes[i] = (char)i;
    EXPECT(DIPC_OK, dipc_read(&c, 0));
    CHECK(is_data(&c, "", 0) && c.version == 0 && c.count == 0);
    EXPECT(DIPC_OK, dipc_write(&c, 0, bytes, sizeof bytes));
    CHECK(c.version == 1 && c.len == 0);
    EXPECT(DIPC_OK, dipc_read(&c, 0));
    CHECK(is_data(&c, bytes, sizeof bytes) && c.version == 1 && c.count == 1);
    EXPECT(DIPC_OK, dipc_write(&c, 0, NULL, 0));
    EXPECT(DIPC_OK, dipc_read(&c, 0));
    CHECK(is_data(&c, "", 0) && c.version == 2 && c.count == 1);

    EXPECT(DIPC_OK, dipc_write_if(&c, 0, "10", 2, 2));
    CHECK(c.version == 3);
    EXPECT(DIPC_CONFLICT, dipc_write_if(&c, 0, "11", 2, 2));
    CHECK(c.version == 3);
    EXPECT(DIPC_OK, dipc_read(&c, 0));
    CHECK(is_data(&c, "10", 2));

    EXPECT(DIPC_OK, dipc_read_after(&c, 0, 1, LIMIT));
    CHECK(c.version == 3 && c.lost == 1);
    EXPECT(DIPC_TIMEOUT, dipc_read_after(&c, 0, 3, 10));
    CHECK(c.version == 3 && strcmp(c.text, "timeout v=3") == 0);
    EXPECT(DIPC_AHEAD, dipc_read_after(&c, 0, 4, 0));
    CHECK(c.version == 3);

    static char large[8193];
    EXPECT(DIPC_SIZE, dipc_write(&c, 0, large, sizeof large));
    CHECK(c.max == 8192 && strncmp(c.text, "size max=8192: message too large (8193 bytes)", 45) == 0);
    EXPECT(DIPC_BOX, dipc_write(&c, 4, "x", 1));
    CHECK(c.max == 3);
    EXPECT(DIPC_BOX, dipc_read(&c, 4));
    EXPECT(DIPC_OK, dipc_write(&c, 0, large, sizeof large - 1));
    EXPECT(DIPC_OK, dipc_read(&c, 0));
    CHECK(is_data(&c, large, sizeof large - 1));
    dipc_close(&c);
}

static void test_the_queue(void)
{
    dipc c = connected();
    static char large[8192];
    EXPECT(DIPC_OK, dipc_put(&c, 1, "one", 3, 0, DIPC_DEFAULT));
    CHECK(c.version == 1 && c.count == 1);
    EXPECT(DIPC_OK, dipc_put(&c, 1, "", 0, 0, DIPC_FOREVER));
    EXPECT(DIPC_OK, dipc_take(&c, 1, DIPC_DEFAULT));
    CHECK(is_data(&c, "one", 3) && c.version == 1 && c.count == 1);
    EXPECT(DIPC_OK, dipc_take(&c, 1, DIPC_FOREVER));
    CHECK(is_data(&c, "", 0) && c.version == 2 && c.count == 0);
    EXPECT(DIPC_EMPTY, dipc_take(&c, 1, 0));
    EXPECT(DIPC_EMPTY, dipc_take(&c, 1, 10));
    for (int i = 0; i < 7; i++)
        EXPECT(DIPC_OK, dipc_put(&c, 1, large, sizeof large, 0, 0));
    EXPECT(DIPC_FULL, dipc_put(&c, 1, large, sizeof large, 0, 0));
    EXPECT(DIPC_OK, dipc_put(&c, 1, large, sizeof large, 1, 0));
    CHECK(c.version == 10 && c.count == 7);
    dipc_close(&c);
}

static void test_jobs(void)
{
    dipc c = connected(), other = connected();
    EXPECT(DIPC_OK, dipc_write(&c, 3, "one", 3));
    uint64_t version = c.version;
    EXPECT(DIPC_OK, dipc_put(&c, 3, "two", 3, 0, 0));
    EXPECT(DIPC_OK, dipc_take_job(&c, 3, DIPC_DEFAULT, DIPC_DEFAULT));
    CHECK(is_data(&c, "one", 3) && c.version == version && c.count == 2 && c.tries == 1);
    EXPECT2(DIPC_OK, dipc_take_job(&other, 3, LIMIT, 0));
    CHECK(is_data(&other, "two", 3) && other.version == version + 1);
    EXPECT2(DIPC_EMPTY, dipc_take_job(&other, 3, DIPC_DEFAULT, 0));
    EXPECT2(DIPC_JOB_LOST, dipc_done(&other, 3, version));
    EXPECT2(DIPC_OK, dipc_done(&other, 3, version + 1));
    CHECK(other.count == 1);
    EXPECT(DIPC_OK, dipc_back(&c, 3, version));
    EXPECT(DIPC_JOB_LOST, dipc_back(&c, 3, version));
    CHECK(strncmp(c.text, "lease: ", 7) == 0);
    EXPECT2(DIPC_OK, dipc_take_job(&other, 3, DIPC_DEFAULT, DIPC_FOREVER));
    CHECK(is_data(&other, "one", 3) && other.tries == 2 && other.count == 1);
    EXPECT2(DIPC_OK, dipc_done(&other, 3, other.version));
    CHECK(other.count == 0 && other.tries == 0);

    /* A lost job is neither a lost lock nor a message of a watch. */
    EXPECT(DIPC_OK, dipc_watch(&c, "3", DIPC_NOW));
    EXPECT(DIPC_OK, dipc_put(&c, 3, "job", 3, 0, 0));
    version = c.version;
    EXPECT(DIPC_OK, dipc_next(&c, LIMIT));
    EXPECT(DIPC_OK, dipc_take_job(&c, 3, 50, 0));
    EXPECT(DIPC_JOB_LOST, dipc_next(&c, LIMIT));
    CHECK(c.box == 3 && c.version == version && c.lost == 0);
    EXPECT(DIPC_JOB_LOST, dipc_done(&c, 3, version));

    /* The end of a connection gives back. */
    EXPECT(DIPC_OK, dipc_take_job(&c, 3, DIPC_DEFAULT, 0));
    EXPECT(DIPC_OK, dipc_reconnect(&c));
    EXPECT(DIPC_JOB_LOST, dipc_done(&c, 3, version));
    EXPECT2(DIPC_OK, dipc_take_job(&other, 3, DIPC_DEFAULT, LIMIT));
    CHECK(is_data(&other, "job", 3) && other.tries == 3);
    EXPECT2(DIPC_OK, dipc_done(&other, 3, other.version));
    dipc_close(&c);
    dipc_close(&other);
}

static void test_locks(void)
{
    dipc c = connected(), other = connected();
    EXPECT(DIPC_OK, dipc_lock(&c, "2,3", 0, DIPC_DEFAULT, DIPC_DEFAULT));
    uint64_t grant = c.grant;
    EXPECT2(DIPC_LOCKED, dipc_lock(&other, "3", 0, DIPC_DEFAULT, 0));
    EXPECT2(DIPC_TIMEOUT, dipc_lock(&other, "3", 0, DIPC_DEFAULT, 10));
    EXPECT2(DIPC_TIMEOUT, dipc_take(&other, 3, 10));
    EXPECT(DIPC_OK, dipc_write(&c, 3, "mine", 4));
    EXPECT(DIPC_DENIED, dipc_lock(&c, "3", 0, DIPC_DEFAULT, 0));
    EXPECT(DIPC_OK, dipc_unlock(&c, "2,3"));
    EXPECT(DIPC_LEASE, dipc_unlock(&c, "2"));

    EXPECT2(DIPC_OK, dipc_lock(&other, "3", 1, DIPC_DEFAULT, 0));
    CHECK(other.grant > grant);
    EXPECT(DIPC_OK, dipc_read(&c, 3));
    CHECK(is_data(&c, "mine", 4));
    EXPECT2(DIPC_DENIED, dipc_write(&other, 3, "x", 1));
    EXPECT2(DIPC_OK, dipc_unlock(&other, "*"));

    EXPECT(DIPC_OK, dipc_lock(&c, "3", 0, 50, 0));
    EXPECT(DIPC_LEASE, dipc_next(&c, LIMIT));
    CHECK(c.box == 3);
    EXPECT(DIPC_LEASE, dipc_write(&c, 3, "late", 4));
    EXPECT(DIPC_LEASE, dipc_unlock(&c, "3"));
    EXPECT(DIPC_OK, dipc_write(&c, 3, "free", 4));

    EXPECT(DIPC_USAGE, dipc_lock(&c, "3\nw 3 1\nx", 0, DIPC_DEFAULT, 0));
    EXPECT(DIPC_REFUSED, dipc_lock(&c, "3 x y", 0, DIPC_DEFAULT, 0));
    CHECK(strncmp(c.text, "syntax: ", 8) == 0);
    EXPECT(DIPC_OK, dipc_ping(&c));
    dipc_close(&c);
    dipc_close(&other);
}

/* Two clients hold one mailbox each and lock that of the other one. One of them is refused. */
static void test_deadlock(void)
{
    int ready[2];
    char byte = 'x';
    CHECK(pipe(ready) == 0);
    dipc c = connected();
    EXPECT(DIPC_OK, dipc_lock(&c, "1", 0, DIPC_DEFAULT, 0));
    pid_t child = fork();
    if (child == 0) {
        EXPECT(DIPC_OK, dipc_reconnect(&c));
        EXPECT(DIPC_OK, dipc_lock(&c, "2", 0, DIPC_DEFAULT, 0));
        CHECK(write(ready[1], &byte, 1) == 1);
        dipc_error error = dipc_lock(&c, "1", 0, DIPC_DEFAULT, LIMIT);
        dipc_close(&c);
        _exit(error);
    }
    CHECK(read(ready[0], &byte, 1) == 1);
    dipc_error error = dipc_lock(&c, "2", 0, DIPC_DEFAULT, LIMIT);
    EXPECT(DIPC_OK, dipc_unlock(&c, "*"));
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
    CHECK((error == DIPC_DEADLOCK) + (WEXITSTATUS(status) == DIPC_DEADLOCK) == 1);
    CHECK(error + WEXITSTATUS(status) == DIPC_DEADLOCK);
    close(ready[0]);
    close(ready[1]);
    dipc_close(&c);
}

static void test_watches(void)
{
    dipc c = connected(), other = connected();
    EXPECT(DIPC_OK, dipc_write(&c, 2, "old", 3));
    uint64_t old = c.version;
    EXPECT(DIPC_OK, dipc_watch(&c, "2,3", DIPC_NOW));
    EXPECT(DIPC_TIMEOUT, dipc_next(&c, 0));
    EXPECT2(DIPC_OK, dipc_write(&other, 2, "new\0!", 5));
    EXPECT(DIPC_OK, dipc_put(&c, 3, "", 0, 0, 0));
    EXPECT(DIPC_OK, dipc_next(&c, LIMIT));
    CHECK(c.box == 2 && c.version == old + 1 && c.lost == 0 && is_data(&c, "new\0!", 5));
    EXPECT(DIPC_OK, dipc_next(&c, LIMIT));
    CHECK(c.box == 3 && c.count == 0 && is_data(&c, "", 0));
    EXPECT(DIPC_OK, dipc_unwatch(&c, "*"));
    EXPECT2(DIPC_OK, dipc_write(&other, 2, "unseen", 6));
    EXPECT(DIPC_OK, dipc_watch(&c, "2", old));
    CHECK(c.version == old);
    EXPECT(DIPC_OK, dipc_next(&c, -1));
    CHECK(c.version == old + 2 && c.lost == 1);
    EXPECT(DIPC_AHEAD, dipc_watch(&c, "3", 1000000));

    /* After a loss, the watch goes on with the last version. */
    shutdown(dipc_fd(&c), SHUT_RDWR);
    EXPECT(DIPC_IO, dipc_next(&c, LIMIT));
    EXPECT(DIPC_IO, dipc_next(&c, LIMIT));
    EXPECT2(DIPC_OK, dipc_put(&other, 2, "missed", 6, 0, 0));
    EXPECT(DIPC_OK, dipc_reconnect(&c));
    EXPECT(DIPC_OK, dipc_watch(&c, "2", old + 2));
    EXPECT(DIPC_OK, dipc_next(&c, LIMIT));
    CHECK(c.version == old + 3 && c.lost == 0 && is_data(&c, "missed", 6));
    strcpy(c.life, "other");
    EXPECT(DIPC_AHEAD, dipc_reconnect(&c));
    EXPECT(DIPC_OK, dipc_ping(&c));
    CHECK(strcmp(c.life, other.life) == 0);
    dipc_close(&c);
    dipc_close(&other);
}

static void test_names(void)
{
    dipc c = connected();
    unsigned box = 9;
    EXPECT(DIPC_BOX, dipc_mailbox(&c, "jobs", &box));
    CHECK(box == 9);
    EXPECT(DIPC_OK, dipc_name(&c, 3, "jobs"));
    EXPECT(DIPC_OK, dipc_mailbox(&c, "jobs", &box));
    CHECK(box == 3 && c.len == 0);
    EXPECT(DIPC_CONFLICT, dipc_name(&c, 1, "jobs"));
    CHECK(c.box == 3 && strcmp(c.text, "conflict box=3") == 0);
    EXPECT(DIPC_OK, dipc_lock(&c, "jobs,1", 0, DIPC_DEFAULT, DIPC_DEFAULT));
    EXPECT(DIPC_OK, dipc_unlock(&c, "1,3"));
    EXPECT(DIPC_OK, dipc_watch(&c, "jobs", DIPC_NOW));
    EXPECT(DIPC_OK, dipc_put(&c, box, "x", 1, 1, 0));
    EXPECT(DIPC_OK, dipc_next(&c, LIMIT));
    CHECK(c.box == 3 && is_data(&c, "x", 1));
    EXPECT(DIPC_OK, dipc_unwatch(&c, "jobs"));
    EXPECT(DIPC_OK, dipc_name(&c, 3, NULL));
    EXPECT(DIPC_BOX, dipc_mailbox(&c, "jobs", &box));
    EXPECT(DIPC_USAGE, dipc_mailbox(&c, "", &box));
    EXPECT(DIPC_USAGE, dipc_mailbox(&c, "two words", &box));
    EXPECT(DIPC_USAGE, dipc_name(&c, 3, "line\nq"));
    EXPECT(DIPC_USAGE, dipc_name(&c, 3, "-"));
    EXPECT(DIPC_REFUSED, dipc_name(&c, 3, "names"));
    dipc_close(&c);
    EXPECT(DIPC_IO, dipc_mailbox(&c, "jobs", &box));
}

/* Events that arrive while the program sends are kept, in their order, and stop neither side. */
static void test_many_events(void)
{
    enum { MESSAGES = 300 };
    static char large[8192];
    dipc c = connected();
    EXPECT(DIPC_OK, dipc_watch(&c, "0", DIPC_NOW));
    uint64_t first = c.version, last = first, seen = 0;
    for (int i = 0; i < MESSAGES; i++) {
        large[0] = (char)i;
        EXPECT(DIPC_OK, dipc_put(&c, 0, large, sizeof large, 1, 0));
    }
    while (last < first + MESSAGES) {
        EXPECT(DIPC_OK, dipc_next(&c, LIMIT));
        CHECK(c.version == last + 1 + c.lost && c.len == sizeof large);
        CHECK(c.data[0] == (char)(c.version - first - 1));
        last = c.version;
        seen++;
    }
    CHECK(seen > 0);
    EXPECT(DIPC_TIMEOUT, dipc_next(&c, 0));
    dipc_close(&c);
}

static void test_fork(void)
{
    dipc c = connected();
    EXPECT(DIPC_OK, dipc_ping(&c));
    pid_t child = fork();
    if (child == 0) {
        EXPECT(DIPC_FORKED, dipc_ping(&c));
        EXPECT(DIPC_FORKED, dipc_next(&c, 0));
        dipc_close(&c);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    EXPECT(DIPC_OK, dipc_ping(&c));
    dipc_close(&c);
}

/* A late answer would be mistaken for that of the next request, so the connection ends. */
static void test_silence(void)
{
    dipc c;
    EXPECT(DIPC_OK, dipc_connect(&c, "127.0.0.1", port, NULL, 50));
    EXPECT(DIPC_OK, dipc_read(&c, 0));
    EXPECT(DIPC_SILENT, dipc_read_after(&c, 0, c.version, DIPC_FOREVER));
    EXPECT(DIPC_IO, dipc_ping(&c));
    CHECK(dipc_fd(&c) == -1 && strcmp(c.text, "the connection is closed") == 0);
    dipc_close(&c);
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    port = atoi(argv[1]);
    path = argv[2];
    test_connecting();
    test_reading_and_writing();
    test_the_queue();
    test_jobs();
    test_locks();
    test_deadlock();
    test_watches();
    test_names();
    test_many_events();
    test_fork();
    test_silence();
    return 0;
}
