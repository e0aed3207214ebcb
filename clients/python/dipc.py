#!/usr/bin/env python3
"""dipc.py: a client of dipc, the server of shared-memory mailboxes. Needs only Python 3.8.

As a module (a connection must be used by one thread at a time):

    import dipc
    with dipc.connect(5000) as m:
        version = m.write(3, b"any bytes, or text")
        message = m.read(3)             # bytes with a .version and a .count
        m.read(3, after=version)        # waits for the next message; .lost is the number of missed ones
        m.put(3, "one more")            # appends to the queue; drop=True drops old messages to make room
        m.take(3, wait=5)               # removes the oldest message; raises Empty after 5 seconds
        with m.job(3) as job:           # removes the oldest message at the end of the block; an exception, or the
            print(job.data)             # end of this process, gives it back to another worker
        with m.lock(3, 4):              # exclusive; released when this process ends, even by kill -9
            m.write(4, m.read(3))
        for version, data in m.watch(3):        # all new messages, forever; a slow reader is told how many
            print(version, data)                # messages it missed
        m.set_name(2, "jobs")           # a name may stand in the place of a number
        m.put("jobs", "a job")
        for version, data in m.follow(3):       # the same, and goes on after a restart of the server
            print(version, data)
    with dipc.connect(5000, local=True) as m:   # reads in the shared memory of a server of this machine and
        m.read(3)                               # user: see dipc_local

Python finds the module beside the importing script, in the directories of PYTHONPATH, or where pip has
installed it. If it is nowhere, Python imports a directory named dipc, such as a clone in the working directory:
"module 'dipc' has no attribute 'connect'". Then install the module, or set PYTHONPATH to the absolute path of
the directory of dipc.py.

From the shell, one command (dipc-py if pip has installed it):

    python3 dipc.py 5000 write 3 hello world        prints "version 1"
    python3 dipc.py 5000 write 3 < picture.png      without text: all of standard input
    python3 dipc.py 5000 read 3 > picture.png       exactly the bytes of the message
    python3 dipc.py --unix PATH read 3              --unix replaces PORT
    python3 dipc.py 5000 watch 3                    a line for each message, until Ctrl-C

    commands  read|r BOX, write|w BOX [TEXT..], put BOX [TEXT..], take BOX, watch BOX[,BOX..],
              name BOX [NAME], stat [BOX|conns|locks|names], ping, help, hello [NAME]
              BOX is a number or a name; name BOX - removes the name
    options   --host H   the server's host, by default 127.0.0.1
              --unix P   the path of the server's Unix socket
              --wait S   seconds to wait, or inf                        (read, write, put, take)
              --off N    from byte N on; a write overwrites from there  (read, write)
              --len N    at most N bytes                                (read)
              --if V     only if the mailbox is at version V            (write)
              --after V  the next message after version V               (read, watch)
              --drop     drops the oldest messages to make room         (put)
              --         ends the options: write 3 -- --text
    exit code 0 done, 1 not done (timeout, empty, conflict, ..), 2 refused or wrong usage, 3 no connection,
              74 a file or stream of this machine failed, 75 try again: the server is full or stopping

Nothing is taken before standard output can be written, or after its reader has gone.

Without a command there is a prompt. Its command help lists its commands. There, write and put without text ask
for the text, and Ctrl-C cancels the running command.
"""

import collections
import contextlib
import getopt
import io
import os
import re
import select
import selectors
import signal
import socket
import sys
import threading
import time
from typing import (TYPE_CHECKING, Any, Callable, Counter, Deque, Dict, Iterable, Iterator, List, Mapping,
                    NamedTuple, Optional, Set, Tuple, Type, TypeVar, Union, cast)

if TYPE_CHECKING:
    from dipc_local import Local

Data = Union[bytes, bytearray, memoryview, str]  # what can be written; text as UTF-8
Box = Union[int, str]  # a mailbox: its number, or its name
After = Union[int, Mapping[Any, int], None]  # a version, or one for each mailbox
Fields = Dict[str, Any]  # the k=v pairs of an answer; a value that is all digits is an int
ANSWER = re.compile(r"(OK|(?:DATA|EVENT) \d{1,10}|NO [a-z]+|ERR [a-z]+)((?: [\w-]+=\S*)*)"
                    r"(?: : ?(.*?))?(\r?\n)", re.ASCII)
LONGEST_LINE = 65536  # bytes; no first line of an answer of dipc is longer
Answer = Tuple[str, str, Fields, str, bytes]  # kind, the word after it, fields, text, data
RECONNECT = 10.0  # seconds for which follow tries to connect again
KEPT = 64 << 20  # bytes of events that a watch buffers for its loop; each event counts EVENT bytes more
EVENT = 256
STATS = {"conns": "connection", "locks": "box", "names": "box"}  # name of the first number in each line of such a stat
MAILBOX = re.compile("[0-9]+|[a-z][a-z0-9_.-]{0,63}")  # a number or a name
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
Poll = getattr(selectors, "PollSelector", selectors.SelectSelector)  # select is limited to small descriptors
CLOSING = ("frame", "auth", "busy", "drain", "internal")  # after an ERR of these codes the server closes


class DipcError(Exception):
    """A negative answer: .code is its reason in one word, .fields its k=v pairs, .text its explanation."""

    def __init__(self, code: str, fields: Optional[Fields] = None, text: str = "") -> None:
        words = [code] + ["%s=%s" % pair for pair in (fields or {}).items()]
        super().__init__(" ".join(words) + (text and ": " + text))
        self.code, self.fields, self.text = code, fields or {}, text


class Refused(DipcError):
    """ERR: the request is invalid, or impossible now. .fields["max"] is the limit if .code is box or size."""


class LockLost(Refused):
    """The lease has expired, and other clients may have used the mailbox; or the lock was never held."""


class JobLost(Refused):
    """This connection does not have the message in hand, or no longer. Another worker may have it."""


class Deadlock(Refused):
    """The request would complete a cycle of waits. The locks are still held: unlock them, and retry."""


class Denied(Refused):
    """The client's own lock does not permit the request: the lock is shared, or the request locks again."""


class NotDone(DipcError):
    """NO: the request is valid, but the state of the mailbox did not permit it. Nothing has changed."""


class Timeout(NotDone, TimeoutError):
    """The mailbox was not free in time, or a read with after= found no newer message in time.

    The connection remains usable.
    """


class Conflict(NotDone):
    """The mailbox is not at the expected version, but at .version."""

    @property
    def version(self) -> int:
        version: int = self.fields["v"]
        return version


class NameTaken(NotDone):
    """The mailbox .box has this name."""

    @property
    def box(self) -> int:
        box: int = self.fields["box"]
        return box


class Empty(NotDone):
    """There was no message to take, and none arrived in time."""


class Full(NotDone):
    """There was no room for the message, and none became free in time."""


class Locked(NotDone):
    """Another client has locked the mailbox or waits to lock it, and the request had wait=0."""


class Multi(NotDone):
    """The mailbox contains several messages, so a write with off= is not possible."""


class Ahead(NotDone):
    """A mailbox has not reached the version of after=: the version is one of other, former mailboxes.

    Continue with after=0, and tell the user. hello() returns "life", which differs then, too.
    """


