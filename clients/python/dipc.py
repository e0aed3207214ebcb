#!/usr/bin/env python3
"""dipc.py: a client of dipc, the server of shared-memory mailboxes. Needs Python 3.8 and nothing else.

As a module (one connection is for one thread at a time):

    import dipc
    with dipc.connect(5000) as m:
        version = m.write(3, b"any bytes, or text")
        message = m.read(3)             # bytes that know their .version and .count
        m.read(3, after=version)        # waits for the next one; .lost tells how many were missed
        m.put(3, "one more")            # at the end of the list; drop=True: the oldest makes room
        m.take(3, wait=5)               # the oldest, for nobody else; raises Empty after 5 seconds
        with m.lock(3, 4):              # nobody else is in 3 or 4; shared=True: readers are
            m.write(4, m.read(3))
        for version, data in m.watch(3):        # everything from now on, for ever
            print(version, data)

From the shell, one command:

    python3 dipc.py 5000 write 3 hello world        prints "version 1"
    python3 dipc.py 5000 write 3 < picture.png      without text: standard input, whole
    python3 dipc.py 5000 read 3 > picture.png       exactly the bytes of the message
    python3 dipc.py --unix PATH read 3              with --unix there is no PORT

    python3 dipc.py 5000 watch 3                    a line for each message, until Ctrl-C

    commands  read|r BOX, write|w BOX [TEXT..], put BOX [TEXT..], take BOX, watch BOX[,BOX..],
              stat [BOX|conns|locks], ping, help, hello [NAME]
    options   --host H   127.0.0.1 unless given
              --unix P   the path of the server's Unix socket
              --wait S   seconds to wait, or inf                        (read, write, put, take)
              --off N    from byte N on; a write patches there          (read, write)
              --len N    at most N bytes                                (read)
              --if V     only when the mailbox is at version V          (write)
              --after V  the next message after version V               (read, watch)
              --drop     the oldest messages make room                  (put)
              --         what follows is no option: write 3 -- --text
    exit code 0 done, 1 not done (conflict, timeout, empty, full), 2 refused or wrong usage, 3 no connection

Without a command there is a prompt for the same commands and quit; write and put without text ask for it, and Ctrl-C
ends a watch.
"""

import collections
import contextlib
import getopt
import os
import re
import selectors
import socket
import sys
from typing import Any, Callable, Deque, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple, Union

Fields = Dict[str, Any]  # the k=v pairs of an answer; a value of digits only is an int
ANSWER = re.compile(r"(OK|(?:DATA|EVENT) \d{1,10}|NO [a-z]+|ERR [a-z]+)((?: [\w-]+=\S*)*)(?: : ?(.*?))?(\r?\n)",
                    re.ASCII)
LONGEST_LINE = 65536  # octets of an answer's first line; whoever sends more is not dipc
KEPT = 64 << 20  # octets of events that a watch keeps for its loop, counting each as EVENT more
EVENT = 256
STATS = {"conns": "connection", "locks": "box"}  # what the number is that each line of such a stat begins with
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
Poll = getattr(selectors, "PollSelector", selectors.SelectSelector)  # unlike select, it takes any descriptor
CLOSING = ("frame", "auth", "busy", "drain", "internal")  # after an ERR of these codes the server hangs up


class DipcError(Exception):
    """An answer that is not a yes: .code says why in a word, .fields has its k=v pairs, .text is for people."""

    def __init__(self, code: str, fields: Optional[Fields] = None, text: str = "") -> None:
        words = [code] + ["%s=%s" % pair for pair in (fields or {}).items()]
        super().__init__(" ".join(words) + (text and ": " + text))
        self.code, self.fields, self.text = code, fields or {}, text


class Refused(DipcError):
    """ERR: the request was wrong. .code `box` and `size` tell the limit in .fields["max"]."""


class LockLost(Refused):
    """The lease ran out, so the lock has ended and others may have been in; or it was never yours."""


class Deadlock(Refused):
    """To wait here would be to wait for oneself, through others. Unlock, and begin again; the locks are still held."""


