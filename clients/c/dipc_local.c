/* dipc_local.c: see dipc_local.h. The segment is described in src/mailboxes/segment.rs and src/mailboxes/block.rs of
 * the server, the file of waiters in src/mailboxes/waiters.rs.
 *
 * How a copy is proved to be whole. A change first stores `begun`, the sequence number that the word of the mailbox
 * will have after it. Then it stores bytes that are not part of the current state, and then the word. So the bytes and
 * the record of a state stay whole until the second change after it begins. A reader loads the word, copies, and looks
 * at `begun`. Entries of a list do not move, so a message is whole as well if its version is still in the list after
 * the copy.
 *
 * A removed message that has an older one before it stays in the list, marked as a hole. A take that is undone sets
 * such a mark and clears it: where there are holes, a reader finds the message a second time before it copies.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "dipc_local.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The header page. The checksum covers the bytes before PACKET_AT. */
#define HEADER_SIZE 4096
#define FORMAT 3
#define ENDIANNESS 0x01020304
#define PACKET_AT 4056
#define RETIRED_AT 4064
#define EPOCH_AT 4080
#define CHECKSUM_AT 4088

/* The control area of a mailbox. */
#define CONTROL_SIZE 128
#define RECORDS_AT 8
#define RECORD_SIZE 48
#define BEGUN_AT 104
#define BELL_AT 112
#define HOLES_AT 116
#define NEWEST_AT 120

#define HELD (UINT64_C(1) << 63)      /* the bit of the word that keeps readers out */
#define HOLE (UINT32_C(1) << 31)      /* the bit of the length of an entry that marks a hole */
#define ENTRY_HEADER 4                /* bytes of the length before each payload */
#define POSITION_MAX (UINT64_C(1) << 62)
#define CAPACITY_MAX (INT32_MAX - ENTRY_HEADER)

#define TRIES 8        /* the most copies that one read makes */
#define SNAPSHOTS 64   /* the most times that one try loads the record */
#define SMALL 256      /* bytes; a larger copy is that of memcpy */
#ifndef LOOK_MS        /* the test waits without looks: only the server wakes it */
#define LOOK_MS 1000   /* the longest wait before a look at the files */
#endif
#define RETRY_MS 20    /* the pause before a look where there is nothing to wait for */

#define MAP(local, at) ((const void *)((local)->map + (at)))
#define U64(at) ((const _Atomic uint64_t *)(at))
#define U32(at) ((const _Atomic uint32_t *)(at))
#define RELAXED(at) atomic_load_explicit(at, memory_order_relaxed)
#define ACQUIRE(at) atomic_load_explicit(at, memory_order_acquire)

/* Internal outcomes of a try. */
enum { CHANGED = 1 };

struct dipc_local {
    int fd;                   /* of the segment; -1: no mailboxes are open */
    const unsigned char *map; /* the segment */
    size_t size;
    uint32_t boxes;
    uint64_t capacity, rings_at, ring_size, life;
    uint64_t file;            /* differs for another segment */
    time_t looked_at;         /* the second of the last look at the name of the file */
    int waiters_fd;           /* -1: the file of waiters is not open */
    _Atomic uint32_t *waiters;
    size_t waiters_size;
    int port;
    char dir[];
};

/* One state of a mailbox. */
struct state {
    uint64_t word, version, head, tail, last, count;
    uint32_t holes;
    int is_settled;  /* no change has begun since: the number of holes is that of this state */
    uint64_t newest; /* where the newest message is, if holes are behind it: their number << 32 | bytes to the tail */
};

struct entry {
    uint64_t at, len, version;
    int is_hole;
    uint64_t count;    /* messages in the mailbox; 0: the entry is none */
    int behind_holes;  /* whether marks decided where this message is */
};