REASONS = {"timeout": Timeout, "conflict": Conflict, "empty": Empty, "full": Full, "locked": Locked,
           "multi": Multi, "ahead": Ahead}
REFUSALS = {"lease": LockLost, "deadlock": Deadlock, "denied": Denied}  # any other code is a plain Refused


class Message(bytes):
    """A message that was read or taken: bytes with a .version, and the .count of messages now in the mailbox.

    If read returns a .count of 0, the mailbox is empty. .lost: with after=, how many messages between that
    version and this message no longer exist. .tries: with ttl=, how often the message was handed out.
    """

    version: int
    count: int  # type: ignore[assignment]  # hides bytes.count
    lost: int
    tries: int

    def __new__(cls, data: bytes = b"", version: int = 0, count: int = 0, lost: int = 0,
                tries: int = 0) -> "Message":
        message = super().__new__(cls, data)
        message.version, message.count, message.lost, message.tries = version, count, lost, tries
        return message


class Put(int):
    """The version of a put, with the .count of messages that the mailbox then contained."""

    count: int

    def __new__(cls, version: int, count: int = 0) -> "Put":
        put = super().__new__(cls, version)
        put.count = count
        return put


class Event(NamedTuple("Event", [("version", int), ("data", bytes)])):
    """A message of a watch: the pair (version, data), with its .box. .lost: the number of missed messages."""

    box: int
    lost: int

    def __new__(cls, version: int, data: bytes, box: int = 0, lost: int = 0) -> "Event":
        event = super().__new__(cls, version, data)
        event.box, event.lost = box, lost
        return event


def connect(port: Optional[int] = None, host: str = "127.0.0.1", unix: Optional[str] = None,
            timeout: Optional[float] = None, name: Optional[str] = None,
            local: Union[bool, str] = False) -> "Mailboxes":
    """Connects to a server by its TCP port or by the path of its Unix socket. Raises OSError if this fails.

    timeout: longest silence of the server in seconds, while connecting and during a request. It has to exceed
    every wait. None: no limit. name: the name of this connection in `stat`. local: reads in the shared memory of
    the server on this port, without a place in the queue, if that is possible; see dipc_local. A string is the
    directory of `dipc --dir`.
    """
    if local and port is None:
        raise ValueError("local needs the port")
    kind, why = _local_kind() if local else (Mailboxes, "")
    mailboxes = kind.open(lambda: _open(port, host, unix, timeout))
    mailboxes.local_error = why
    try:
        if name is not None:
            mailboxes.hello(name)
        if local:
            mailboxes._open_local(port or 0, local if isinstance(local, str) else None)
    except BaseException:
        mailboxes.close()
        raise
    return mailboxes


def local(port: int, directory: Optional[str] = None) -> "Local":
    """Opens the mailboxes of a server of this machine and user in the shared memory; see dipc_local.

    directory: that of `dipc --dir`. Raises OSError if there are none, or without the library libdipc_local.so.
    """
    import dipc_local
    return dipc_local.Local(port, directory)


def _local_kind() -> Tuple[Type["Mailboxes"], str]:
    """The class of a connection with local reads. Without it, why all reads are made over the connection."""
    try:
        import dipc_local
    except ImportError as error:
        return Mailboxes, str(error)
    return dipc_local.LocalMailboxes, ""