class Denied(Refused):
    """Under one's own shared lock nothing can be written, and no mailbox can be locked twice."""


class NotDone(DipcError):
    """NO: the request was right, but the mailbox was not ready for it. Nothing has changed."""


class Timeout(NotDone, TimeoutError):
    """The wait ended before the mailbox was free. The connection is as good as before."""


class Conflict(NotDone):
    """The mailbox is not at the version asked for, but at .version."""

    @property
    def version(self) -> int:
        return self.fields["v"]


class Empty(NotDone):
    """There was nothing to take, nor did anything come in time."""


class Full(NotDone):
    """There was no room to put it, nor was any made in time."""


class Locked(NotDone):
    """Somebody is in, and the lock was not to wait."""


class Multi(NotDone):
    """The mailbox holds several messages, so there is none to patch."""


REASONS = {"timeout": Timeout, "conflict": Conflict, "empty": Empty, "full": Full, "locked": Locked, "multi": Multi}
REFUSALS = {"lease": LockLost, "deadlock": Deadlock, "denied": Denied}  # any other code is a plain Refused


class Message(bytes):
    """What was read or taken: bytes, with their .version and the .count of messages in the mailbox now.

    A .count of 0 from read: it is empty. .lost: how many messages between after= and this one are gone.
    """

    version: int
    count: int
    lost: int

    def __new__(cls, data: bytes = b"", version: int = 0, count: int = 0, lost: int = 0) -> "Message":
        message = super().__new__(cls, data)
        message.version, message.count, message.lost = version, count, lost
        return message


class Put(int):
    """The version that a put made, with the .count of messages in the mailbox since."""

    count: int

    def __new__(cls, version: int, count: int = 0) -> "Put":
        put = super().__new__(cls, version)
        put.count = count
        return put


class Event(NamedTuple("Event", [("version", int), ("data", bytes)])):
    """A message that a watch has brought: the pair (version, data), with its .box. So many before it are .lost."""

    box: int
    lost: int

    def __new__(cls, version: int, data: bytes, box: int = 0, lost: int = 0) -> "Event":
        event = super().__new__(cls, version, data)
        event.box, event.lost = box, lost
        return event


def connect(port: Optional[int] = None, host: str = "127.0.0.1", unix: Optional[str] = None,
            timeout: Optional[float] = None, name: Optional[str] = None) -> "Mailboxes":
    """Connects to a server by its TCP port or by the path of its Unix socket; raises OSError when nobody is there.

    timeout: the longest silence in seconds, while connecting and in each request; let it exceed every wait. None: no
    limit. name: what `stat` shows of this connection.
    """
    if (port is None) == (unix is None):
        raise ValueError("give either a port or a unix path")
    if port is not None and not 0 < port < 65536:
        raise ValueError("port %d is not within 1..65535" % port)
    with contextlib.ExitStack() as on_error:
        if port is not None:
            sock = on_error.enter_context(socket.create_connection((host, port), timeout))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            sock = on_error.enter_context(socket.socket(socket.AF_UNIX))
            sock.settimeout(timeout)
            sock.connect(unix)
        mailboxes = on_error.enter_context(Mailboxes(sock))
        if name is not None:
            mailboxes.hello(name)
        on_error.pop_all()
    return mailboxes