const char *dipc_local_text(int refusal)
{
    switch (refusal) {
    case DIPC_LOCAL_OK: return "done";
    case DIPC_LOCAL_NONE: return "there is no newer message";
    case DIPC_LOCAL_HELD: return "a client has locked the mailbox, or a taken message may still be put back";
    case DIPC_LOCAL_BUSY: return "the mailbox changed during every try";
    case DIPC_LOCAL_RETIRED: return "there are no mailboxes: they were removed, or no server has made them yet";
    case DIPC_LOCAL_DAMAGED: return "the memory of the mailbox is damaged";
    case DIPC_LOCAL_SIZE: return "the message is larger than the buffer";
    case DIPC_LOCAL_AHEAD: return "the cursor belongs to other, former mailboxes";
    case DIPC_LOCAL_BOX: return "no such mailbox";
    case DIPC_LOCAL_FOREIGN: return "the file is no segment of this version, or its directory belongs to another user";
    case DIPC_LOCAL_SYSTEM: return strerror(errno);
    case DIPC_LOCAL_USAGE: return "an argument is invalid";
    default: return "unknown refusal";
    }
}

int dipc_local_api(void)
{
    return DIPC_LOCAL_API;
}

/* Files. */

/* The refusal after a failed open. */
static int refusal_of_errno(void)
{
    if (errno == ENOENT || errno == ENOTDIR)
        return DIPC_LOCAL_RETIRED;
    return errno == ELOOP || errno == ENXIO ? DIPC_LOCAL_FOREIGN : DIPC_LOCAL_SYSTEM;
}

/* Opens a directory of this user on which others have none of these permissions. Returns a descriptor or a refusal. */
static int open_directory(int parent, const char *name, mode_t forbidden)
{
    struct stat found;
    int fd = openat(parent, name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_RDONLY);
    if (fd < 0)
        return refusal_of_errno();
    if (fstat(fd, &found) == 0 && found.st_uid == geteuid() && (found.st_mode & forbidden) == 0)
        return fd;
    close(fd);
    return DIPC_LOCAL_FOREIGN;
}

/* Opens a file of the instance: a regular one of this user, with one name. */
static int open_file(const dipc_local *local, const char *name, int flags, struct stat *found)
{
    char port[16];
    snprintf(port, sizeof port, "%d", local->port);
    int base = open_directory(AT_FDCWD, local->dir, S_IWGRP | S_IWOTH);
    if (base < 0)
        return base;
    int directory = open_directory(base, port, S_IRWXG | S_IRWXO);
    close(base);
    if (directory < 0)
        return directory;
    int fd = openat(directory, name, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    int refusal = fd < 0 ? refusal_of_errno() : DIPC_LOCAL_OK;
    close(directory);
    if (refusal)
        return refusal;
    if (fstat(fd, found) != 0 || !S_ISREG(found->st_mode) || found->st_uid != geteuid() || found->st_nlink > 1)
        refusal = DIPC_LOCAL_FOREIGN;
    else if (found->st_nlink == 0)
        refusal = DIPC_LOCAL_RETIRED;
    if (!refusal)
        return fd;
    close(fd);
    return refusal;
}

static void close_waiters(dipc_local *local)
{
    if (local->waiters_fd >= 0) {
        munmap(local->waiters, local->waiters_size);
        close(local->waiters_fd);
    }
    local->waiters_fd = -1;
    local->waiters = NULL;
}

static void close_segment(dipc_local *local)
{
    close_waiters(local);
    if (local->fd >= 0) {
        munmap((void *)local->map, local->size);
        close(local->fd);
    }
    local->fd = -1;
    local->map = NULL;
}

/* FNV-1a, 64 bits. Source: http://www.isthe.com/chongo/tech/comp/fnv/ */
static uint64_t fnv(const unsigned char *bytes, size_t len)
{
    uint64_t sum = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < len; i++)
        sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
    return sum;
}