def _open(port: Optional[int], host: str, unix: Optional[str], timeout: Optional[float]) -> socket.socket:
    _require_address(port, unix)
    if unix is None:
        sock = socket.create_connection((host, port or 0), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    with contextlib.ExitStack() as on_error:
        sock = on_error.enter_context(socket.socket(socket.AF_UNIX))
        sock.settimeout(timeout)
        sock.connect(unix)
        on_error.pop_all()
    return sock


Connected = TypeVar("Connected", bound="Mailboxes")


def _require_address(port: Optional[int], unix: Optional[str]) -> None:
    if (port is None) == (unix is None):
        raise ValueError("give either a port or a unix path")
    if port is not None and not 0 < port < 65536:
        raise ValueError("port %d is not within 1..65535" % port)


class _Connection:
    """The state of a connection: its received bytes, locks, jobs and watches. It does no input or output."""

    def __init__(self) -> None:
        self._received, self.closed, self._process = bytearray(), False, os.getpid()
        self._has_spoken = False
        self._locks: Dict[int, _Lock] = {}  # by mailbox
        self._jobs: Dict[Tuple[int, int], _Job] = {}  # by mailbox and version
        self._watches: Dict[int, _Watch] = {}

    def _greeting(self, request: bytes) -> bytes:
        """What is sent before a request: hello, before the first one.

        At the classic port bare datagrams begin with r and w, too. hello tells that this is the text protocol.
        """
        greeting = b"" if self._has_spoken or request.startswith(b"hello") else b"hello\n"
        self._has_spoken = True
        return greeting

    def _require_usable(self) -> None:
        if self._process != os.getpid():
            raise ConnectionError("this connection belongs to process %d, before a fork: connect in this process"
                                  % self._process)
        if self.closed:
            raise ConnectionError("the connection is closed")

    def _lose(self) -> None:
        """The connection is closed. The server ends its locks and watches, and takes back its messages in hand."""
        self.closed = True
        for lock in self._locks.values():
            lock.lost = True
        for job in self._jobs.values():
            job.lost = True
        for watch in self._watches.values():
            watch._is_lost = True
        self._forget_owned()
        self._watches.clear()

    def _forget_owned(self) -> None:
        self._locks.clear()
        self._jobs.clear()

    def _start_watch(self, watch: "_Watch", boxes: Iterable[int], fields: Fields) -> None:
        for box, version in zip(boxes, str(fields["v"]).split(",")):
            self._remove(box)
            watch.versions[box] = int(version)
            watch._boxes.add(box)
            self._watches[box] = watch

    def _end_locks(self, boxes: Iterable[int], grant: Optional[int]) -> None:
        for box in boxes or list(self._locks):
            lock = self._locks.get(box)
            if lock and grant in (None, lock.grant):
                del self._locks[box]
                lock.boxes = [other for other in lock.boxes if other != box]

    def _start_job(self, job: "_Job", fields: Fields) -> None:
        job.version, job.count, job.tries = fields["v"], fields["n"], fields["tries"]
        self._jobs[job.box, job.version] = job

    @contextlib.contextmanager
    def _ending_job(self, box: int, version: int) -> Iterator[None]:
        """Forgets a job if the request within this ends it, or finds that it has ended.

        With asyncio the message may be in hand again when this goes on: that is another job.
        """
        job, lost = self._jobs.get((box, version)), cast(Optional[LockLost], None)
        try:
            yield
        except LockLost as error:
            lost = error
        if job:
            job.lost, job._is_ended = bool(lost), True
            if self._jobs.get((box, version)) is job:
                del self._jobs[box, version]
        if lost:
            raise JobLost(lost.code, lost.fields, lost.text) from None

    @staticmethod
    def _result(answer: "Answer", shape: str, number: type = int) -> Tuple[Fields, bytes]:
        """Returns fields and data of an answer, or raises its NO or ERR. shape: its kind and numeric fields."""
        kind, code, fields, text, data = answer
        if kind == "NO":
            is_name = code == "conflict" and "box" in fields
            raise NameTaken(code, fields) if is_name else REASONS.get(code, NotDone)(code, fields)
        if kind == "ERR":
            raise REFUSALS.get(code, Refused)(code, fields, text)
        expected, *numbers = shape.split()
        if kind != expected or not all(type(fields.get(key)) is number for key in numbers):
            raise ConnectionError("the server answered %s instead of %s" % (kind, shape))
        return fields, data

    def _buffer_events(self) -> None:
        """Buffers the events that have arrived before the next answer."""
        while self._received.startswith(b"EVENT "):
            event = self._parse()
            if not event:
                return
            fields, data = event[2], event[4]
            box, version, lost = (fields.get(key, 0) for key in ("box", "v", "lost"))
            if lost == "lock" and box in self._locks:
                self._locks.pop(box).lost = True
            elif lost == "take" and (box, version) in self._jobs:
                self._jobs.pop((box, version)).lost = True
            elif box in self._watches and type(lost) is int:
                self._watches[box]._buffer(Event(version, data, box, lost))

    def _handle_unsolicited(self) -> None:
        """Handles an answer without a request: the server may send an ERR before it stops."""
        answer = None if self._received.startswith(b"EVENT ") else self._parse()
        if answer:
            if answer[0] == "ERR":
                raise Refused(*answer[1:4])
            raise ConnectionError("an answer without a request")

    def _parse(self) -> Optional["Answer"]:
        """Removes a complete answer or event from the received bytes. None: it is incomplete."""
        end = self._received.find(b"\n") + 1
        line = bytes(self._received[:end or LONGEST_LINE])
        if not end and len(self._received) < LONGEST_LINE:
            return None
        match = ANSWER.fullmatch(line.decode("ascii", "backslashreplace"))
        if not match:
            raise ConnectionError("not an answer of dipc: %.60r" % line)
        start, pairs, text, eol = match.groups()
        kind, _, word = start.partition(" ")
        data = b""
        if kind in ("DATA", "EVENT"):
            start, end = end, end + int(word) + len(eol)
            if len(self._received) < end:
                return None
            data = bytes(self._received[start:end - len(eol)])
            if self._received[end - len(eol):end] != eol.encode():
                raise ConnectionError("no end of line after the data of an answer")
        del self._received[:end]
        return kind, word, _pairs(pairs.split()), text or "", data

    def _remove(self, box: int) -> None:
        if box in self._watches:
            self._watches.pop(box)._remove(box)


class Mailboxes(_Connection):
    """A connection to the mailboxes of one server. It closes at the end of a `with`.

    Every method raises Refused if the server refuses the request, ConnectionError if the connection is lost
    or the server does not speak dipc, and TimeoutError if the server was silent for too long. After the last
    two the connection is .closed: a late answer would be mistaken for that of the next request. A Timeout is
    an answer of the server and does not close the connection.

    A connection does not send a request again when the connection is lost: a write, put or take may have been
    done. After a fork it belongs to the process that made it.

    .local: the shared memory in which reads are made, or None; then .local_error says why, if it was asked for.
    """

    local: "Optional[Local]" = None
    local_error = ""

    def __init__(self, sock: socket.socket, open_again: Optional[Callable[[], socket.socket]] = None) -> None:
        super().__init__()
        self._sock, self._open_again, self._name = sock, open_again, cast(Optional[str], None)

    @classmethod
    def open(cls: Type["Connected"], open_socket: Callable[[], socket.socket]) -> "Connected":
        """A connection with a socket from this function, which is called again by reconnect."""
        return cls(open_socket(), open_socket)

    def _open_local(self, port: int, directory: Optional[str]) -> None:
        """Does nothing: reads are made over the connection. LocalMailboxes of dipc_local opens the shared memory."""

    def __enter__(self: "Connected") -> "Connected":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def read(self, box: Box, off: Optional[int] = None, len: Optional[int] = None,
             wait: Optional[float] = None, after: Optional[int] = None) -> Message:
        """Returns the newest message, or `len` bytes of it from byte `off`.

        If the mailbox is empty, returns b"" with a .count of 0.

        after: returns the oldest message newer than this version, and waits for it. wait: seconds; 0 does not
        wait, float("inf") waits forever, None is the server's default. Raises Timeout.
        """
        request = _line("r", box, after=after, off=off, len=len, wait=_seconds(wait))
        return _message(*self._ask("DATA v n", request))

    def write(self, box: Box, data: Data, if_version: Optional[int] = None,
              off: Optional[int] = None, wait: Optional[float] = None) -> int:
        """Replaces the mailbox's contents with `data` (bytes-like, or str as UTF-8). Returns the new version.

        if_version: writes only if the mailbox is at this version, otherwise raises Conflict. off: overwrites
        the message from this byte on, and raises Multi if there are several messages. wait: as for read.
        Raises Timeout.
        """
        version: int = self._ask("OK v", _write_request(box, data, if_version, off, wait))[0]["v"]
        return version

    def put(self, box: Box, data: Data, drop: bool = False, wait: Optional[float] = None) -> Put:
        """Appends `data` to the mailbox's queue. Returns the new version, with a .count.

        Waits for room, and raises Full if there is none in time. Raises Timeout if the mailbox was not free
        in time. drop: drops the oldest messages to make room. wait: as for read.
        """
        fields = self._ask("OK v n", _put_request(box, data, drop, wait))[0]
        return Put(fields["v"], fields["n"])

    def take(self, box: Box, wait: Optional[float] = None, ttl: Optional[float] = None) -> Message:
        """Removes the oldest message of the mailbox and returns it. Waits for a message if there is none.

        Raises Empty if no message arrived in time, or Timeout if the mailbox was not free in time. wait: as
        for read.

        ttl: does not remove the message, but takes it in hand until done or back is called, or the connection
        ends. It is given back after `ttl` seconds without a request on this connection. job does the same for a
        `with`.
        """
        request = _take_request(box, wait, _seconds(ttl))
        return _message(*self._ask("DATA v n" if ttl is None else "DATA v n tries", request))

    def job(self, box: Box, ttl: Optional[float] = None, wait: Optional[float] = None) -> "Job":
        """Takes the oldest message in hand until the end of a `with`, which removes it, or gives it back after an
        exception. Waits for a message if there is none.

        No other take gets the message meanwhile. It is given back, too, if this process ends, or after `ttl`
        seconds without a request on this connection: a ping renews that time. ttl: None is the server's default.
        wait: as for read. Raises Empty, or Timeout, as take does, or Refused if too many messages are in hand.
        """
        job = Job(self, self.number(box))
        fields, job.data = self._ask("DATA v n tries", _take_request(job.box, wait, _seconds(ttl) or ""))
        self._start_job(job, fields)
        return job

    def done(self, box: Box, version: int) -> int:
        """Removes a message that this connection has in hand. Returns the number of messages in the mailbox.

        Raises JobLost if the message is not in hand: it was given back, or a write or put has removed it. Raises
        Timeout if the mailbox was not free in time; the message is still in hand.
        """
        box = self.number(box)
        with self._ending_job(box, version):
            count: int = self._ask("OK n", _line("done", box, v=version))[0]["n"]
        return count

    def back(self, box: Box, version: int) -> None:
        """Gives back a message that this connection has in hand, in its old place. Raises what done raises."""
        box = self.number(box)
        with self._ending_job(box, version):
            self._ask("OK", _line("back", box, v=version))

    def lock(self, *boxes: Box, shared: bool = False, ttl: Optional[float] = None,
             wait: Optional[float] = None) -> "Lock":
        """Locks all these mailboxes, or none, until the end of a `with`, an unlock, or the connection's end.

        The lock excludes all other clients, or with shared=True only their writes. ttl: the lease, in
        seconds. The locks expire after this time without a request on this connection. None is the server's
        default. wait: as for read. Raises Timeout, or Locked if wait is 0; Deadlock; Denied.
        """
        numbers = self._numbers(boxes)
        fields = self._ask("OK grant", _lock_request(numbers, shared, ttl, wait))[0]
        lock = Lock(self, numbers, fields["grant"])
        self._locks.update(dict.fromkeys(numbers, lock))
        return lock

    def unlock(self, *boxes: Box, grant: Optional[int] = None) -> None:
        """Unlocks all these mailboxes, or none. Without arguments, unlocks all mailboxes of this connection.

        grant: unlocks only locks with this number. Raises LockLost if a mailbox is not locked, or not any
        more.
        """
        numbers, lost = self._numbers(boxes), None
        try:
            self._ask("OK", _line("unlock " + (_list(numbers) if numbers else "*"), grant=grant))
        except LockLost as error:
            if numbers:
                raise
            lost = error  # one lock was lost; the others are unlocked
        self._end_locks(numbers, grant)
        if lost:
            raise lost

    def watch(self, *boxes: Box, after: After = None) -> "Watch":
        """Starts to watch these mailboxes. Iterating over the result returns each new message, forever.

        after: starts after this version, with the stored messages; after=0 starts with all stored messages. A
        dict has a version for each mailbox: after=watch.versions goes on where an earlier watch has ended.
        Raises Ahead if a mailbox has not reached its version. A mailbox belongs to one watch at a time: the new
        watch takes it over from an earlier one.
        """
        watch, numbers = Watch(self), self._numbers(boxes)
        for group, request in _watch_requests(numbers, _by_number(boxes, numbers, after)):
            try:
                fields = self._ask("OK v", request, str if group[1:] else int)[0]
            except DipcError:
                if watch.versions:
                    self.unwatch(*watch.versions)
                raise
            self._start_watch(watch, group, fields)
        return watch

    def follow(self, *boxes: Box, after: After = None, patience: float = RECONNECT,
               note: Callable[[str], None] = lambda text: None) -> Iterator[Event]:
        """Returns each new message, as watch does, and goes on after the connection is lost.

        It connects again, as reconnect does, and tries that for `patience` seconds. Messages that were written
        meanwhile are returned, or counted in .lost of the next event. If the mailboxes are new, because the
        server was started with empty ones, it starts with their oldest messages. note: is called with a
        sentence for people when the connection is lost, when it is made again, and when the mailboxes are new.
        """
        life = self.hello().get("life")
        numbers = self._numbers(boxes)
        watch = self._watch_from(numbers, _by_number(boxes, numbers, after), note)
        while True:
            try:
                yield from watch
                return
            except (OSError, Refused) as error:
                if not self._open_again or isinstance(error, Refused) and error.code not in CLOSING:
                    raise
                note("the connection is lost, connecting again: %s" % error)
            current = self._await_server(patience).get("life")
            if current == life:
                note("connected again")
                watch = self._watch_from(numbers, watch.versions, note)
            else:
                life = current
                note("connected again; the mailboxes are new: starting with the oldest message")
                numbers = self._numbers(boxes)
                watch = self._watch_from(numbers, 0, note)

    def _watch_from(self, boxes: Tuple[int, ...], after: After, note: Callable[[str], None]) -> "Watch":
        try:
            return self.watch(*boxes, after=after)
        except Ahead:
            note("version %s was never reached here, the mailboxes are new: starting with the oldest message"
                 % after)
            return self.watch(*boxes, after=0)

    def _await_server(self, patience: float) -> Fields:
        """Connects again. Tries it for `patience` seconds. Returns the server's properties."""
        deadline, pause = time.monotonic() + patience, 0.05
        while True:
            try:
                self.reconnect()
                return self.hello()
            except (OSError, Refused) as error:
                is_final = isinstance(error, Refused) and error.code not in CLOSING
                if is_final or time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 1)

    def reconnect(self) -> None:
        """Connects again to the same server, also in a process that was forked. The connection keeps its name.

        The locks of the old connection are lost: their .lost is True. Its watches end with a ConnectionError. The
        messages that it had in hand are given back, and the .lost of their jobs is True.
        No request is repeated: the caller decides that, since a write, put or take may have been done.
        """
        if not self._open_again:
            raise ConnectionError("the connection is closed")
        self._close_socket()
        self._sock, self._has_spoken = self._open_again(), False
        self._received, self.closed, self._process = bytearray(), False, os.getpid()
        if self._name is not None:
            self.hello(self._name)

    def unwatch(self, *boxes: Box) -> None:
        """Stops watching these mailboxes, or all. A loop over a watch without mailboxes ends."""
        numbers = self._numbers(boxes)
        self._ask("OK", _line("unwatch " + (_list(numbers) if numbers else "*")))
        for box in numbers or list(self._watches):
            self._remove(box)

    def set_name(self, box: Box, name: Optional[str]) -> None:
        """Gives the mailbox this name, in place of the one that it had. None removes its name.

        A name has 1 to 64 of a-z 0-9 _ . - and begins with a letter. It may stand in the place of the number, and is
        kept with the mailboxes. Raises NameTaken if another mailbox has the name.
        """
        self._ask("OK", _name_request(box, name))

    def name(self, box: Box) -> Optional[str]:
        """Returns the name of the mailbox. None: it has none."""
        return _name(self._ask("OK", _line("name", box))[0])

    def names(self) -> Dict[int, str]:
        """Returns the names by the numbers of their mailboxes.

        The server answers many names in parts. A name that moves meanwhile may be there twice, or not at all.
        """
        return _names(self.stat("names"))

    def number(self, box: Box) -> int:
        """Returns the number of the mailbox that has this name now. A number needs no request.

        Locks, jobs and watches are of the mailboxes that have the names when they begin: their requests are sent
        with the numbers. If a name moves to another mailbox, they stay where they are. Events have numbers.
        """
        known = _known_number(box)
        return _number_of(self._ask("DATA", _line("stat box", box))[1]) if known is None else known

    def _numbers(self, boxes: Iterable[Box]) -> Tuple[int, ...]:
        return tuple([self.number(box) for box in boxes])

    def ping(self) -> None:
        """Checks that the server answers."""
        self._ask("OK", _line("ping"))

    def hello(self, name: Optional[str] = None, token: Optional[str] = None) -> Fields:
        """Names this connection. Returns the server's properties: proto, server, boxes, size, packet, .."""
        fields = self._ask("OK", _line("hello", name=name, token=token))[0]
        self._name = self._name if name is None else name
        return fields

    def stat(self, topic: Optional[Box] = None) -> Any:
        """Returns statistics by name: of the server, or of a mailbox, with its locks as a list in "lock".

        "conns" returns a list with a dict for each connection, "locks" a list with a dict for each holder
        of a lock, and "names" a list with a dict for each name.
        """
        return _statistics_of(topic, self._stat(topic))

    def _stat(self, topic: Optional[Box]) -> str:
        fields, text = self._ask("DATA", _stat_request(topic))
        while "more" in fields:  # the server answers long statistics in parts
            fields, part = self._ask("DATA", _stat_request(topic, fields["more"]))
            text += part
        return text.decode("utf-8", "replace")

    def help(self) -> str:
        """Returns the server's description of its protocol."""
        return self._ask("DATA", _line("help"))[1].decode("utf-8", "replace")

    def close(self) -> None:
        """Closes the connection. Does nothing if it is closed already."""
        self._open_again = None
        if not self.closed and self._process == os.getpid():
            self._forget_owned()
            with contextlib.suppress(OSError):  # the connection may be lost
                self._sock.sendall(_line("q"))
        self._close_socket()

    def _ask(self, shape: str, request: bytes, number: type = int) -> Tuple[Fields, bytes]:
        """Sends a request. Returns fields and data of its answer. shape: expected kind and numeric fields."""
        self._require_usable()
        greeting = self._greeting(request)
        with self._closing():
            with contextlib.suppress(ConnectionError):  # the server may have sent an ERR and closed: read it
                self._send(greeting + request)
            if greeting:
                self._result(self._answer(), "OK", str)
            return self._result(self._answer(), shape, number)

    @contextlib.contextmanager
    def _closing(self) -> Iterator[None]:
        """Closes the connection on any exception, even KeyboardInterrupt: the answer may still arrive.

        Only NO, and an ERR after which the server does not close, leave it open.
        """
        try:
            yield
        except DipcError as error:
            if isinstance(error, Refused) and error.code in CLOSING:
                self._close_socket()
            raise
        except socket.timeout:
            self._close_socket()
            raise TimeoutError("the server was silent for too long; the connection is closed") from None
        except BaseException:
            self._close_socket()
            raise

    def _send(self, request: bytes) -> None:
        """Sends a request. With watches, receives events meanwhile: a server that sends does not receive."""
        if not self._watches:
            return self._sock.sendall(request)
        timeout, rest = self._sock.gettimeout(), memoryview(request)
        self._sock.setblocking(False)
        try:
            while rest:
                ready = self._ready(READ | WRITE, timeout)
                if ready & READ:
                    self._receive()
                    self._buffer_events()
                if ready & WRITE:
                    rest = rest[self._sock.send(rest):]
        finally:
            self._sock.settimeout(timeout)

    def _ready(self, directions: int, timeout: Optional[float]) -> int:
        with Poll() as poll:
            poll.register(self._sock, directions)
            for _, ready in poll.select(timeout):
                return ready
        raise socket.timeout

    def _receive(self) -> None:
        received = self._sock.recv(65536)
        if not received:
            raise ConnectionError("the server closed the connection")
        self._received += received

    def _answer(self) -> Answer:
        """Receives an answer. Buffers the events before it."""
        while True:
            self._buffer_events()
            answer = self._parse()
            if answer:
                return answer
            self._receive()

    def _close_socket(self) -> None:
        self._lose()
        self._sock.close()