class Mailboxes:
    """A connection to the mailboxes of one server; closes itself at the end of a `with`.

    Every method raises Refused when the server refuses, ConnectionError when it is gone or does not speak dipc, and
    TimeoutError when it was silent too long. After these last two the connection is .closed for good: an answer still
    on its way would be taken for that of the next request.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._received, self.closed = sock, bytearray(), False
        self._locks: Dict[int, Lock] = {}  # by mailbox
        self._watches: Dict[int, Watch] = {}

    def __enter__(self) -> "Mailboxes":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def read(self, box: int, off: Optional[int] = None, len: Optional[int] = None,
             wait: Optional[float] = None, after: Optional[int] = None) -> Message:
        """The newest message, or `len` bytes of it from byte `off` on; an empty mailbox gives b"" with .count 0.

        after: the oldest message newer than this version; waits for one. wait: seconds; 0 tries once, float("inf")
        waits for ever, None is the server's default. Raises Timeout.
        """
        fields, data = self._ask("DATA v n", _line("r", box, after=after, off=off, len=len, wait=_seconds(wait)))
        return Message(data, fields["v"], fields["n"], fields.get("lost", 0))

    def write(self, box: int, data: Union[bytes, str], if_version: Optional[int] = None,
              off: Optional[int] = None, wait: Optional[float] = None) -> int:
        """Makes `data` (bytes-like, or str as UTF-8) the one message of the mailbox; returns the new version.

        if_version: only when the mailbox is at this version, otherwise raises Conflict. off: patches the message in
        place from this byte on; raises Multi when there are several. wait: as for read. Raises Timeout.
        """
        body = _body(data)
        head = _line("w", box, len(body), off=off, wait=_seconds(wait), **{"if": if_version})
        return self._ask("OK v", head + body + b"\n")[0]["v"]

    def put(self, box: int, data: Union[bytes, str], drop: bool = False, wait: Optional[float] = None) -> Put:
        """Adds `data` at the end of the mailbox's list; returns the new version, which knows the .count.

        When there is no room it waits for it, and raises Full when none was made, or Timeout when it never came to be
        its turn; with drop the oldest messages make room. wait: as for read.
        """
        body = _body(data)
        head = _line("put", box, len(body), full="drop" if drop else None, wait=_seconds(wait))
        fields = self._ask("OK v n", head + body + b"\n")[0]
        return Put(fields["v"], fields["n"])

    def take(self, box: int, wait: Optional[float] = None) -> Message:
        """Removes the oldest message of the mailbox and returns it; waits for one.

        Raises Empty when none came, or Timeout when it never came to be its turn. wait: as for read.
        """
        fields, data = self._ask("DATA v n", _line("take", box, wait=_seconds(wait)))
        return Message(data, fields["v"], fields["n"])

    def lock(self, *boxes: int, shared: bool = False, ttl: Optional[float] = None,
             wait: Optional[float] = None) -> "Lock":
        """Locks these mailboxes, all or none, until the end of a `with`, an unlock, or the end of this connection.

        Nobody else is in them meanwhile, or if shared, nobody writes. ttl: seconds of silence on this connection after
        which the locks end by themselves; None is the server's default. wait: as for read. Raises Timeout, or Locked
        when wait is 0; Deadlock; Denied.
        """
        options = {"wait": _seconds(wait), "ttl": _seconds(ttl)}
        fields = self._ask("OK grant", _line("lock " + _list(boxes) + " r" * shared, **options))[0]
        lock = Lock(self, boxes, fields["grant"])
        self._locks.update(dict.fromkeys(boxes, lock))
        return lock

    def unlock(self, *boxes: int, grant: Optional[int] = None) -> None:
        """Unlocks these mailboxes, all or none; without any, all that this connection has locked.

        grant: only when they were locked with this number. Raises LockLost when they are not, or no longer, locked.
        """
        lost = None
        try:
            self._ask("OK", _line("unlock " + _list(boxes or "*"), grant=grant))
        except LockLost as error:
            if boxes:
                raise
            lost = error  # of one; the others are unlocked
        for box in boxes or list(self._locks):
            lock = self._locks.get(box)
            if lock and grant in (None, lock.grant):
                lock._end(box)
        if lost:
            raise lost

    def watch(self, *boxes: int, after: Optional[int] = None) -> "Watch":
        """Begins to watch these mailboxes at once; the result brings each new message, for ever.

        after: begins behind this version, with what is still there; after=0 brings all that is there first. A mailbox
        is in one watch at a time: it leaves an earlier one.
        """
        fields = self._ask("OK v", _line("watch " + _list(boxes), after=after), str if boxes[1:] else int)[0]
        versions = [int(version) for version in str(fields["v"]).split(",")]
        for box in boxes:
            self._leave(box)
        watch = Watch(self, dict(zip(boxes, versions)))
        self._watches.update(dict.fromkeys(boxes, watch))
        return watch

    def unwatch(self, *boxes: int) -> None:
        """Ends to watch these mailboxes; without any, all. A loop over a watch without mailboxes ends."""
        self._ask("OK", _line("unwatch " + _list(boxes or "*")))
        for box in boxes or list(self._watches):
            self._leave(box)

    def ping(self) -> None:
        """Returns when the server has answered."""
        self._ask("OK", _line("ping"))

    def hello(self, name: Optional[str] = None, token: Optional[str] = None) -> Fields:
        """Introduces this connection; returns what the server says of itself: proto, server, boxes, size, packet, .."""
        return self._ask("OK", _line("hello", name=name, token=token))[0]

    def stat(self, topic: Union[int, str, None] = None) -> Any:
        """The server's figures by name; those of a mailbox, given its number, with a list of its locks under "lock".

        "conns" gives a list with a dict of figures for each connection, "locks" one for each lock and holder.
        """
        lines = [line.partition(" ")[::2] for line in self._stat(topic).splitlines()]
        if topic in STATS:
            return [dict(_figures(rest), **{STATS[topic]: int(number)}) for number, rest in lines]
        figures: Fields = {} if topic is None else {"lock": [_figures(rest) for name, rest in lines if name == "lock"]}
        return {**{name: _value(value) for name, value in lines if name != "lock"}, **figures}

    def _stat(self, topic: Union[int, str, None]) -> str:
        words = "" if topic is None else " " + topic if topic in STATS else " box %d" % topic
        return self._ask("DATA", _line("stat" + words))[1].decode("utf-8", "replace")

    def help(self) -> str:
        """The server's own page on its protocol."""
        return self._ask("DATA", _line("help"))[1].decode("utf-8", "replace")

    def close(self) -> None:
        """Takes leave and closes; does nothing the second time."""
        if not self.closed:
            with contextlib.suppress(OSError):  # it may be gone already
                self._sock.sendall(_line("q"))
            self._drop()

    def _ask(self, shape: str, request: bytes, number: type = int) -> Tuple[Fields, bytes]:
        """Sends a request; returns the fields and data of its answer, which has this shape: kind, numeric fields."""
        if self.closed:
            raise ConnectionError("the connection is closed")
        with self._closing():
            with contextlib.suppress(ConnectionError):  # a server that refuses and hangs up has said why: read it
                self._send(request)
            kind, code, fields, text, data = self._answer()
            due, *numbers = shape.split()
            if kind in ("OK", "DATA") and (kind != due or any(type(fields.get(key)) is not number for key in numbers)):
                raise ConnectionError("the server answered %s where %s was due" % (kind, shape))
        if kind == "NO":
            raise REASONS.get(code, NotDone)(code, fields)
        if kind == "ERR":
            if code in CLOSING:
                self._drop()
            raise REFUSALS.get(code, Refused)(code, fields, text)
        return fields, data

    @contextlib.contextmanager
    def _closing(self) -> Iterator[None]:
        """Whatever ends this early closes the connection; an interrupt, too, leaves an answer on its way."""
        try:
            yield
        except socket.timeout:
            self._drop()
            raise TimeoutError("the server was silent for too long; the connection is closed") from None
        except BaseException:
            self._drop()
            raise

    def _send(self, request: bytes) -> None:
        """A server that has events to tell does not listen; so whoever watches reads while he sends."""
        if not self._watches:
            return self._sock.sendall(request)
        timeout, rest = self._sock.gettimeout(), memoryview(request)
        self._sock.setblocking(False)
        try:
            while rest:
                ready = self._ready(READ | WRITE, timeout)
                if ready & READ:
                    self._receive()
                    self._sift()
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

    def _answer(self) -> Tuple[str, str, Fields, str, bytes]:
        """The next answer: its kind, the word after it, its fields, text and data. Events before it are kept."""
        while True:
            self._sift()
            answer = self._cut()
            if answer:
                return answer
            self._receive()

    def _sift(self) -> None:
        """Keeps the events that have arrived before the next answer."""
        while self._received.startswith(b"EVENT "):
            event = self._cut()
            if not event:
                return
            fields, data = event[2], event[4]
            box, version, lost = (fields.get(key, 0) for key in ("box", "v", "lost"))
            if lost == "lock" and box in self._locks:
                self._locks.pop(box).lost = True
            elif box in self._watches:
                self._watches[box]._keep(Event(version, data, box, lost))

    def _unasked(self) -> None:
        """Without a request there is no answer, but that the server is stopping."""
        answer = None if self._received.startswith(b"EVENT ") else self._cut()
        if answer:
            raise Refused(*answer[1:4]) if answer[0] == "ERR" else ConnectionError("an answer that nobody asked for")

    def _cut(self) -> Optional[Tuple[str, str, Fields, str, bytes]]:
        """Cuts an answer or event off what was received; None when it is not there in whole."""
        end = self._received.find(b"\n") + 1
        line = bytes(self._received[:end or LONGEST_LINE])
        if not end and len(self._received) < LONGEST_LINE:
            return None
        match = ANSWER.fullmatch(line.decode("ascii", "backslashreplace"))
        if not match:
            raise ConnectionError("this is no answer of dipc: %.60r" % line)
        start, pairs, text, eol = match.groups()
        kind, _, word = start.partition(" ")
        data = b""
        if kind in ("DATA", "EVENT"):
            start, end = end, end + int(word) + len(eol)
            if len(self._received) < end:
                return None
            data = bytes(self._received[start:end - len(eol)])
            if self._received[end - len(eol):end] != eol.encode():
                raise ConnectionError("the server broke off within an answer")
        del self._received[:end]
        return kind, word, _pairs(pairs.split()), text or "", data

    def _leave(self, box: int) -> None:
        if box in self._watches:
            self._watches.pop(box)._leave(box)

    def _drop(self) -> None:
        self.closed = True
        self._sock.close()