/* Reads the header of the segment. Returns whether it is one of this version, and as long as it says. */
static int read_header(dipc_local *local, uint64_t size)
{
    unsigned char header[HEADER_SIZE];
    uint32_t endianness, format;
    uint64_t sum;
    if (pread(local->fd, header, sizeof header, 0) != (ssize_t)sizeof header)
        return 0;
    memcpy(&endianness, header + 8, 4);
    memcpy(&format, header + 12, 4);
    memcpy(&local->boxes, header + 16, 4);
    memcpy(&local->capacity, header + 24, 8);
    memcpy(&local->life, header + 32, 8);
    memcpy(&sum, header + CHECKSUM_AT, 8);
    if (memcmp(header, "dipc.seg", 8) != 0 || endianness != ENDIANNESS || format != FORMAT)
        return 0;
    if (sum != fnv(header, PACKET_AT) || local->boxes == 0 || local->capacity > CAPACITY_MAX)
        return 0;
    uint64_t controls_end = HEADER_SIZE + (uint64_t)local->boxes * CONTROL_SIZE;
    local->rings_at = (controls_end + HEADER_SIZE - 1) / HEADER_SIZE * HEADER_SIZE;
    local->ring_size = (2 * (local->capacity + ENTRY_HEADER) + 7) / 8 * 8;
    uint64_t names_size = (uint64_t)local->boxes * (8 + 2 * 64);
    if (local->ring_size > ((uint64_t)INT64_MAX - local->rings_at - names_size) / local->boxes)
        return 0;
    return size == local->rings_at + local->boxes * local->ring_size + names_size && size <= SIZE_MAX;
}

static uint64_t mix(uint64_t sum, uint64_t number)
{
    sum = (sum ^ number) * UINT64_C(0x9e3779b97f4a7c15);
    return sum << 29 | sum >> 35;
}

/* Opens the mailboxes that have the name now, in place of those that are open. */
static int open_segment(dipc_local *local)
{
    struct stat found;
    close_segment(local);
    local->fd = open_file(local, "segment", O_RDONLY, &found);
    if (local->fd < 0) {
        int refusal = local->fd;
        local->fd = -1;
        return refusal;
    }
    void *map = MAP_FAILED;
    int is_segment = read_header(local, (uint64_t)found.st_size);
    if (is_segment)
        map = mmap(NULL, (size_t)found.st_size, PROT_READ, MAP_SHARED, local->fd, 0);
    if (map == MAP_FAILED) {
        close(local->fd);
        local->fd = -1;
        return is_segment ? DIPC_LOCAL_SYSTEM : DIPC_LOCAL_FOREIGN;
    }
    local->map = map;
    local->size = (size_t)found.st_size;
    local->file = mix(mix(local->life, found.st_dev), found.st_ino);
    if (ACQUIRE(U64(MAP(local, RETIRED_AT))) == 0)
        return DIPC_LOCAL_OK;
    close_segment(local);
    return DIPC_LOCAL_RETIRED;
}

/* Identifies the segment and the run of its server. Within a run no entry moves. */
static uint64_t place_of(const dipc_local *local)
{
    return mix(local->file, RELAXED(U64(MAP(local, EPOCH_AT)))) | 1;
}

static int has_name(int fd)
{
    struct stat found;
    return fstat(fd, &found) == 0 && found.st_nlink > 0;
}

/* Makes sure that mailboxes are open which a server goes on with. To be called before each use. */
static int refresh(dipc_local *local)
{
    struct timespec now;
    if (local->fd < 0 || ACQUIRE(U64(MAP(local, RETIRED_AT))) != 0)
        return open_segment(local);
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    if (now.tv_sec != local->looked_at) {
        local->looked_at = now.tv_sec;
        if (!has_name(local->fd))
            return open_segment(local);
    }
    return DIPC_LOCAL_OK;
}

int dipc_local_open(dipc_local **local, const char *dir, int port)
{
    char path[64];
    *local = NULL;
    if (port < 1 || port > 65535)
        return DIPC_LOCAL_USAGE;
    snprintf(path, sizeof path, "/dev/shm/dipc-%lu", (unsigned long)geteuid());
    dir = dir == NULL ? path : dir;
    dipc_local *opened = calloc(1, sizeof *opened + strlen(dir) + 1);
    if (opened == NULL)
        return DIPC_LOCAL_SYSTEM;
    strcpy(opened->dir, dir);
    opened->port = port;
    opened->fd = opened->waiters_fd = -1;
    int refusal = open_segment(opened);
    if (refusal) {
        int error = errno;
        dipc_local_close(opened);
        errno = error;
        return refusal;
    }
    *local = opened;
    return DIPC_LOCAL_OK;
}

void dipc_local_close(dipc_local *local)
{
    if (local == NULL)
        return;
    close_segment(local);
    free(local);
}

int dipc_local_mailboxes(dipc_local *local, dipc_local_info *info)
{
    int refusal = refresh(local);
    if (!refusal)
        *info = (dipc_local_info){local->boxes, local->capacity, local->life};
    return refusal;
}

