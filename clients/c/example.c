/* example.c: the verbs of dipc.h, each once.
 *
 *     ./example PORT          a server on this machine: dipc 4 64 PORT 8
 */
#include "dipc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the program if a request was not done. */
static void check(dipc *c, dipc_error error)
{
    if (error != DIPC_OK) {
        fprintf(stderr, "example: %s\n", c->text);
        dipc_close(c);
        exit(1);
    }
}

static void print(const dipc *c, const char *verb)
{
    printf("%s version %" PRIu64 ": ", verb, c->version);
    fwrite(c->data, 1, c->len, stdout);
    putchar('\n');
}

int main(int argc, char **argv)
{
    dipc c;
    if (argc != 2) {
        fprintf(stderr, "usage: example PORT\n");
        return 2;
    }
    check(&c, dipc_connect(&c, "127.0.0.1", atoi(argv[1]), "example", 60000));

    /* Mailbox 3 as a variable. */
    check(&c, dipc_write(&c, 3, "hello", 5));
    check(&c, dipc_read(&c, 3));
    print(&c, "read");

    /* Add one, unless another client is faster: read, decide, write_if, and start over after a conflict. */
    dipc_error error;
    do {
        char text[32];
        check(&c, dipc_read(&c, 2));
        int len = snprintf(text, sizeof text, "%ld", strtol(c.data, NULL, 10) + 1);
        error = dipc_write_if(&c, 2, text, (size_t)len, c.version);
    } while (error == DIPC_CONFLICT);
    check(&c, error);
    check(&c, dipc_read(&c, 2));
    print(&c, "counter");

    /* Mailbox 1 as a queue: each message goes to one taker. */
    check(&c, dipc_put(&c, 1, "a job", 5, 0, DIPC_DEFAULT));
    check(&c, dipc_take(&c, 1, 5000));
    print(&c, "take");
    if (dipc_take(&c, 1, 0) == DIPC_EMPTY)
        printf("take: %s\n", c.text);

    /* Two mailboxes that no other client uses until the unlock. */
    check(&c, dipc_lock(&c, "1,3", 0, DIPC_DEFAULT, 5000));
    check(&c, dipc_write(&c, 3, "locked", 6));
    check(&c, dipc_unlock(&c, "1,3"));

    /* All messages of mailbox 0 from now on, also those of this client. */
    check(&c, dipc_watch(&c, "0", DIPC_NOW));
    check(&c, dipc_write(&c, 0, "it rains", 8));
    check(&c, dipc_next(&c, 5000));
    print(&c, "event");

    dipc_close(&c);
    return 0;
}