class Lock:
    """Mailboxes that are locked; unlocks them at the end of a `with`.

    .grant: the number of this lock; later ones are higher. .boxes: those still locked. .lost: whether the server has
    said that the lease ran out; that is heard with the next answer, or in a watch. Then they are not protected any
    more, every request of this connection in them raises LockLost, and so does the end of the `with`, unless another
    exception is on its way already. unlock() in between ends that.
    """

    def __init__(self, mailboxes: Mailboxes, boxes: Iterable[int], grant: int) -> None:
        self._mailboxes, self.boxes, self.grant, self.lost = mailboxes, list(boxes), grant, False

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, exception: Any, *_: Any) -> None:
        with contextlib.suppress(*[DipcError, OSError] if exception else []):
            self.unlock()

    def unlock(self) -> None:
        """Unlocks what is still locked by this lock and by no newer one; raises LockLost when the lease ran out."""
        boxes, self.boxes = self.boxes, []
        if boxes:
            self._mailboxes.unlock(*boxes, grant=self.grant)

    def _end(self, box: int) -> None:
        del self._mailboxes._locks[box]
        self.boxes = [other for other in self.boxes if other != box]


class Watch:
    """The messages of mailboxes from .versions on, by mailbox: iterate over it, for pairs (version, data) with a .box.

    The loop waits for ever, whatever the connection's timeout; Ctrl-C leaves it and keeps the connection. Within the
    loop the connection may be used as ever, also for other watches: what arrives meanwhile is kept for the loop. Of
    more than KEPT octets the oldest go, and the next event of that mailbox counts them in its .lost.
    """

    def __init__(self, mailboxes: Mailboxes, versions: Dict[int, int]) -> None:
        self._mailboxes, self.versions, self._boxes = mailboxes, versions, set(versions)
        self._events: Deque[Event] = collections.deque()
        self._octets, self._gone = 0, collections.Counter()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        mailboxes = self._mailboxes
        mailboxes._sift()
        while not self._events:
            if not self._boxes:
                raise StopIteration
            if mailboxes.closed:
                raise ConnectionError("the connection is closed")
            if mailboxes._received:
                with mailboxes._closing():
                    mailboxes._unasked()
            mailboxes._ready(READ, None)  # an interrupt does no harm: nothing has been received yet
            with mailboxes._closing():
                mailboxes._receive()
                mailboxes._sift()
        event = self._next()
        event.lost += self._gone.pop(event.box, 0)
        return event

    def _keep(self, event: Event) -> None:
        self._events.append(event)
        self._octets += len(event.data) + EVENT
        while self._octets > KEPT and len(self._events) > 1:
            gone = self._next()
            self._gone[gone.box] += 1 + gone.lost

    def _next(self) -> Event:
        event = self._events.popleft()
        self._octets -= len(event.data) + EVENT
        return event

    def _leave(self, box: int) -> None:
        self._boxes.discard(box)
        self._events = collections.deque(event for event in self._events if event.box != box)
        self._octets = sum(len(event.data) + EVENT for event in self._events)