/* The memory of one mailbox. */

static const unsigned char *control_of(const dipc_local *local, uint32_t box)
{
    return local->map + HEADER_SIZE + (size_t)box * CONTROL_SIZE;
}

static const unsigned char *ring_of(const dipc_local *local, uint32_t box)
{
    return local->map + local->rings_at + box * local->ring_size;
}

/* Copies bytes that a server may be overwriting. They are used only if that is found not to be so. */
static void copy_racy(unsigned char *to, const unsigned char *from, size_t len)
{
    if (len > SMALL) {
        /* The compiler does not know that the two pointers are these ones, and so nothing of the bytes. */
        __asm__ volatile("" : "+r"(to), "+r"(from) : : "memory");
        memcpy(to, from, len);
        __asm__ volatile("" : : : "memory");
        return;
    }
    for (; len > 0 && (uintptr_t)from % 4 != 0; len--)
        *to++ = RELAXED((const _Atomic unsigned char *)from++);
    if (len >= 4 && (uintptr_t)from % 8 != 0) {
        uint32_t half = RELAXED(U32((const void *)from));
        memcpy(to, &half, 4);
        len -= 4, to += 4, from += 4;
    }
    for (; len >= 8; len -= 8, to += 8, from += 8) {
        uint64_t word = RELAXED(U64((const void *)from));
        memcpy(to, &word, 8);
    }
    if (len >= 4) {
        uint32_t half = RELAXED(U32((const void *)from));
        memcpy(to, &half, 4);
        len -= 4, to += 4, from += 4;
    }
    for (; len > 0; len--)
        *to++ = RELAXED((const _Atomic unsigned char *)from++);
}

/* Copies `len` bytes at a position of a ring. The caller has checked that `len` is at most its size. */
static inline void copy_ring(const dipc_local *local, const unsigned char *ring, uint64_t at, void *to, size_t len)
{
    at = at < local->ring_size ? at : at % local->ring_size;
    size_t front = len < local->ring_size - at ? len : (size_t)(local->ring_size - at);
    copy_racy(to, ring + at, front);
    if (len > front)
        copy_racy((unsigned char *)to + front, ring, len - front);
}

/* The header of the entry at a position of a ring. */
static inline uint32_t load_header(const dipc_local *local, const unsigned char *ring, uint64_t at)
{
    uint32_t header;
    if (at < local->ring_size && at % sizeof header == 0) /* the ring ends at such a position */
        return RELAXED(U32((const void *)(ring + at)));
    copy_ring(local, ring, at, &header, sizeof header);
    return header;
}

/* Whether the fields of a record are ordered, within bounds, and with room for the header of every entry. */
static inline int is_consistent(const struct state *s, uint64_t capacity)
{
    if (s->head > s->last || s->last > s->tail || s->tail > POSITION_MAX || s->tail - s->head > capacity + ENTRY_HEADER)
        return 0;
    if (s->count > s->version || s->version > POSITION_MAX)
        return 0;
    uint64_t older = s->last - s->head, newest = s->tail - s->last;
    if (s->count == 0)
        return older == 0 && newest == 0;
    if (newest < ENTRY_HEADER)
        return 0;
    return s->count == 1 ? older == 0 : older / ENTRY_HEADER >= s->count - 1;
}

static uint64_t seq_of(const struct state *s)
{
    return (s->word & ~HELD) >> 1;
}

/* Loads one state of a mailbox. */
static inline int snapshot(const dipc_local *local, uint32_t box, struct state *s)
{
    const unsigned char *control = control_of(local, box);
    for (int i = 0; i < SNAPSHOTS; i++) {
        s->word = ACQUIRE(U64((const void *)control));
        const _Atomic uint64_t *record = U64((const void *)(control + RECORDS_AT + (s->word & 1) * RECORD_SIZE));
        s->version = RELAXED(record);
        s->head = RELAXED(record + 1);
        s->tail = RELAXED(record + 2);
        s->last = RELAXED(record + 3);
        s->count = RELAXED(record + 4);
        uint64_t sum = RELAXED(record + 5);
        s->holes = ACQUIRE(U32((const void *)(control + HOLES_AT)));
        s->newest = s->holes > 0 ? RELAXED(U64((const void *)(control + NEWEST_AT))) : 0;
        atomic_thread_fence(memory_order_acquire);
        s->is_settled = RELAXED(U64((const void *)(control + BEGUN_AT))) == seq_of(s);
        if (RELAXED(U64((const void *)control)) != s->word)
            continue;
        uint64_t expected = mix(mix(mix(mix(mix(0x64697063, s->version), s->head), s->tail), s->last), s->count);
        return sum == expected && is_consistent(s, local->capacity) ? DIPC_LOCAL_OK : DIPC_LOCAL_DAMAGED;
    }
    return DIPC_LOCAL_BUSY;
}