class _Lock:
    """The state of a lock."""

    def __init__(self, boxes: Iterable[int], grant: int) -> None:
        self.boxes, self.grant, self.lost = list(boxes), grant, False

    def _take_boxes(self, is_closed: bool) -> List[int]:
        """The mailboxes to unlock. Raises LockLost if the lock has ended with its connection."""
        boxes, self.boxes = self.boxes, []
        if boxes and self.lost and is_closed:
            raise LockLost("lease", text="the connection was lost, and the lock with it")
        return boxes


class Lock(_Lock):
    """Locked mailboxes. They are unlocked at the end of a `with`.

    .grant: the number of this lock; later locks have higher numbers. .boxes: the mailboxes that are still
    locked. .lost: whether the server has reported that the lease has expired, or the connection was lost. The
    report is received with the next answer, or in a watch. Then the mailboxes are not protected any more: every
    request of this connection to them raises LockLost, and so does the end of the `with`, unless another
    exception is raised already. unlock() ends this state, and raises LockLost once more.
    """

    def __init__(self, mailboxes: Mailboxes, boxes: Iterable[int], grant: int) -> None:
        super().__init__(boxes, grant)
        self._mailboxes = mailboxes

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, exception: Any, *_: Any) -> None:
        with contextlib.suppress(*[DipcError, OSError] if exception else []):
            self.unlock()

    def unlock(self) -> None:
        """Unlocks the mailboxes that are still locked. Raises LockLost if the lock was lost."""
        boxes = self._take_boxes(self._mailboxes.closed)
        if boxes:
            self._mailboxes.unlock(*boxes, grant=self.grant)