def _line(verb: str, *numbers: int, **options: Any) -> bytes:
    """A request's first line; an option that is None is left out. Refuses what would break out of the line."""
    words = verb.split() + ["%d" % number for number in numbers]
    words += ["%s=%s" % pair for pair in options.items() if pair[1] is not None]
    for word in words:
        if not re.fullmatch("[!-~]+", word):
            raise ValueError("%r is not one word of printable ASCII" % word)
    return " ".join(words).encode() + b"\n"


def _list(boxes: Iterable[int]) -> str:
    if not boxes:
        raise ValueError("which mailbox?")
    return boxes if boxes == "*" else ",".join("%d" % box for box in boxes)


def _body(data: Union[bytes, str]) -> bytes:
    return data.encode() if isinstance(data, str) else bytes(memoryview(data))


def _seconds(wait: Optional[float]) -> Optional[str]:
    """On the wire seconds are plain decimals, never 1e-05; infinity is inf."""
    return None if wait is None else ("%.6f" % wait).rstrip("0").rstrip(".")


def _pairs(words: Iterable[str]) -> Fields:
    return {key: _value(value) for key, _, value in (word.partition("=") for word in words)}


def _value(word: str) -> Union[int, str]:
    return int(word) if word.isdecimal() else word


def _figures(pairs: str) -> Fields:
    """The figures of a connection or lock. What there is none of is None, or an empty list."""
    figures = _pairs(pairs.split())
    for key, value in figures.items():
        if key in ("locks", "watches"):
            figures[key] = [int(box) for box in str(value).split(",") if box != "-"]
        elif value == "-":
            figures[key] = None
        elif key == "name":
            figures[key] = str(value)
        elif key.endswith("_seconds"):
            figures[key] = float(value)
    return figures