/* Whether the bytes and the record of a state are still whole: no second change after it has begun. */
static int is_whole(const dipc_local *local, uint32_t box, const struct state *s)
{
    atomic_thread_fence(memory_order_acquire);
    return RELAXED(U64((const void *)(control_of(local, box) + BEGUN_AT))) <= seq_of(s) + 1;
}

/* Whether the mailbox, including its holes, is still in this state. */
static int is_current(const dipc_local *local, uint32_t box, const struct state *s)
{
    const unsigned char *control = control_of(local, box);
    atomic_thread_fence(memory_order_acquire);
    uint64_t word = ACQUIRE(U64((const void *)control));
    uint32_t holes = ACQUIRE(U32((const void *)(control + HOLES_AT)));
    uint64_t newest = holes > 0 ? RELAXED(U64((const void *)(control + NEWEST_AT))) : 0;
    return word == s->word && holes == s->holes && newest == s->newest;
}

/* Whether a version is still in the list, in the same run of the server, so that its bytes were never overwritten. */
static int is_listed(const dipc_local *local, uint32_t box, uint64_t version, uint64_t epoch)
{
    struct state now;
    return snapshot(local, box, &now) == DIPC_LOCAL_OK && version <= now.version && version > now.version - now.count &&
           RELAXED(U64(MAP(local, EPOCH_AT))) == epoch;
}

/* The entry at a position, the first of the last `remaining` entries of the list. Returns whether its length leaves
 * room for the headers of the others. So it lies within the list, whatever the bytes are. */
static int read_entry(const dipc_local *local, uint32_t box, const struct state *s, uint64_t at, uint64_t remaining,
                      struct entry *entry)
{
    if (at < s->head || at > s->last || remaining == 0)
        return 0;
    uint32_t header = load_header(local, ring_of(local, box), at);
    entry->at = at;
    entry->len = header & ~HOLE;
    entry->is_hole = (header & HOLE) != 0;
    entry->version = s->version - remaining + 1;
    uint64_t end = at + ENTRY_HEADER + entry->len;
    if (remaining == 1)
        return at == s->last && end == s->tail;
    return remaining == 2 ? end == s->last : end + (remaining - 2) * ENTRY_HEADER <= s->last;
}

static uint64_t end_of(const struct entry *entry)
{
    return entry->at + ENTRY_HEADER + entry->len;
}

/* The same for a message. Also checks the header of the next entry, which detects a wrong length. */
static int read_message(const dipc_local *local, uint32_t box, const struct state *s, uint64_t at, uint64_t remaining,
                        struct entry *entry)
{
    struct entry next;
    return read_entry(local, box, s, at, remaining, entry) && !entry->is_hole &&
           (remaining == 1 || read_entry(local, box, s, end_of(entry), remaining - 1, &next));
}

/* Finds the newest message by the marks alone. */
static int survey(const dipc_local *local, uint32_t box, const struct state *s, struct entry *newest)
{
    struct entry entry;
    uint64_t at = s->head;
    newest->count = 0;
    for (uint64_t remaining = s->count; remaining > 0; remaining--, at = end_of(&entry)) {
        if (!read_entry(local, box, s, at, remaining, &entry))
            return DIPC_LOCAL_DAMAGED;
        if (!entry.is_hole) {
            uint64_t count = newest->count + 1;
            *newest = entry;
            newest->count = count;
        }
    }
    newest->behind_holes = 1;
    return DIPC_LOCAL_OK;
}

/* Finds the newest message. Its count is 0 if there is none. `surveys`: walks the list if the holes that are stored
 * beside the record are not those of this state, as in the middle of a change, or after a kill there. */