class _Job:
    """The state of a job."""

    def __init__(self, box: int) -> None:
        self.box, self.data, self.lost = box, b"", False
        self.version = self.count = self.tries = 0
        self._is_ended = False

    def _must_end(self) -> bool:
        """Whether a request has to end the job. Raises JobLost if it was lost.

        A lost message may be in hand again, as another job with the same version.
        """
        if self.lost and not self._is_ended:
            self._is_ended = True
            raise JobLost("lease", text="this message was given back")
        return not self._is_ended


class Job(_Job):
    """A message in hand. The end of a `with` removes it, or gives it back after an exception.

    .box, .data, .version. .count: the messages in the mailbox, including those in hand. .tries: how often the
    message was handed out; above 1, an earlier worker may have worked on it. .lost: whether the server has
    reported that the message was given back, because this connection sent nothing for too long, or the connection
    was lost. The report is received with the next answer, or in a watch. Then another worker may have the message,
    and the end of the `with` raises JobLost, unless another exception is raised already.
    """

    def __init__(self, mailboxes: Mailboxes, box: int) -> None:
        super().__init__(box)
        self._mailboxes = mailboxes

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, exception: Any, *_: Any) -> None:
        if exception is None:
            return self.done()
        with contextlib.suppress(DipcError, OSError):
            self.back()

    def done(self) -> None:
        """Removes the message. Does nothing if it was removed or given back. Raises JobLost if it was lost."""
        if self._must_end():
            self._mailboxes.done(self.box, self.version)

    def back(self) -> None:
        """Gives the message back. Does nothing if it was removed or given back. Raises JobLost if it was lost."""
        if self._must_end():
            self._mailboxes.back(self.box, self.version)


class _Watch:
    """The state of a watch: its mailboxes, and events that have arrived."""

    def __init__(self) -> None:
        self.versions: Dict[int, int] = {}
        self._boxes: Set[int] = set()
        self._events: Deque[Event] = collections.deque()
        self._bytes = 0
        self._dropped: Counter[int] = collections.Counter()
        self._is_lost = False

    def _buffer(self, event: Event) -> None:
        self._events.append(event)
        self._bytes += len(event.data) + EVENT
        while self._bytes > KEPT and len(self._events) > 1:
            dropped = self._pop()
            self._dropped[dropped.box] += 1 + dropped.lost

    def _pop(self) -> Event:
        event = self._events.popleft()
        self._bytes -= len(event.data) + EVENT
        return event

    def _next_event(self) -> Event:
        event = self._pop()
        event.lost += self._dropped.pop(event.box, 0)
        self.versions[event.box] = event.version
        return event

    def _remove(self, box: int) -> None:
        self._boxes.discard(box)
        self._events = collections.deque(event for event in self._events if event.box != box)
        self._bytes = sum(len(event.data) + EVENT for event in self._events)