# The command line. Whatever it prints beside messages and the help is lines of `name value`.

TAKES = {"read": ("wait", "off", "len", "after"), "write": ("wait", "off", "if"), "put": ("wait", "drop"),
         "take": ("wait",), "watch": ("after",)}  # the options of a command
ALIASES = {"r": "read", "w": "write"}


def main(argv: List[str]) -> int:
    """Runs the command line; returns the exit code."""
    try:
        pairs, words = getopt.gnu_getopt(argv, "h", ["help", "host=", "unix=", "wait=", "off=", "len=", "if=", "after=",
                                                     "drop"])
        options = {key.lstrip("-"): value for key, value in pairs}
        if "h" in options or "help" in options:
            print(__doc__, end="")
            return 0
        unix, host = options.pop("unix", None), options.pop("host", "127.0.0.1")
        if unix is None and not words:
            raise ValueError("which PORT? (--help tells more)")
        port = _number(words.pop(0)) if unix is None else None
        if options and not words:
            raise ValueError("--%s needs a command" % list(options)[0])
        try:
            mailboxes = connect(port, host, unix)
        except OSError as error:
            place, why = unix or "%s:%d" % (host, port), error.strerror or error
            raise ConnectionError("cannot connect to %s: %s" % (place, why)) from None
        with mailboxes:
            if not words:
                return _prompt(mailboxes)
            whole_lines = sys.stdout.isatty() or words[0] == "watch"
            _show(_run(mailboxes, words, options, sys.stdin.buffer.read), whole_lines)
            return 0
    except (DipcError, OSError, ValueError, getopt.GetoptError) as error:
        _complain(error)
        return 1 if isinstance(error, NotDone) else 3 if isinstance(error, OSError) else 2
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130