static int find_newest(const dipc_local *local, uint32_t box, const struct state *s, int surveys, struct entry *newest)
{
    newest->count = 0;
    newest->behind_holes = 0;
    if (s->count == 0)
        return DIPC_LOCAL_OK;
    if (!read_entry(local, box, s, s->last, 1, newest))
        return DIPC_LOCAL_DAMAGED;
    if ((s->holes > 0 || newest->is_hole) && !s->is_settled)
        return surveys ? survey(local, box, s, newest) : CHANGED;
    if (newest->is_hole) {
        uint64_t trailing = s->newest >> 32, distance = s->newest & UINT32_MAX;
        int is_found = s->holes > 0 && trailing > 0 && trailing < s->count && distance <= s->tail - s->head &&
                       read_message(local, box, s, s->tail - distance, trailing + 1, newest);
        if (!is_found)
            return surveys ? survey(local, box, s, newest) : CHANGED;
        newest->behind_holes = 1;
    }
    newest->count = s->holes < s->count ? s->count - s->holes : 1;
    return DIPC_LOCAL_OK;
}

/* Finds the oldest message that is newer than the cursor. */
static int find_after(const dipc_local *local, uint32_t box, const struct state *s, const dipc_local_cursor *cursor,
                      int surveys, struct entry *found)
{
    if (cursor->version > s->version)
        return DIPC_LOCAL_AHEAD;
    int refusal = find_newest(local, box, s, surveys, found);
    if (refusal)
        return refusal;
    if (found->count == 0 || found->version <= cursor->version)
        return DIPC_LOCAL_NONE;
    uint64_t first = s->version - s->count + 1, wanted = cursor->version + 1 > first ? cursor->version + 1 : first;
    if (found->version == wanted)
        return DIPC_LOCAL_OK;
    /* An entry does not move, so the next one still begins where that of the cursor ends. */
    int has_place = cursor->place == place_of(local) && cursor->placed == cursor->version && cursor->version >= first;
    uint64_t at = has_place ? cursor->next : s->head, count = found->count;
    int behind_holes = found->behind_holes;
    for (uint64_t version = has_place ? wanted : first; version <= s->version; version++, at = end_of(found)) {
        uint64_t remaining = s->version - version + 1;
        if (!read_entry(local, box, s, at, remaining, found))
            return DIPC_LOCAL_DAMAGED;
        if (version >= wanted && !found->is_hole) {
            if (!read_message(local, box, s, at, remaining, found))
                return CHANGED;
            found->count = count;
            found->behind_holes = behind_holes;
            return DIPC_LOCAL_OK;
        }
        behind_holes |= found->is_hole;
    }
    return CHANGED;
}

static int find(const dipc_local *local, uint32_t box, const struct state *s, const dipc_local_cursor *cursor,
                int surveys, struct entry *found)
{
    return cursor ? find_after(local, box, s, cursor, surveys, found) : find_newest(local, box, s, surveys, found);
}

/* Finds a message in one state of the mailbox. The bytes of a positive answer are still to be proved whole. */
static int locate(const dipc_local *local, uint32_t box, const struct state *s, const dipc_local_cursor *cursor,
                  int surveys, struct entry *found)
{
    int refusal = find(local, box, s, cursor, surveys, found);
    if (refusal == CHANGED || refusal == DIPC_LOCAL_AHEAD)
        return refusal;
    if (s->holes == 0 && !(found->behind_holes && refusal == DIPC_LOCAL_OK))
        return is_whole(local, box, s) ? refusal : CHANGED;
    if (!is_current(local, box, s))
        return CHANGED;
    if (refusal == DIPC_LOCAL_DAMAGED)
        return refusal;
    /* A take that is undone sets a mark and clears it. Both may have happened since the snapshot. */
    struct entry again = {0};
    if (find(local, box, s, cursor, surveys, &again) != refusal || !is_current(local, box, s))
        return CHANGED;
    return refusal || (again.version == found->version && again.at == found->at) ? refusal : CHANGED;
}