class Watch(_Watch):
    """Iterates over new messages: pairs (version, data) with a .box.

    .versions: by mailbox, the version of the last message that was returned; before the first one, the version
    at which the watch starts. The loop waits forever, regardless of the connection's timeout. Ctrl-C ends the
    loop and keeps the connection. The loop may use the connection, including for other watches: events that
    arrive meanwhile are buffered. If the buffered events exceed KEPT bytes, the oldest are dropped. A slow
    reader is told how many messages it missed, in .lost of the next event of the mailbox.
    """

    def __init__(self, mailboxes: Mailboxes) -> None:
        super().__init__()
        self._mailboxes = mailboxes

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        mailboxes = self._mailboxes
        mailboxes._buffer_events()
        while not self._events:
            if self._is_lost:
                raise ConnectionError("the connection of this watch is closed")
            if not self._boxes:
                raise StopIteration
            mailboxes._require_usable()
            if mailboxes._received:
                with mailboxes._closing():
                    mailboxes._handle_unsolicited()
            mailboxes._ready(READ, None)  # an interrupt is harmless here: nothing is received
            with mailboxes._closing():
                mailboxes._receive()
                mailboxes._buffer_events()
        return self._next_event()


def _line(verb: str, *words_or_numbers: Box, **options: Any) -> bytes:
    """The first line of a request, without options that are None. Rejects words that are invalid in it."""
    words = verb.split() + [_word(word) for word in words_or_numbers]
    words += ["%s=%s" % pair for pair in options.items() if pair[1] is not None]
    for word in words:
        if not re.fullmatch("[!-~]+", word):
            raise ValueError("%r is not one word of printable ASCII" % word)
    return " ".join(words).encode() + b"\n"


def _word(box: Box) -> str:
    """The word of a mailbox, or of another number, in a request. Rejects names that would be other words."""
    if isinstance(box, str):
        if not MAILBOX.fullmatch(box):
            raise ValueError("%r is not the number or the name of a mailbox" % box)
        return box
    return "%d" % box


def _known_number(box: Box) -> Optional[int]:
    """The number of a mailbox. None: this is a name."""
    return (int(box) if box.isdecimal() else None) if isinstance(box, str) else box


def _number_of(statistics: bytes) -> int:
    """The number of a mailbox, from its statistics."""
    match = re.match(rb"mailbox (\d+)\r?\n", statistics)
    if not match:
        raise ConnectionError("the server answered statistics without the number of the mailbox")
    return int(match.group(1))


def _name_request(box: Box, name: Optional[str]) -> bytes:
    return _line("name %s" % _word(box), _word(name)) if name is not None else _line("name %s -" % _word(box))


def _name(fields: Fields) -> Optional[str]:
    name: Optional[str] = fields.get("name")
    return None if name == "-" else name


def _names(statistics: Iterable[Fields]) -> Dict[int, str]:
    return {line["box"]: line["name"] for line in statistics}


def _by_number(boxes: Iterable[Box], numbers: Iterable[int], after: After) -> After:
    """after= with the numbers of the mailboxes, if it has a version for each of them."""
    if not isinstance(after, Mapping):
        return after
    return {number: after[box if box in after else number] for box, number in zip(boxes, numbers)}


def _list(boxes: Iterable[Box]) -> str:
    if not boxes:
        raise ValueError("a mailbox is missing")
    return ",".join(_word(box) for box in boxes)


def _body(data: Data) -> bytes:
    return data.encode() if isinstance(data, str) else bytes(memoryview(data))


def _write_request(box: Box, data: Data, if_version: Optional[int], off: Optional[int],
                   wait: Optional[float]) -> bytes:
    body = _body(data)
    return _line("w", box, len(body), off=off, wait=_seconds(wait), **{"if": if_version}) + body + b"\n"


def _put_request(box: Box, data: Data, drop: bool, wait: Optional[float]) -> bytes:
    body = _body(data)
    return _line("put", box, len(body), full="drop" if drop else None, wait=_seconds(wait)) + body + b"\n"


def _take_request(box: Box, wait: Optional[float], ttl: Optional[str]) -> bytes:
    return _line("take", box, ttl=ttl, wait=_seconds(wait))


def _watch_requests(boxes: Tuple[int, ...], after: After) -> Iterator[Tuple[Tuple[int, ...], bytes]]:
    """The requests of a watch, each with its mailboxes: one for each version of after=."""
    if not isinstance(after, Mapping):
        yield boxes, _line("watch " + _list(boxes), after=after)
        return
    for version in sorted({after[box] for box in boxes}):
        group = tuple(box for box in boxes if after[box] == version)
        yield group, _line("watch " + _list(group), after=version)


def _lock_request(boxes: Iterable[Box], shared: bool, ttl: Optional[float], wait: Optional[float]) -> bytes:
    return _line("lock " + _list(boxes) + " r" * shared, wait=_seconds(wait), ttl=_seconds(ttl))


def _stat_request(topic: Optional[Box], start: Optional[int] = None) -> bytes:
    words = [] if topic is None else [topic] if topic in STATS else ["box", topic]
    return _line("stat", *words, **{"from": start})


def _message(fields: Fields, data: bytes) -> Message:
    return Message(data, fields["v"], fields["n"], fields.get("lost", 0), fields.get("tries", 0))


def _statistics_of(topic: Optional[Box], text: str) -> Any:
    """The result of stat."""
    lines = [line.partition(" ")[::2] for line in text.splitlines()]
    if topic == "names":
        return [{STATS[topic]: int(number), "name": name} for number, name in lines]
    if isinstance(topic, str) and topic in STATS:
        return [dict(_statistics(rest), **{STATS[topic]: int(number)}) for number, rest in lines]
    statistics: Fields = {name: None if value == "-" else _value(value) for name, value in lines if name != "lock"}
    if topic is not None:
        statistics["lock"] = [_statistics(rest) for name, rest in lines if name == "lock"]
    return statistics


def _seconds(wait: Optional[float]) -> Optional[str]:
    """Formats seconds for the wire: plain decimals, never 1e-05; infinity is inf."""
    return None if wait is None else ("%.6f" % wait).rstrip("0").rstrip(".")


def _pairs(words: Iterable[str]) -> Fields:
    return {key: _value(value) for key, _, value in (word.partition("=") for word in words)}


def _value(word: str) -> Union[int, str]:
    return int(word) if word.isdecimal() else word


def _statistics(pairs: str) -> Fields:
    """The statistics of a connection or lock. `-` becomes None, or an empty list."""
    statistics = _pairs(pairs.split())
    for key, value in statistics.items():
        if key in ("locks", "watches"):
            statistics[key] = [int(box) for box in str(value).split(",") if box != "-"]
        elif value == "-":
            statistics[key] = None
        elif key == "name":
            statistics[key] = str(value)
        elif key.endswith("_seconds"):
            statistics[key] = float(value)
    return statistics