def _prompt(mailboxes: Mailboxes) -> int:
    """Runs commands line by line until quit or the end of input; a refused one does not end it."""
    people = sys.stdin.isatty()
    if people:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  it gives input() a line editor
    sys.stdin.reconfigure(errors="surrogateescape")  # with os.fsencode: bytes come through as they are

    def ask(prompt: str) -> str:
        return input(prompt if people else "")

    with contextlib.suppress(EOFError):
        while True:
            words = ask("dipc> ").split(None, 2)  # the command, the box, and the text with all its blanks
            if words[:1] in (["q"], ["quit"]):
                return 0
            try:
                if words:
                    _show(_run(mailboxes, words, {}, lambda: os.fsencode(ask("text> "))), True)
            except (DipcError, ValueError) as error:
                _complain(error)
            except KeyboardInterrupt:
                if not people or words[0] != "watch" or mailboxes.closed:
                    raise
                print()
                mailboxes.unwatch()
            if mailboxes.closed:
                raise ConnectionError("the server closed the connection")
    if people:
        print()
    return 0


def _run(mailboxes: Mailboxes, words: List[str], options: Dict[str, str], text: Callable[[], bytes]) -> Iterable[bytes]:
    """Runs one command; returns what to show, piece by piece. text() gives the data of a write that came without."""
    command, args = ALIASES.get(words[0], words[0]), words[1:]
    for option in options:
        if option not in TAKES.get(command, ()):
            raise ValueError("--%s does not go with %s" % (option, command))
    given = {option: _number(value, float if option == "wait" else int) for option, value in options.items()
             if option != "drop"}
    if command in ("write", "put") and args:
        box, if_version = _number(args[0]), given.pop("if", None)
        data = os.fsencode(" ".join(args[1:])) if args[1:] else text()
        if command == "write":
            return [b"version %d\n" % mailboxes.write(box, data, if_version, **given)]
        put = mailboxes.put(box, data, "drop" in options, **given)
        return [b"version %d\ncount %d\n" % (put, put.count)]
    if command in ("read", "take") and len(args) == 1:
        return [getattr(mailboxes, command)(_number(args[0]), **given)]
    if command == "watch" and len(args) == 1:
        return _news(mailboxes.watch(*map(_number, args[0].split(",")), **given))
    if command == "hello" and len(args) < 2:
        return [_lines(mailboxes.hello(*args))]
    if command == "stat" and len(args) < 2:
        topic = args[0] if args and args[0] in STATS else _number(args[0]) if args else None
        return [mailboxes._stat(topic).encode()]
    if command == "help" and not args:
        return [mailboxes.help().encode()]
    if command == "ping" and not args:
        mailboxes.ping()
        return [b"ok\n"]
    raise ValueError("the commands are: read BOX, write BOX [TEXT], put BOX [TEXT], take BOX, watch BOX, "
                     "stat [BOX|conns|locks], ping, help, hello [NAME], quit")


def _news(watch: Watch) -> Iterator[bytes]:
    """What a watch shows; of several mailboxes it tells which."""
    for event in watch:
        if event.lost:
            print("dipc: %d messages of mailbox %d are gone" % (event.lost, event.box), file=sys.stderr)
        yield (b"%d: " % event.box if len(watch.versions) > 1 else b"") + event.data


def _number(word: str, kind: Callable[[str], Any] = int) -> Any:
    try:
        return kind(word)
    except ValueError:
        raise ValueError("%r is not a number" % word) from None


def _lines(fields: Fields) -> bytes:
    return "".join("%s %s\n" % pair for pair in fields.items()).encode()


def _show(pieces: Iterable[bytes], whole_lines: bool) -> None:
    try:
        for piece in pieces:
            sys.stdout.buffer.write(piece + b"\n" if whole_lines and not piece.endswith(b"\n") else piece)
            sys.stdout.buffer.flush()
    except BrokenPipeError:  # who listened has heard enough; the interpreter must not try again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(error: Exception) -> None:
    print("dipc: %s" % error, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
