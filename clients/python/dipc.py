#!/usr/bin/env python3
"""dipc.py: a client of dipc, the server of shared-memory mailboxes. Needs Python 3.8 and nothing else.

As a module (one connection is for one thread at a time):

    import dipc
    with dipc.connect(5000) as m:
        version = m.write(3, b"any bytes, or text")
        message = m.read(3)             # bytes that know their .version and .count

From the shell, one command:

    python3 dipc.py 5000 write 3 hello world        prints "version 1"
    python3 dipc.py 5000 write 3 < picture.png      without text: standard input, whole
    python3 dipc.py 5000 read 3 > picture.png       exactly the bytes of the message
    python3 dipc.py --unix PATH read 3              with --unix there is no PORT

    commands  read|r BOX, write|w BOX [TEXT..], ping, stat, help, hello [NAME]
    options   --host H   127.0.0.1 unless given
              --unix P   the path of the server's Unix socket
              --wait S   seconds to wait for the mailbox, or inf        (read, write)
              --off N    from byte N on; a write patches there          (read, write)
              --len N    at most N bytes                                (read)
              --if V     only when the mailbox is at version V          (write)
              --         what follows is no option: write 3 -- --text
    exit code 0 done, 1 not done (conflict, timeout), 2 refused or wrong usage, 3 no connection

Without a command there is a prompt for the same commands and quit; write BOX without text asks for it.
"""

import contextlib
import getopt
import os
import re
import socket
import sys
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

Fields = Dict[str, Any]  # the k=v pairs of an answer; a value of digits only is an int
ANSWER = re.compile(r"(OK|DATA \d{1,10}|NO [a-z]+|ERR [a-z]+)((?: [\w-]+=\S*)*)(?: : ?(.*?))?(\r?\n)", re.ASCII)
LONGEST_LINE = 65536  # octets of an answer's first line; whoever sends more is not dipc
CLOSING = ("frame", "auth", "busy", "drain", "internal")  # after an ERR of these codes the server hangs up


class DipcError(Exception):
    """An answer that is not a yes: .code says why in a word, .fields has its k=v pairs, .text is for people."""

    def __init__(self, code: str, fields: Optional[Fields] = None, text: str = "") -> None:
        words = [code] + ["%s=%s" % pair for pair in (fields or {}).items()]
        super().__init__(" ".join(words) + (text and ": " + text))
        self.code, self.fields, self.text = code, fields or {}, text


class Refused(DipcError):
    """ERR: the request was wrong. .code `box` and `size` tell the limit in .fields["max"]."""


class NotDone(DipcError):
    """NO: the request was right, but the mailbox was not ready for it. Nothing has changed."""


class Timeout(NotDone, TimeoutError):
    """The wait ended before the mailbox was free. The connection is as good as before."""


class Conflict(NotDone):
    """The mailbox is not at the version asked for, but at .version."""

    @property
    def version(self) -> int:
        return self.fields["v"]


REASONS = {"timeout": Timeout, "conflict": Conflict}  # any other reason is a plain NotDone


class Message(bytes):
    """What was read: bytes, with the mailbox's .version and the .count of messages in it (0: it is empty)."""

    version: int
    count: int

    def __new__(cls, data: bytes = b"", version: int = 0, count: int = 0) -> "Message":
        message = super().__new__(cls, data)
        message.version, message.count = version, count
        return message


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
        self._sock, self._input, self.closed = sock, sock.makefile("rb"), False

    def __enter__(self) -> "Mailboxes":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def read(self, box: int, off: Optional[int] = None, len: Optional[int] = None,
             wait: Optional[float] = None) -> Message:
        """The newest message, or `len` bytes of it from byte `off` on; an empty mailbox gives b"" with .count 0.

        wait: seconds; 0 tries once, float("inf") waits for ever, None is the server's default. Raises Timeout.
        """
        fields, data = self._ask("DATA v n", _line("r", box, off=off, len=len, wait=_seconds(wait)))
        return Message(data, fields["v"], fields["n"])

    def write(self, box: int, data: Union[bytes, str], if_version: Optional[int] = None,
              off: Optional[int] = None, wait: Optional[float] = None) -> int:
        """Makes `data` (bytes-like, or str as UTF-8) the one message of the mailbox; returns the new version.

        if_version: only when the mailbox is at this version, otherwise raises Conflict. off: patches the message in
        place from this byte on; NotDone `multi` when there are several. wait: as for read. Raises Timeout.
        """
        body = data.encode() if isinstance(data, str) else bytes(memoryview(data))
        head = _line("w", box, len(body), off=off, wait=_seconds(wait), **{"if": if_version})
        return self._ask("OK v", head + body + b"\n")[0]["v"]

    def ping(self) -> None:
        """Returns when the server has answered."""
        self._ask("OK", _line("ping"))

    def hello(self, name: Optional[str] = None, token: Optional[str] = None) -> Fields:
        """Introduces this connection; returns what the server says of itself: proto, server, boxes, size, packet, .."""
        return self._ask("OK", _line("hello", name=name, token=token))[0]

    def stat(self) -> Fields:
        """The server's figures by name."""
        lines = self._ask("DATA", _line("stat"))[1].decode("utf-8", "replace").splitlines()
        return {name: _value(value) for name, _, value in (line.partition(" ") for line in lines)}

    def help(self) -> str:
        """The server's own page on its protocol."""
        return self._ask("DATA", _line("help"))[1].decode("utf-8", "replace")

    def close(self) -> None:
        """Takes leave and closes; does nothing the second time."""
        if not self.closed:
            with contextlib.suppress(OSError):  # it may be gone already
                self._sock.sendall(_line("q"))
            self._drop()

    def _ask(self, shape: str, request: bytes) -> Tuple[Fields, bytes]:
        """Sends a request; returns the fields and data of its answer, which has this shape: kind, numeric fields."""
        if self.closed:
            raise ConnectionError("the connection is closed")
        try:
            with contextlib.suppress(ConnectionError):  # a server that refuses and hangs up has said why: read it
                self._sock.sendall(request)
            kind, code, fields, text, data = self._answer()
            due, *numbers = shape.split()
            if kind in ("OK", "DATA") and (kind != due or any(type(fields.get(key)) is not int for key in numbers)):
                raise ConnectionError("the server answered %s where %s was due" % (kind, shape))
        except socket.timeout:
            self._drop()
            raise TimeoutError("the server was silent for too long; the connection is closed") from None
        except BaseException:  # an interrupt, too, leaves an answer on its way
            self._drop()
            raise
        if kind == "NO":
            raise REASONS.get(code, NotDone)(code, fields)
        if kind == "ERR":
            if code in CLOSING:
                self._drop()
            raise Refused(code, fields, text)
        return fields, data

    def _answer(self) -> Tuple[str, str, Fields, str, bytes]:
        """The next answer: its kind, the word after it, its fields, text and data."""
        line = self._input.readline(LONGEST_LINE)
        if not line:
            raise ConnectionError("the server closed the connection")
        match = ANSWER.fullmatch(line.decode("ascii", "backslashreplace"))
        if not match:
            raise ConnectionError("this is no answer of dipc: %.60r" % line)
        start, pairs, text, eol = match.groups()
        kind, _, word = start.partition(" ")
        fields = {key: _value(value) for key, _, value in (pair.partition("=") for pair in pairs.split())}
        rest = self._input.read(int(word) + len(eol)) if kind == "DATA" else b""
        data = rest[:len(rest) - len(eol)]
        if kind == "DATA" and rest != data[:int(word)] + eol.encode():
            raise ConnectionError("the server broke off within an answer")
        return kind, word, fields, text or "", data

    def _drop(self) -> None:
        self.closed = True
        self._input.close()
        self._sock.close()