# The command line. It prints messages, the help, and otherwise lines of `name value`.

TAKES = {"read": ("wait", "off", "len", "after"), "write": ("wait", "off", "if"), "put": ("wait", "drop"),
         "take": ("wait",), "watch": ("after",)}  # the options of a command
ALIASES = {"r": "read", "w": "write"}
COMMANDS = ("read BOX, write BOX [TEXT], put BOX [TEXT], take BOX, watch BOX[,BOX..], "
            "name BOX [NAME], stat [BOX|conns|locks|names], ping, help, hello [NAME], quit")
PROMPT_HELP = b"""\
read BOX                prints the newest message of a mailbox; r for short
write BOX [TEXT]        replaces all messages by this one, or by the next line; w for short
put BOX [TEXT]          adds a message
take BOX                removes the oldest message and prints it; waits for one
watch BOX[,BOX..]       prints each new message, until Ctrl-C
name BOX [NAME]         gives a mailbox a name, which may stand in the place of its number; - removes it
stat [BOX|TOPIC]        prints counters of the server or of a mailbox; TOPIC is conns, locks or names
hello [NAME]            names this connection and describes the server
ping                    checks that the server answers
quit                    leaves; q for short, or Ctrl-D
Ctrl-C cancels the running command.
"""
LOCAL, TRY_AGAIN = 74, 75  # exit codes, as in sysexits.h


class _StreamError(Exception):
    """A standard stream failed. No text: the reader of standard output has gone, which is no failure."""


class _Printed(Mailboxes):
    """A connection whose answers are printed. Ctrl-C cancels a request, and so does the end of the reader of
    standard output.

    A request is cancelled by the end of the sending half of the connection. The server answers it soon after, a
    waiting take at once: so it is known whether a message was taken. A second Ctrl-C does not wait for that.
    """

    reader_left = cancelled = False

    @contextlib.contextmanager
    def cancelled_by_ctrl_c(self) -> Iterator[None]:
        """Within this, Ctrl-C cancels the request and raises no exception, so that no answer is lost."""

        def cancel(*_: Any) -> None:
            if self.cancelled:
                raise KeyboardInterrupt
            self.cancelled = True
            with contextlib.suppress(OSError):  # the connection may be lost
                self._sock.shutdown(socket.SHUT_WR)

        is_main = threading.current_thread() is threading.main_thread()
        if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return
        signal.signal(signal.SIGINT, cancel)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _ask(self, shape: str, request: bytes, number: type = int) -> Tuple[Fields, bytes]:
        with self.cancelled_by_ctrl_c():
            return super()._ask(shape, request, number)

    def _receive(self) -> None:
        if not self.reader_left and self._reader_leaves_first():
            self.reader_left = True
            self._sock.shutdown(socket.SHUT_WR)
        super()._receive()

    def _ready(self, directions: int, timeout: Optional[float]) -> int:
        if directions == READ and self._reader_leaves_first():
            raise _StreamError
        return super()._ready(directions, timeout)

    def _reader_leaves_first(self) -> bool:
        """Waits for an answer. Returns True if the reader of standard output leaves before it."""
        return _poll((self._sock, READ), (sys.stdout, 0))[1]

    def await_output(self) -> bool:
        """Waits until standard output can be written. Returns False if it has no reader."""
        return not _poll((sys.stdout, WRITE), (sys.stdout, 0))[1]

    def reconnect(self) -> None:
        super().reconnect()
        self.reader_left = self.cancelled = False

    def packet(self) -> int:
        """The number of bytes of data that the server accepts in a request."""
        return int(self.hello()["packet"])


def _poll(*sources: Tuple[Any, int]) -> List[bool]:
    """Waits until a file is ready for its events, or has failed. Returns for each file whether it is so."""
    if not hasattr(select, "poll"):
        return [True] + [False] * (len(sources) - 1)
    waiting = select.poll()
    kinds = {READ: select.POLLIN, WRITE: select.POLLOUT, 0: 0}
    wanted: Dict[int, int] = collections.defaultdict(int)
    for file, events in sources:
        wanted[file.fileno()] |= kinds[events]
    for descriptor, bits in wanted.items():
        waiting.register(descriptor, bits)
    ready = dict(waiting.poll())
    failed = select.POLLERR | select.POLLHUP | select.POLLNVAL
    return [bool(ready.get(file.fileno(), 0) & (kinds[events] or failed)) for file, events in sources]


def main(argv: List[str]) -> int:
    """Runs the command line. Returns the exit code."""
    try:
        _require("stdout", os.O_RDONLY)
        _require("stderr", os.O_RDONLY)
        names = ["help", "host=", "unix=", "wait=", "off=", "len=", "if=", "after=", "drop"]
        pairs, words = getopt.gnu_getopt(argv, "h", names)
        options = {key.lstrip("-"): value for key, value in pairs}
        if "h" in options or "help" in options:
            _print([(__doc__ or "").encode()], False)
            return 0
        unix, host = options.pop("unix", None), options.pop("host", "127.0.0.1")
        if unix is None and not words:
            raise ValueError("PORT is missing (see --help)")
        port: Optional[int] = _number(words.pop(0)) if unix is None else None
        if options and not words:
            raise ValueError("--%s needs a command" % list(options)[0])

        def open_socket() -> socket.socket:
            try:
                return _open(port, host, unix, None)
            except OSError as error:
                place, why = unix or "%s:%s" % (host, port), error.strerror or error
                raise ConnectionError("cannot connect to %s: %s" % (place, why)) from None

        if not words:
            _require("stdin", os.O_WRONLY)
            with _Printed.open(open_socket) as mailboxes:
                return _prompt(mailboxes)
        with _Printed.open(open_socket) as mailboxes:
            whole_lines = sys.stdout.isatty() or words[0] == "watch"
            _execute(mailboxes, words, options, lambda: _standard_input(mailboxes), whole_lines)
            return 0
    except _StreamError as error:
        _print_error(error)
        return LOCAL if error.args else 0
    except (DipcError, OSError, ValueError, getopt.GetoptError) as error:
        _print_error(error)
        if isinstance(error, Refused) and error.code in ("busy", "drain"):
            return TRY_AGAIN
        return 1 if isinstance(error, NotDone) else 3 if isinstance(error, OSError) else 2
    except KeyboardInterrupt:
        _print_note("")
        return 130


def _require(name: str, unusable: int) -> None:
    """Fails if a standard stream is closed, or only open in the other direction."""
    stream, flags = getattr(sys, name), cast(Optional[int], None)
    with contextlib.suppress(ImportError, OSError, ValueError):  # not a file, or a system without fcntl
        import fcntl
        flags = fcntl.fcntl(stream.fileno(), fcntl.F_GETFL) if stream else None
    if stream is None or flags is not None and flags & (os.O_WRONLY | os.O_RDWR) == unusable:
        raise _StreamError("%s is not open" % name)


def _standard_input(mailboxes: _Printed) -> bytes:
    """Reads all of standard input, but not more than the server accepts: it may be endless."""
    _require("stdin", os.O_WRONLY)
    packet = mailboxes.packet()
    try:
        data = sys.stdin.buffer.read(packet + 1)
    except OSError as error:
        raise _StreamError("stdin: %s" % (error.strerror or error)) from None
    if len(data) > packet:
        raise _too_large(packet)
    return data