/* Copies the newest message, or the one after the cursor. */
static long read_message_of(dipc_local *local, uint32_t box, dipc_local_cursor *cursor, void *buffer, size_t size,
                            dipc_local_message *message)
{
    for (int try = 0; try < TRIES; try++) {
        struct state s;
        struct entry found = {0};
        uint64_t epoch = RELAXED(U64(MAP(local, EPOCH_AT)));
        int refusal = snapshot(local, box, &s);
        if (refusal == DIPC_LOCAL_BUSY)
            return refusal;
        if (s.word & HELD)
            return DIPC_LOCAL_HELD;
        if (!refusal)
            refusal = locate(local, box, &s, cursor, try >= TRIES / 2, &found);
        if (refusal == CHANGED)
            continue;
        if (refusal)
            return refusal;
        message->version = cursor ? found.version : s.version;
        message->count = found.count;
        message->len = found.count > 0 ? found.len : 0;
        message->lost = cursor ? found.version - cursor->version - 1 : 0;
        if (message->len > size)
            return DIPC_LOCAL_SIZE;
        if (message->len > 0)
            copy_ring(local, ring_of(local, box), found.at + ENTRY_HEADER, buffer, (size_t)message->len);
#ifndef DIPC_LOCAL_BLIND /* only defined to prove that the torture test finds torn messages */
        if (message->len > 0 && !is_whole(local, box, &s) && !is_listed(local, box, found.version, epoch))
            continue;
#else
        (void)epoch;
        (void)is_listed;
#endif
        if (cursor) {
            cursor->version = cursor->placed = found.version;
            cursor->next = end_of(&found);
            cursor->place = place_of(local);
        }
        return (long)message->len;
    }
    return DIPC_LOCAL_BUSY;
}

/* Whether the cursor was used with other mailboxes. */
static int is_foreign(const dipc_local *local, const dipc_local_cursor *cursor)
{
    return cursor->life != 0 && cursor->life != local->life;
}

long dipc_local_read(dipc_local *local, uint32_t box, void *buffer, size_t size, dipc_local_message *message)
{
    dipc_local_message ignored;
    message = message ? message : &ignored;
    *message = (dipc_local_message){0};
    int refusal = refresh(local);
    if (refusal)
        return refusal;
    message->life = local->life;
    return box < local->boxes ? read_message_of(local, box, NULL, buffer, size, message) : DIPC_LOCAL_BOX;
}

long dipc_local_after(dipc_local *local, dipc_local_cursor *cursor, void *buffer, size_t size,
                      dipc_local_message *message)
{
    dipc_local_message ignored;
    message = message ? message : &ignored;
    *message = (dipc_local_message){0};
    int refusal = refresh(local);
    if (refusal)
        return refusal;
    message->life = local->life;
    if (is_foreign(local, cursor))
        return DIPC_LOCAL_AHEAD;
    cursor->life = local->life;
    if (cursor->box >= local->boxes)
        return DIPC_LOCAL_BOX;
    return read_message_of(local, (uint32_t)cursor->box, cursor, buffer, size, message);
}

int dipc_local_version(dipc_local *local, uint32_t box, uint64_t *version)
{
    struct state s;
    int refusal = refresh(local);
    if (refusal)
        return refusal;
    if (box >= local->boxes)
        return DIPC_LOCAL_BOX;
    refusal = snapshot(local, box, &s);
    if (refusal == DIPC_LOCAL_BUSY)
        return refusal;
    if (s.word & HELD)
        return DIPC_LOCAL_HELD;
    if (!refusal)
        *version = s.version;
    return refusal;
}

/* Waiting. A waiter loads the bell, sets the flag of the mailbox, looks at the mailbox, and then sleeps until the bell
 * changes. A server looks at the flag after each change, clears it and changes the bell. One of the two sees the
 * other. */

/* Opens the flags of the running server. Each start makes a new file, and removes that of the start before. */
static int open_waiters(dipc_local *local)
{
    struct stat found;
    if (local->waiters_fd >= 0 && has_name(local->waiters_fd))
        return DIPC_LOCAL_OK;
    close_waiters(local);
    int fd = open_file(local, "waiters", O_RDWR, &found);
    if (fd < 0)
        return fd;
    size_t size = (size_t)local->boxes * sizeof(uint32_t);
    void *map = MAP_FAILED;
    if ((uint64_t)found.st_size == size)
        map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        close(fd);
        return (uint64_t)found.st_size == size ? DIPC_LOCAL_SYSTEM : DIPC_LOCAL_FOREIGN;
    }
    local->waiters_fd = fd;
    local->waiters = map;
    local->waiters_size = size;
    return DIPC_LOCAL_OK;
}

