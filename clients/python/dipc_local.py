"""dipc_local.py: reads mailboxes of dipc in the shared memory, without a request to the server. Linux, Python 3.8.

The process runs as the user of the server, on its machine:

    import dipc
    with dipc.local(5000) as local:
        message = local.read(3)         # bytes with a .version and a .count
        cursor = local.cursor(3, after=message.version)
        while local.wait(cursor):       # sleeps until the mailbox has a newer message
            print(local.after(cursor))
    with dipc.connect(5000, local=True) as m:
        m.read(3)                       # in the shared memory if possible, else over the connection

A read returns one whole message that the mailbox contained during the call. It stands in no queue and in no stat,
delays no other client, and works while the server is down. A mailbox with an exclusive lock is not read: Miss. The
server does not know of a local read, so a client with an expired lock is not told so.

It needs the library libdipc_local.so, which `make -C clients/c local` builds. DIPC_LOCAL_LIBRARY is its path.
Otherwise it is looked for beside this file, in ../c, and where the system has its libraries. Without it, dipc.local
raises OSError, and a connection with local=True reads over the connection: its .local is None, and its .local_error
says why.
"""

import contextlib
import ctypes
import os
import time
from typing import Any, Dict, List, NamedTuple, Optional, cast

import dipc

API = 1  # the version of the library's interface
NAME = "libdipc_local.so"
LOOK = 1.0  # seconds; the longest wait in the library: Ctrl-C is handled between two waits
NONE, AHEAD, BOX, SIZE, RETIRED, FOREIGN, SYSTEM = -1, -7, -8, -6, -4, -9, -10
MISSES = {-2: "held", -3: "busy", RETIRED: "retired", -5: "damaged"}


class Miss(dipc.DipcError):
    """The mailbox cannot be read in the shared memory now; the server may still answer. .code is the reason:

    held: a client has locked the mailbox, or a taken message may still be put back. busy: the mailbox changed during
    every try. retired: there are no mailboxes. damaged: the memory of the mailbox is damaged.
    """


class Info(NamedTuple):
    """Number of mailboxes, bytes of each, and their life: other mailboxes have another one."""

    boxes: int
    size: int
    life: int


class _Message(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("version", "count", "lost", "len", "life")]


class _Cursor(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("version", "box", "next", "placed", "place", "life")]


class _Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("boxes", "size", "life")]


class Cursor:
    """The position of a reader in the versions of a mailbox. .box, .version: that of the last message it has read."""

    def __init__(self, box: int, version: int) -> None:
        self._cursor = _Cursor(version=version, box=box)

    @property
    def box(self) -> int:
        return int(self._cursor.box)

    @property
    def version(self) -> int:
        return int(self._cursor.version)


def _load(path: str) -> Any:
    """The library at a path. Raises OSError if it is none, or one of another version."""
    library = ctypes.CDLL(path, use_errno=True)
    try:
        api = library.dipc_local_api()
    except AttributeError:
        raise OSError("%s is not %s" % (path, NAME)) from None
    if api != API:
        raise OSError("%s has interface %d instead of %d" % (path, api, API))
    handle, number, pointer = ctypes.c_void_p, ctypes.c_uint32, ctypes.POINTER
    shapes: Dict[str, List[Any]] = {
        "open": [ctypes.c_int, pointer(handle), ctypes.c_char_p, ctypes.c_int],
        "close": [None, handle],
        "mailboxes": [ctypes.c_int, handle, pointer(_Info)],
        "read": [ctypes.c_long, handle, number, ctypes.c_char_p, ctypes.c_size_t, pointer(_Message)],
        "after": [ctypes.c_long, handle, pointer(_Cursor), ctypes.c_char_p, ctypes.c_size_t, pointer(_Message)],
        "version": [ctypes.c_int, handle, number, pointer(ctypes.c_uint64)],
        "wait": [ctypes.c_int, handle, pointer(_Cursor), ctypes.c_uint, ctypes.c_int],
        "text": [ctypes.c_char_p, ctypes.c_int],
    }
    for name, (result, *arguments) in shapes.items():
        function = getattr(library, "dipc_local_" + name)
        function.restype, function.argtypes = result, arguments
    return library


