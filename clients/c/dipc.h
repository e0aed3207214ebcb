/* dipc.h: a client of dipc, the server of shared-memory mailboxes. C99 and POSIX.
 *
 *     dipc c;
 *     if (dipc_connect(&c, "127.0.0.1", 5000, NULL, -1) == DIPC_OK &&
 *         dipc_write(&c, 3, "any bytes", 9) == DIPC_OK &&
 *         dipc_read(&c, 3) == DIPC_OK)
 *         fwrite(c.data, 1, c.len, stdout);
 *     else
 *         fprintf(stderr, "%s\n", c.text);
 *     dipc_close(&c);
 *
 * Every function returns an error code. A request changes nothing if its code is not DIPC_OK, except after an
 * error of the connection: DIPC_IO, DIPC_SILENT, DIPC_PROTOCOL, DIPC_MEMORY. These close the connection, and
 * whether the request was executed is unknown. No request is ever sent a second time.
 *
 * A connection must be used by one thread at a time, and only by the process that made it.
 */
#ifndef DIPC_H
#define DIPC_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define DIPC_DEFAULT (-1L)  /* a wait or ttl: the server's default */
#define DIPC_FOREVER (-2L)  /* a wait without end */
#define DIPC_NOW UINT64_MAX /* for dipc_watch: only messages from now on */

typedef enum {
    DIPC_OK,
    /* NO: the request is valid, but the state of the mailbox did not permit it. */
    DIPC_TIMEOUT,  /* the mailbox was not free in time, or there was no newer message or event in time */
    DIPC_CONFLICT, /* the mailbox is not at the expected version, but at .version; dipc_name: .box has the name */
    DIPC_EMPTY,    /* no message to take arrived in time */
    DIPC_FULL,     /* there was no room in time */
    DIPC_LOCKED,   /* another client has locked the mailbox or waits to lock it, and the wait was 0 */
    DIPC_AHEAD,    /* `after` is a version of other, former mailboxes: continue with 0, and tell the user */
    DIPC_NOT_DONE, /* another reason, see .text */
    /* ERR: the request is invalid, or impossible now. */
    DIPC_BOX,      /* no such mailbox; .max is the last one */
    DIPC_SIZE,     /* too much data; .max is the most that fits */
    DIPC_LEASE,    /* the lock has expired and other clients may have used the mailbox, or was never held */
    DIPC_JOB_LOST, /* the connection does not have the message in hand, or no longer; another worker may have it */
    DIPC_DEADLOCK, /* the request would complete a cycle of waits: unlock, and retry */
    DIPC_DENIED,   /* the connection's own lock does not permit the request */
    DIPC_BUSY,     /* the server has no room for this client; the connection is closed */
    DIPC_DRAIN,    /* the server is stopping; the connection is closed */
    DIPC_REFUSED,  /* another code, see .text */
    /* Errors without an answer. */
    DIPC_IO,       /* the connection was lost, is closed, or could not be made */
    DIPC_SILENT,   /* the server was silent for longer than the time limit */
    DIPC_PROTOCOL, /* the server does not speak dipc */
    DIPC_MEMORY,   /* no memory, or more than DIPC_KEPT bytes of events that the program does not read */
    DIPC_FORKED,   /* the connection belongs to the parent process; connect again */
    DIPC_USAGE     /* an argument is invalid; nothing was sent */
} dipc_error;

#define DIPC_KEPT ((size_t)64 << 20) /* bytes of events that are kept for dipc_next */

typedef struct {
    /* The last answer or event. `data` is followed by a zero byte, and valid until the next call. */
    dipc_error error;
    char text[256];   /* explains the error to people */
    const char *data; /* the message that was read, taken or watched: any bytes */
    size_t len;
    uint64_t version; /* of the message, or of the mailbox */
    uint64_t count;   /* messages in the mailbox; 0 after a read: the mailbox is empty */
    uint64_t tries;   /* how often the message of dipc_take_job was handed out, at least 1 */
    uint64_t lost;    /* messages between `after` and this one that no longer exist */
    uint64_t grant;   /* number of the lock; later locks have higher numbers */
    uint64_t max;     /* the limit that was exceeded */
    unsigned box;     /* the mailbox of an event, or the one that has a name already */
    /* From the server's first answer on. */
    uint64_t boxes, size, packet; /* mailboxes, bytes of each, most bytes in one request */
    char life[32];                /* differs for other mailboxes */
    /* Private. */
    int fd, timeout_ms, port, is_unix, is_greeting;
    pid_t pid;
    char address[256], name[65];
    char *in, *out, *answer; /* received bytes; bytes to send; a copy of the last answer */
    size_t begin, scanned, end, in_size, out_len, out_size, answer_size;
} dipc;