def _line(verb: str, *numbers: int, **options: Any) -> bytes:
    """A request's first line; an option that is None is left out. Refuses what would break out of the line."""
    words = [verb] + ["%d" % number for number in numbers]
    words += ["%s=%s" % pair for pair in options.items() if pair[1] is not None]
    for word in words:
        if not re.fullmatch("[!-~]+", word):
            raise ValueError("%r is not one word of printable ASCII" % word)
    return " ".join(words).encode() + b"\n"


def _seconds(wait: Optional[float]) -> Optional[str]:
    """On the wire seconds are plain decimals, never 1e-05; infinity is inf."""
    return None if wait is None else ("%.6f" % wait).rstrip("0").rstrip(".")


def _value(word: str) -> Union[int, str]:
    return int(word) if word.isdecimal() else word


# The command line. Whatever it prints beside messages and the help is lines of `name value`.

TAKES = {"read": ("wait", "off", "len"), "write": ("wait", "off", "if")}  # the options of a command
ALIASES = {"r": "read", "w": "write"}


def main(argv: List[str]) -> int:
    """Runs the command line; returns the exit code."""
    try:
        pairs, words = getopt.gnu_getopt(argv, "h", ["help", "host=", "unix=", "wait=", "off=", "len=", "if="])
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
            _show(_run(mailboxes, words, options, sys.stdin.buffer.read), sys.stdout.isatty())
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
            if mailboxes.closed:
                raise ConnectionError("the server closed the connection")
    if people:
        print()
    return 0


def _run(mailboxes: Mailboxes, words: List[str], options: Dict[str, str], text: Callable[[], bytes]) -> bytes:
    """Runs one command; returns what to show. text() gives the data of a write that came without."""
    command, args = ALIASES.get(words[0], words[0]), words[1:]
    for option in options:
        if option not in TAKES.get(command, ()):
            raise ValueError("--%s does not go with %s" % (option, command))
    given = {option: _number(value, float if option == "wait" else int) for option, value in options.items()}
    if command == "read" and len(args) == 1:
        return mailboxes.read(_number(args[0]), **given)
    if command == "write" and args:
        box, if_version = _number(args[0]), given.pop("if", None)
        data = os.fsencode(" ".join(args[1:])) if args[1:] else text()
        return b"version %d\n" % mailboxes.write(box, data, if_version, **given)
    if command == "hello" and len(args) < 2:
        return _lines(mailboxes.hello(*args))
    if command == "stat" and not args:
        return _lines(mailboxes.stat())
    if command == "help" and not args:
        return mailboxes.help().encode()
    if command == "ping" and not args:
        mailboxes.ping()
        return b"ok\n"
    raise ValueError("the commands are: read BOX, write BOX [TEXT], ping, stat, help, hello [NAME], quit")


def _number(word: str, kind: Callable[[str], Any] = int) -> Any:
    try:
        return kind(word)
    except ValueError:
        raise ValueError("%r is not a number" % word) from None


def _lines(fields: Fields) -> bytes:
    return "".join("%s %s\n" % pair for pair in fields.items()).encode()


def _show(data: bytes, whole_line: bool) -> None:
    try:
        sys.stdout.buffer.write(data + b"\n" if whole_line and not data.endswith(b"\n") else data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # who listened has heard enough; the interpreter must not try again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(error: Exception) -> None:
    print("dipc: %s" % error, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