def _too_large(packet: int) -> Refused:
    text = "message too large; the server's PACKET_KB allows %d bytes" % packet
    return Refused("size", {"max": packet}, text)


def _read_line(mailboxes: _Printed) -> str:
    """Reads a line of a pipe. Discards a line that is longer than any command that the server accepts."""
    line = sys.stdin.buffer.readline(LONGEST_LINE)
    if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
        packet = mailboxes.packet()
        line += sys.stdin.buffer.readline(packet + 1)
        if len(line) == LONGEST_LINE + packet + 1 and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = sys.stdin.buffer.readline(LONGEST_LINE)
            raise _too_large(packet)
    if not line:
        raise EOFError
    line = line[:-1] if line.endswith(b"\n") else line
    return os.fsdecode(line[:-1] if line.endswith(b"\r") else line)


def _prompt(mailboxes: _Printed) -> int:
    """Runs commands line by line until quit or the end of input. A failed command does not end the prompt."""
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  gives input() a line editor
    # With os.fsencode, this keeps bytes unchanged.
    cast(io.TextIOWrapper, sys.stdin).reconfigure(errors="surrogateescape")

    def ask(prompt: str) -> str:
        return input(prompt) if is_terminal else _read_line(mailboxes)

    with contextlib.suppress(EOFError):
        while True:
            words: List[str] = []
            try:
                words = ask("dipc> ").split(None, 2)  # the command, the box, and the text with all its blanks
                if words[:1] in (["q"], ["quit"]):
                    return 0
                if words == ["help"]:
                    _print([PROMPT_HELP], True)
                elif words:
                    _execute(mailboxes, words, {}, lambda: os.fsencode(ask("text> ")), True)
            except (DipcError, ValueError) as error:
                _print_error(error)
            except OSError as error:
                if not is_terminal:
                    raise
                _print_note("dipc: %s; it is not known whether the command was done" % error)
            except KeyboardInterrupt:
                if not is_terminal or not words:
                    raise
                if not mailboxes.closed and not mailboxes.cancelled:
                    mailboxes.unwatch()  # Ctrl-C has ended a watch
                _print_note("\ncancelled")
            if mailboxes.cancelled or is_terminal and mailboxes.closed:
                mailboxes.reconnect()
            if mailboxes.closed:
                raise ConnectionError("the server closed the connection")
    if is_terminal:
        print()
    return 0


def _execute(mailboxes: _Printed, words: List[str], options: Dict[str, str], text: Callable[[], bytes],
             whole_lines: bool) -> None:
    """Runs one command and prints its output."""
    command = ALIASES.get(words[0], words[0])
    is_take, is_message = command == "take", command in ("read", "take")
    without_reader = _StreamError(*["nothing was taken: stdout has no reader"] if is_take else [])
    if is_message and not mailboxes.await_output():
        raise without_reader
    try:
        with mailboxes.cancelled_by_ctrl_c() if is_message else contextlib.ExitStack():
            _print(_run(mailboxes, words, options, text), whole_lines, is_take)
    except (DipcError, OSError):
        if is_message and mailboxes.reader_left:
            raise without_reader from None
        if mailboxes.cancelled:
            raise KeyboardInterrupt from None
        raise


def _run(mailboxes: Mailboxes, words: List[str], options: Dict[str, str],
         text: Callable[[], bytes]) -> Iterable[bytes]:
    """Runs one command. Returns its output in pieces. text() reads the data of a write or put without any."""
    command, args = ALIASES.get(words[0], words[0]), words[1:]
    for option in options:
        if option not in TAKES.get(command, ()):
            raise ValueError("%s has no option --%s" % (command, option))
    given = {option: _number(value, float if option == "wait" else int) for option, value in options.items()
             if option != "drop"}
    if command in ("write", "put") and args:
        box, if_version = _box(args[0]), given.pop("if", None)
        data = os.fsencode(" ".join(args[1:])) if args[1:] else text()
        if command == "write":
            return [b"version %d\n" % mailboxes.write(box, data, if_version, **given)]
        put = mailboxes.put(box, data, "drop" in options, **given)
        return [b"version %d\ncount %d\n" % (put, put.count)]
    if command in ("read", "take") and len(args) == 1:
        return [getattr(mailboxes, command)(_box(args[0]), **given)]
    if command == "watch" and len(args) == 1:
        boxes = list(map(_box, args[0].split(",")))
        events = mailboxes.follow(*boxes, note=lambda text: _print_note("dipc: " + text), **given)
        return _watch_output(events, len(boxes) > 1)
    if command == "hello" and len(args) < 2:
        return [_lines(mailboxes.hello(*args))]
    if command == "name" and len(args) in (1, 2):
        number = mailboxes.number(_box(args[0]))
        if args[1:]:
            mailboxes.set_name(number, None if args[1] == "-" else args[1])
        return [b"mailbox %d\nname %s\n" % (number, (mailboxes.name(number) or "-").encode())]
    if command == "stat" and len(args) < 2:
        topic = args[0] if args and args[0] in STATS else _box(args[0]) if args else None
        return [mailboxes._stat(topic).encode()]
    if command == "help" and not args:
        return [mailboxes.help().encode()]
    if command == "ping" and not args:
        mailboxes.ping()
        return [b"ok\n"]
    raise ValueError("the commands are: " + COMMANDS)


def _watch_output(events: Iterable[Event], with_box: bool) -> Iterator[bytes]:
    """The output of a watch. With several mailboxes, each message begins with the number of its mailbox."""
    for event in events:
        if event.lost:
            what, verb = ("message", "is") if event.lost == 1 else ("messages", "are")
            _print_note("dipc: %d %s of mailbox %d %s lost" % (event.lost, what, event.box, verb))
        yield (b"%d: " % event.box if with_box else b"") + event.data


def _box(word: str) -> Box:
    """A mailbox of a command line."""
    number = _known_number(_word(word))
    return word if number is None else number


def _number(word: str, kind: Callable[[str], Any] = int) -> Any:
    try:
        return kind(word)
    except ValueError:
        raise ValueError("%r is not a number" % word) from None


def _lines(fields: Fields) -> bytes:
    return "".join("%s %s\n" % pair for pair in fields.items()).encode()


def _print(pieces: Iterable[bytes], whole_lines: bool, is_taken: bool = False) -> None:
    for piece in pieces:
        try:
            sys.stdout.buffer.write(piece + b"\n" if whole_lines and not piece.endswith(b"\n") else piece)
            sys.stdout.buffer.flush()
        except OSError as error:
            # The interpreter must not flush again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if is_taken:
                raise _StreamError("the message was removed but could not be written to stdout: %s"
                                   % error.strerror) from None
            if isinstance(error, BrokenPipeError):
                raise _StreamError from None
            raise _StreamError("stdout cannot be written: %s" % error.strerror) from None


def _print_error(error: Exception) -> None:
    if str(error) or not isinstance(error, _StreamError):
        _print_note("dipc: %s" % error)


def _print_note(text: str) -> None:
    """Prints a line to stderr. If stderr is closed, print would use stdout, and the line would be data."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(text, file=sys.stderr, flush=True)


def run() -> None:
    """The command dipc-py."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