_library: Any = None


def library() -> Any:
    """The compiled library, which is loaded once. Raises OSError if it is not there."""
    global _library
    if _library is None:
        given = os.environ.get("DIPC_LOCAL_LIBRARY")
        here = os.path.dirname(os.path.abspath(__file__))
        files = [os.path.join(here, NAME), os.path.join(here, os.pardir, "c", NAME)]
        found = [path for path in files if os.path.exists(path)]
        try:
            _library = _load(given or (found + [NAME])[0])
        except OSError as error:
            raise OSError("%s is needed for local reads, see DIPC_LOCAL_LIBRARY: %s" % (NAME, error)) from None
    return _library


class Local:
    """The mailboxes of one server in the shared memory. To be used by one thread at a time.

    It goes on with the mailboxes of a new server on the same port. Every method raises Miss if the shared memory
    cannot be read now, and Refused with the code "box" if there is no such mailbox.
    """

    def __init__(self, port: int, directory: Optional[str] = None) -> None:
        """Opens the mailboxes. Raises OSError if there are none, or without the library.

        directory: that of `dipc --dir`.
        """
        self._handle, self._library = ctypes.c_void_p(), library()
        base = None if directory is None else os.fsencode(directory)
        refusal = self._library.dipc_local_open(ctypes.byref(self._handle), base, port)
        if refusal:
            raise OSError("port %d: %s" % (port, self._text(refusal)))
        self._message, self._version = _Message(), ctypes.c_uint64()
        self._buffer = ctypes.create_string_buffer(4096)

    def __enter__(self) -> "Local":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Closes the shared memory. Does nothing if it is closed already."""
        self._library.dipc_local_close(self._handle)
        self._handle = ctypes.c_void_p()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # it was not opened
            self.close()

    def read(self, box: int) -> dipc.Message:
        """Returns the newest message. If the mailbox is empty, returns b"" with a .count of 0."""
        number = self._number(box)
        while True:
            buffer = self._buffer
            done = self._library.dipc_local_read(self._open(), number, buffer, len(buffer), self._message)
            if done >= 0:
                return self._result(done)
            self._make_room(done)

    def after(self, cursor: Cursor) -> Optional[dipc.Message]:
        """Returns the oldest message that is newer than the cursor, and moves the cursor to it. None: there is none.

        .lost: how many messages between the cursor and this one no longer exist. Raises Ahead if the cursor belongs to
        other, former mailboxes.
        """
        while True:
            buffer = self._buffer
            done = self._library.dipc_local_after(self._open(), cursor._cursor, buffer, len(buffer), self._message)
            if done >= 0:
                return self._result(done)
            if done == NONE:
                return None
            self._make_room(done)

    def cursor(self, box: int, after: int = 0) -> Cursor:
        """A cursor in front of the oldest message that is newer than the version `after`."""
        return Cursor(self._number(box), after)

    def version(self, box: int) -> int:
        """Returns the version of the mailbox, 0 before the first message."""
        self._check(self._library.dipc_local_version(self._open(), self._number(box), self._version))
        return int(self._version.value)

    def wait(self, *cursors: Cursor, timeout: Optional[float] = None) -> Optional[Cursor]:
        """Waits for a message that is newer than one of the cursors. Returns that cursor; None: there was none in time.

        timeout: seconds; None waits forever. The message may be gone when it is read: a waiter stands in no queue.
        Raises Ahead if a cursor belongs to other, former mailboxes.
        """
        array = (_Cursor * len(cursors))(*[cursor._cursor for cursor in cursors])
        end = float("inf") if timeout is None else time.monotonic() + timeout
        while True:
            ms = int(1000 * max(0, min(LOOK, end - time.monotonic())) + 0.999)
            done = self._library.dipc_local_wait(self._open(), array, len(cursors), ms)
            if done >= 0:
                return cursors[int(done)]
            if done != NONE:
                self._check(done)
            if time.monotonic() >= end:
                return None

    def mailboxes(self) -> Info:
        """Number, size and life of the mailboxes that are there now."""
        info = _Info()
        self._check(self._library.dipc_local_mailboxes(self._open(), info))
        return Info(info.boxes, info.size, info.life)

    @property
    def last_life(self) -> int:
        """The life of the mailboxes of the last read."""
        return int(self._message.life)

    def _open(self) -> ctypes.c_void_p:
        if not self._handle:
            raise ValueError("the shared memory is closed")
        return self._handle

    def _number(self, box: int) -> int:
        if not 0 <= box < 1 << 32:
            raise dipc.Refused("box", text="no such mailbox")
        return box

    def _result(self, length: int) -> dipc.Message:
        message = self._message
        data = ctypes.string_at(self._buffer, length)
        return dipc.Message(data, message.version, message.count, message.lost)

    def _make_room(self, refusal: int) -> None:
        """Enlarges the buffer for a message that does not fit. Raises any other refusal."""
        if refusal != SIZE:
            self._check(refusal)
        self._buffer = ctypes.create_string_buffer(max(2 * len(self._buffer), self._message.len))

    def _check(self, refusal: int) -> None:
        if refusal in MISSES:
            raise Miss(MISSES[refusal], text=self._text(refusal))
        if refusal == AHEAD:
            raise dipc.Ahead("ahead")
        if refusal == BOX:
            raise dipc.Refused("box", text=self._text(refusal))
        if refusal:
            raise OSError(self._text(refusal))

    def _text(self, refusal: int) -> str:
        if refusal == SYSTEM:
            return os.strerror(ctypes.get_errno())
        return cast(bytes, self._library.dipc_local_text(refusal)).decode()


class LocalMailboxes(dipc.Mailboxes):
    """A connection whose reads are made in the shared memory, if that is possible, else over the connection.

    Over the connection: reads by name, of mailboxes that this connection has locked, reads with after= that have to
    wait, and reads that the shared memory refuses. Reads in the shared memory go on when the connection is lost.
    .local is None if there is no shared memory of this server; .local_error says why.
    """

    def _open_local(self, port: int, directory: Optional[str]) -> None:
        """Opens the shared memory of the server of this connection."""
        self._port, self._directory = port, directory
        self._cursors: Dict[int, Cursor] = {}
        self._life = self.hello().get("life")
        self.local, self.local_error = None, ""
        try:
            local = Local(port, directory)
            if local.mailboxes().life != self._life:
                raise OSError("the shared memory of port %d belongs to another server" % port)
        except (OSError, Miss) as error:
            self.local_error = str(error)
        else:
            self.local = local

    def reconnect(self) -> None:
        super().reconnect()
        self._open_local(self._port, self._directory)

    def close(self) -> None:
        super().close()
        if self.local:
            self.local.close()
        self.local, self.local_error = None, "the connection is closed"

    def read(self, box: dipc.Box, off: Optional[int] = None, len: Optional[int] = None,
             wait: Optional[float] = None, after: Optional[int] = None) -> dipc.Message:
        if self._process != os.getpid():
            self._require_usable()
        message = self._read_local(box, after)
        if message is None:
            return super().read(box, off, len, wait, after)
        if off is None and len is None:
            return message
        begin = off or 0
        data = message[begin:] if len is None else message[begin:begin + len]
        return dipc.Message(data, message.version, message.count, message.lost)

    def _read_local(self, box: dipc.Box, after: Optional[int]) -> Optional[dipc.Message]:
        """A message from the shared memory. None: the server has to answer."""
        number = dipc._known_number(box)
        if self.local is None or number is None or number < 0 or number in self._locks:
            return None
        try:
            if after is None:
                message: Optional[dipc.Message] = self.local.read(number)
            else:
                cursor = self._cursors.get(number)
                if cursor is None or cursor.version != after:
                    cursor = self._cursors[number] = self.local.cursor(number, after)
                message = self.local.after(cursor)
        except (dipc.DipcError, OSError):
            return None
        return message if self.local.last_life == self._life else None
