/* dipc_local.h: reads the mailboxes of a dipc in the shared memory, without a request to the server. C11, Linux.
 *
 *     dipc_local *local;
 *     dipc_local_message message;
 *     char buffer[65536];
 *     int error = dipc_local_open(&local, NULL, 5000);
 *     long len = error ? error : dipc_local_read(local, 3, buffer, sizeof buffer, &message);
 *     if (len >= 0)
 *         fwrite(buffer, 1, (size_t)len, stdout);
 *     else
 *         fprintf(stderr, "%s\n", dipc_local_text((int)len));
 *     dipc_local_close(local);
 *
 * The process runs as the user of the server, on its machine. A read returns one whole message that the mailbox
 * contained during the call. It stands in no queue and in no `stat`, delays no other client, and works while the
 * server is down. Mailboxes with an exclusive lock are not read: DIPC_LOCAL_HELD. The server does not know of a local
 * read, so a client with an expired lock is not told so.
 *
 * Every refusal is a negative number, and changes nothing. After DIPC_LOCAL_HELD, DIPC_LOCAL_BUSY, DIPC_LOCAL_RETIRED
 * and DIPC_LOCAL_DAMAGED the server may still answer: ask it over a connection. A client that has locked the mailbox
 * itself has to use its own connection.
 *
 * The segment is opened for reading only, and no contents of it lead to an access outside of it. The file must not be
 * truncated by other programs. If a new server replaces the mailboxes (--fresh, --resize, dipcrm and a start), the next
 * call goes on with the new ones.
 *
 * A dipc_local must be used by one thread at a time. After a fork both processes may use theirs.
 */
#ifndef DIPC_LOCAL_H
#define DIPC_LOCAL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DIPC_LOCAL_API 1             /* the version of this interface */
#define DIPC_LOCAL_CURSORS 128       /* the most mailboxes of one wait */

enum {
    DIPC_LOCAL_OK = 0,
    DIPC_LOCAL_NONE = -1,     /* no message is newer than the cursor, or none arrived in time */
    DIPC_LOCAL_HELD = -2,     /* a client has locked the mailbox, or a taken message may still be put back */
    DIPC_LOCAL_BUSY = -3,     /* the mailbox changed during every try */
    DIPC_LOCAL_RETIRED = -4,  /* there are no mailboxes: they were removed, or no server has made them yet */
    DIPC_LOCAL_DAMAGED = -5,  /* the memory of the mailbox has contents that no server writes */
    DIPC_LOCAL_SIZE = -6,     /* the message is larger than the buffer: .len bytes */
    DIPC_LOCAL_AHEAD = -7,    /* the cursor belongs to other, former mailboxes: begin with a new one, tell the user */
    DIPC_LOCAL_BOX = -8,      /* no such mailbox */
    DIPC_LOCAL_FOREIGN = -9,  /* the file is no segment of this version, or its directory belongs to another user */
    DIPC_LOCAL_SYSTEM = -10,  /* a system call failed, see errno */
    DIPC_LOCAL_USAGE = -11    /* an argument is invalid */
};

typedef struct dipc_local dipc_local;

typedef struct {
    uint64_t version; /* dipc_local_read: of the mailbox. dipc_local_after: of the message */
    uint64_t count;   /* messages in the mailbox; 0 after a read: the mailbox is empty */
    uint64_t lost;    /* dipc_local_after: messages between the cursor and this one that no longer exist */
    uint64_t len;     /* bytes of the message, also if it does not fit: DIPC_LOCAL_SIZE */
    uint64_t life;    /* differs for other mailboxes, as life= in the answer of hello */
} dipc_local_message;

/* The position of a reader in the versions of a mailbox. To begin: {.box = BOX, .version = VERSION}, which is before
 * the first message that is newer than VERSION, and zeros. */
typedef struct {
    uint64_t version; /* of the last message that was read */
    uint64_t box;
    uint64_t next, placed, place, life; /* private */
} dipc_local_cursor;

typedef struct {
    uint64_t boxes; /* number of mailboxes */
    uint64_t size;  /* bytes of each, the most that a message has */
    uint64_t life;
} dipc_local_info;

/* Opens the mailboxes of PORT, the name of the instance also of a server without TCP. `dir` is that of `dipc --dir`;
 * NULL: the default. DIPC_LOCAL_RETIRED, _FOREIGN, _SYSTEM, _USAGE: `*local` is NULL. */
int dipc_local_open(dipc_local **local, const char *dir, int port);

/* Ends the use of the mailboxes. NULL is allowed. */
void dipc_local_close(dipc_local *local);

/* Number, size and life of the mailboxes that are there now. */
int dipc_local_mailboxes(dipc_local *local, dipc_local_info *info);

/* Copies the newest message to `buffer` of `size` bytes. Returns its length, or a refusal. The message of an empty
 * mailbox is empty. `message` may be NULL. After a refusal the contents of `buffer` are undefined. */
long dipc_local_read(dipc_local *local, uint32_t box, void *buffer, size_t size, dipc_local_message *message);

/* Copies the oldest message that is newer than the cursor, and moves the cursor to it. Returns its length, or a
 * refusal, which does not move the cursor. DIPC_LOCAL_NONE: there is no newer message; see dipc_local_wait. */
long dipc_local_after(dipc_local *local, dipc_local_cursor *cursor, void *buffer, size_t size,
                      dipc_local_message *message);

/* The version of the mailbox: that of the newest message that was ever stored, 0 before the first one. */
int dipc_local_version(dipc_local *local, uint32_t box, uint64_t *version);

/* Waits for a message that is newer than one of the `n` cursors, 1 to DIPC_LOCAL_CURSORS. Returns the index of that
 * cursor, or a refusal. DIPC_LOCAL_NONE: none arrived within `timeout_ms`, or a signal interrupted the wait; -1 waits
 * forever. A message in a mailbox that is locked counts from the unlock on. The message may be gone when it is read:
 * a waiter stands in no queue. */
int dipc_local_wait(dipc_local *local, const dipc_local_cursor *cursors, unsigned n, int timeout_ms);

/* Explains a refusal to people. */
const char *dipc_local_text(int refusal);

/* DIPC_LOCAL_API of the compiled library, for programs that load it. */
int dipc_local_api(void);

#ifdef __cplusplus
}
#endif

#endif