/* Looks for a message that is newer than the cursor: DIPC_LOCAL_OK, also if only a read can tell. */
static int look(dipc_local *local, const dipc_local_cursor *cursor)
{
    struct state s;
    struct entry found = {0};
    if (cursor->box >= local->boxes)
        return DIPC_LOCAL_BOX;
    if (is_foreign(local, cursor))
        return DIPC_LOCAL_AHEAD;
    int refusal = snapshot(local, (uint32_t)cursor->box, &s);
    if (refusal == DIPC_LOCAL_BUSY)
        return DIPC_LOCAL_OK;
    if (s.word & HELD)
        return DIPC_LOCAL_NONE;
    if (!refusal)
        refusal = locate(local, (uint32_t)cursor->box, &s, cursor, 1, &found);
    return refusal == CHANGED ? DIPC_LOCAL_OK : refusal;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
#define FUTEX_WAIT 0
#define FUTEX_32 2

struct bell {
    uint64_t value, address;
    uint32_t flags, reserved;
};

/* Sleeps until one of the bells differs from its value, at most `ms`. Returns 0 after a signal. */
static int sleep_on(struct bell *bells, unsigned n, int64_t ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    if (n == 1) {
        const void *bell = (const void *)(uintptr_t)bells[0].address;
        long done = syscall(SYS_futex, bell, FUTEX_WAIT, (uint32_t)bells[0].value, &left, NULL, 0);
        return done == 0 || errno != EINTR;
    }
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += left.tv_sec + (end.tv_nsec + left.tv_nsec) / 1000000000;
    end.tv_nsec = (end.tv_nsec + left.tv_nsec) % 1000000000;
    if (syscall(SYS_futex_waitv, bells, n, 0, &end, CLOCK_MONOTONIC) >= 0)
        return 1;
    if (errno != ENOSYS)
        return errno != EINTR;
    /* A kernel before 5.16 waits for one bell, so the others are looked at from time to time. */
    return sleep_on(bells, 1, ms < RETRY_MS ? ms : RETRY_MS);
}

int dipc_local_wait(dipc_local *local, const dipc_local_cursor *cursors, unsigned n, int timeout_ms)
{
    struct bell bells[DIPC_LOCAL_CURSORS];
    int64_t end = timeout_ms < 0 ? INT64_MAX : now_ms() + timeout_ms;
    if (n == 0 || n > DIPC_LOCAL_CURSORS)
        return DIPC_LOCAL_USAGE;
    for (;;) {
        int refusal = refresh(local);
        if (refusal)
            return refusal;
        /* Between two servers there may be no file. */
        int has_waiters = open_waiters(local) == DIPC_LOCAL_OK;
        for (unsigned i = 0; i < n; i++) {
            if (cursors[i].box >= local->boxes)
                return DIPC_LOCAL_BOX;
            const void *bell = control_of(local, (uint32_t)cursors[i].box) + BELL_AT;
            bells[i] = (struct bell){ACQUIRE(U32(bell)), (uintptr_t)bell, FUTEX_32, 0};
            if (has_waiters)
                atomic_store_explicit(local->waiters + cursors[i].box, 1, memory_order_relaxed);
        }
        atomic_thread_fence(memory_order_seq_cst);
        for (unsigned i = 0; i < n; i++) {
            refusal = look(local, &cursors[i]);
            if (refusal != DIPC_LOCAL_NONE)
                return refusal == DIPC_LOCAL_OK ? (int)i : refusal;
        }
        /* A retired segment rings all bells, before this look or after it. */
        if (ACQUIRE(U64(MAP(local, RETIRED_AT))) != 0)
            continue;
        int64_t now = now_ms(), most = has_waiters ? LOOK_MS : RETRY_MS;
        if (now >= end)
            return DIPC_LOCAL_NONE;
        if (!sleep_on(bells, n, end - now < most ? end - now : most))
            return DIPC_LOCAL_NONE;
        local->looked_at = 0;
    }
}