/* Connects over TCP, or to a Unix socket. `name` is shown by `stat`; NULL: none. `timeout_ms` is the longest
 * silence of the server, while connecting and during a request; it has to exceed every wait. -1: no limit.
 * After an error, too, the connection may be passed to dipc_reconnect and has to be passed to dipc_close. */
dipc_error dipc_connect(dipc *c, const char *host, int port, const char *name, int timeout_ms);
dipc_error dipc_connect_unix(dipc *c, const char *path, const char *name, int timeout_ms);

/* Closes what is left of the connection and connects again. DIPC_AHEAD: connected, but the server has other
 * mailboxes than before. Locks and watches have ended, and messages in hand were given back. A watch goes on with
 * dipc_watch and the version of its last event; DIPC_AHEAD then means the same as here. */
dipc_error dipc_reconnect(dipc *c);

/* Closes the connection and frees its memory. Locks end, and messages in hand are given back. */
void dipc_close(dipc *c);

/* Checks that the server answers. Also fills in .boxes, .size, .packet and .life. */
dipc_error dipc_ping(dipc *c);

/* The newest message; the oldest one newer than `after`, which may have to be waited for. Waits are in ms. */
dipc_error dipc_read(dipc *c, unsigned box);
dipc_error dipc_read_after(dipc *c, unsigned box, uint64_t after, long wait_ms);

/* Replaces the contents of the mailbox; only if it is at version `if_version`. */
dipc_error dipc_write(dipc *c, unsigned box, const void *data, size_t len);
dipc_error dipc_write_if(dipc *c, unsigned box, const void *data, size_t len, uint64_t if_version);

/* Appends a message. `drop`: drops the oldest messages to make room, instead of waiting for it. */
dipc_error dipc_put(dipc *c, unsigned box, const void *data, size_t len, int drop, long wait_ms);

/* Removes the oldest message. Waits for a message if there is none. */
dipc_error dipc_take(dipc *c, unsigned box, long wait_ms);

/* Takes the oldest message in hand: it stays in the mailbox, and no other take gets it. .version, .tries; .count
 * includes the messages in hand. The message is given back when the connection ends, or after `ttl_ms` without a
 * request on this connection, so a worker must expect that an earlier one has worked on it: .tries is above 1 then.
 * DIPC_SIZE: too many messages are in hand. Waits for a message if there is none. */
dipc_error dipc_take_job(dipc *c, unsigned box, long ttl_ms, long wait_ms);

/* Removes a message that is in hand, by its version; .count is the number of messages left. Gives it back, in its
 * old place. DIPC_JOB_LOST: it was given back already, or a write or put has removed it. DIPC_TIMEOUT: the mailbox
 * was not free in time, and the message is still in hand. */
dipc_error dipc_done(dipc *c, unsigned box, uint64_t version);
dipc_error dipc_back(dipc *c, unsigned box, uint64_t version);

/* The number of the mailbox that has this name now, in `box`. DIPC_BOX: no mailbox has it; `box` is unchanged. If the
 * name moves to another mailbox later, locks, watches and messages in hand stay where they are. */
dipc_error dipc_mailbox(dipc *c, const char *name, unsigned *box);

/* Gives the mailbox a name: 1 to 64 of a-z 0-9 _ . - beginning with a letter. NULL removes its name. DIPC_CONFLICT:
 * mailbox .box has this name. */
dipc_error dipc_name(dipc *c, unsigned box, const char *name);

/* Lists of mailboxes are numbers or names: "3", "3,5", "jobs,3". */

/* Locks all these mailboxes, or none. Excludes other clients, or if shared only their writes. The
 * lock expires after `ttl_ms` without a request on this connection. */
dipc_error dipc_lock(dipc *c, const char *boxes, int shared, long ttl_ms, long wait_ms);

/* Unlocks mailboxes; "*": all. */
dipc_error dipc_unlock(dipc *c, const char *boxes);

/* Starts to watch mailboxes: dipc_next returns every message after version `after`, or from now on. For one
 * mailbox, .version is the version at which the watch starts. */
dipc_error dipc_watch(dipc *c, const char *boxes, uint64_t after);
dipc_error dipc_unwatch(dipc *c, const char *boxes);

/* The next event: .box, .version, .data, .lost. DIPC_TIMEOUT: none arrived in time, or a signal interrupted the
 * wait. -1 waits forever. DIPC_LEASE: the lock of mailbox .box was lost. DIPC_JOB_LOST: the message .version of
 * mailbox .box was given back. The connection remains usable after both. */
dipc_error dipc_next(dipc *c, int timeout_ms);

/* The descriptor for select or poll, or -1. Events may have arrived already: before waiting, call dipc_next
 * with 0 until it returns DIPC_TIMEOUT. */
int dipc_fd(const dipc *c);

#endif
