/* talk.c: a talk of several people over one mailbox. Everyone sees all lines in the same order.
 *
 *     ./talk PORT BOX NAME            Ctrl-D leaves
 *
 * The mailbox keeps the latest lines, and shows them to everyone who joins: a full mailbox drops its oldest line.
 * One connection sends the typed lines and watches the mailbox. `select` waits for both.
 */
#define _POSIX_C_SOURCE 200809L

#include "dipc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

#define LINE 1024     /* bytes; a longer line is sent in pieces */
#define PATIENCE 5000 /* ms; the longest wait for a mailbox that another client has locked */
#define SILENCE 15000 /* ms; more than PATIENCE */

typedef struct {
    dipc c;
    unsigned box;
    char boxes[16]; /* the number as text */
    const char *name;
    uint64_t last; /* version of the last line that was shown */
    uint64_t sent; /* version of the last line that was sent from here */
    char typed[LINE];
    size_t typed_len;
} talk;

static void note(const char *text)
{
    printf("* %s\n", text);
    fflush(stdout);
}

/* Prints a line without control characters, which could change the terminal: those of ASCII, and those that
 * UTF-8 encodes as the byte C2 and a byte of 80 to 9F. */
static void print_line(const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)data[i], next = i + 1 < len ? (unsigned char)data[i + 1] : 0;
        int is_control = byte < ' ' || byte == 0x7f || (byte == 0xc2 && next >= 0x80 && next <= 0x9f);
        putchar(is_control ? '?' : byte);
        i += is_control && byte == 0xc2;
    }
    putchar('\n');
    fflush(stdout);
}

/* Shows the lines after the last one. If the mailboxes are others than before, shows all lines. */
static dipc_error watch(talk *t, int is_new)
{
    dipc_error error = is_new ? DIPC_AHEAD : dipc_watch(&t->c, t->boxes, t->last);
    if (error != DIPC_AHEAD)
        return error;
    note("the mailbox is a new one, this talk starts again");
    t->last = t->sent = 0;
    return dipc_watch(&t->c, t->boxes, 0);
}

/* Connects again, once a second until it succeeds. Typed lines wait meanwhile. */
static dipc_error reconnect(talk *t)
{
    const struct timespec pause = {.tv_sec = 1};
    dipc_error error;
    note(t->c.text);
    while ((error = dipc_reconnect(&t->c)) != DIPC_OK && error != DIPC_AHEAD)
        nanosleep(&pause, NULL);
    note("connected again");
    return watch(t, error == DIPC_AHEAD);
}

static int is_lost(const talk *t)
{
    return dipc_fd(&t->c) < 0;
}

/* Shows the lines that have arrived. Waits for the last line that was sent from here if `is_end`. */
static dipc_error show(talk *t, int is_end)
{
    dipc_error error;
    while ((error = dipc_next(&t->c, is_end && t->last < t->sent ? -1 : 0)) == DIPC_OK) {
        if (t->c.lost > 0)
            printf("* %" PRIu64 " lines are lost\n", t->c.lost);
        t->last = t->c.version;
        print_line(t->c.data, t->c.len);
    }
    return error == DIPC_TIMEOUT ? DIPC_OK : error;
}

/* Sends a line once. If its answer is lost, the line may or may not be in the mailbox. */
static dipc_error say(talk *t, const char *text, size_t len)
{
    char line[LINE + 80];
    int n = snprintf(line, sizeof line, "%s: %.*s", t->name, (int)len, text);
    dipc_error error = dipc_put(&t->c, t->box, line, (size_t)n, 1, PATIENCE);
    if (error == DIPC_OK)
        t->sent = t->c.version;
    else
        note(is_lost(t) ? "your last line may or may not have been sent" : t->c.text);
    return is_lost(t) ? error : DIPC_OK;
}

/* Sends the lines that were typed. A line without an end is sent if it fills the buffer, or `is_end`. */
static dipc_error send_typed(talk *t, int is_end)
{
    dipc_error error = DIPC_OK;
    while (error == DIPC_OK && t->typed_len > 0) {
        char line[LINE];
        const char *lf = memchr(t->typed, '\n', t->typed_len);
        if (lf == NULL && !is_end && t->typed_len < LINE)
            break;
        size_t len = lf == NULL ? t->typed_len : (size_t)(lf - t->typed), removed = len + (lf != NULL);
        memcpy(line, t->typed, len);
        t->typed_len -= removed;
        memmove(t->typed, t->typed + removed, t->typed_len);
        error = say(t, line, len);
    }
    return error;
}

/* Waits for typed bytes or for the server. Returns whether the input has ended. */
static int wait_for_input(talk *t)
{
    fd_set ready;
    int fd = dipc_fd(&t->c);
    FD_ZERO(&ready);
    FD_SET(STDIN_FILENO, &ready);
    FD_SET(fd, &ready);
    if (select(fd + 1, &ready, NULL, NULL, NULL) < 0 || !FD_ISSET(STDIN_FILENO, &ready))
        return 0;
    ssize_t n = read(STDIN_FILENO, t->typed + t->typed_len, LINE - t->typed_len);
    t->typed_len += n > 0 ? (size_t)n : 0;
    return n <= 0;
}

static dipc_error run(talk *t)
{
    int is_end = 0;
    dipc_error error = dipc_watch(&t->c, t->boxes, 0);
    for (;;) {
        if (error == DIPC_OK)
            error = send_typed(t, is_end);
        if (error == DIPC_OK) /* after the sending: events may have arrived with an answer */
            error = show(t, is_end);
        if (error == DIPC_OK && is_end)
            return error;
        if (error == DIPC_OK)
            is_end = wait_for_input(t);
        else if (is_lost(t) && t->c.life[0] != '\0')
            error = reconnect(t);
        else
            return error;
    }
}

int main(int argc, char **argv)
{
    static talk t;
    if (argc != 4 || strlen(argv[3]) > 64 || argv[3][0] == '\0') {
        fprintf(stderr, "usage: talk PORT BOX NAME\n");
        return 2;
    }
    t.box = (unsigned)strtoul(argv[2], NULL, 10);
    snprintf(t.boxes, sizeof t.boxes, "%u", t.box);
    t.name = argv[3];
    dipc_error error = dipc_connect(&t.c, "127.0.0.1", atoi(argv[1]), NULL, SILENCE);
    if (error == DIPC_OK)
        error = run(&t);
    if (error != DIPC_OK)
        fprintf(stderr, "talk: %s\n", t.c.text);
    dipc_close(&t.c);
    return error == DIPC_OK ? 0 : 1;
}
