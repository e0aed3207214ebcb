"""The systems, and how each is started: on a free port of loopback, in the foreground, stopped in any case."""

import contextlib
import os
import shlex
import socket
import subprocess
import tempfile
import time
from typing import NamedTuple

PROCESSORS = os.cpu_count() or 1
TIMEOUT = 20  # seconds for a server to begin, and to end


class Server(NamedTuple):
    """`speaks`: what `--system` calls its protocol; in `line`, PORT and DIR stand for what is free."""
    speaks: str
    line: str
    why: str


LOCKS = "rwlock-server PORT 64 1048576"
SERVERS = {
    "dipc": Server("dipc", "dipc 64 1024 PORT 1024 --max-clients 16000 --dir DIR --foreground --log-level warn",
                   "64 mailboxes of 1 MiB, the largest message; as many workers as processors, as always"),
    "redis": Server("redis", "redis-server --port PORT --bind 127.0.0.1 --save '' --appendonly no --maxclients 16000 "
                    "--dir DIR", "nothing goes to a disk, as nothing does in the others; one thread, its default"),
    "memcached": Server("memcached", f"memcached -l 127.0.0.1 -p PORT -U 0 -t {PROCESSORS} -c 16000 -I 2m -m 1024 "
                        "-u nobody", "a thread for each processor, as it advises; items of 1 MiB and their heads; "
                        "memory enough to evict nothing; `-u` matters only to root"),
    "baseline": Server("dipc", "baseline-server PORT", "what the system's calls cost: it receives, and sends answers that lie "
                   "ready, and does nothing else"),
    "rwlock": Server("memcached", LOCKS, "a thread for each connection, a `pthread_rwlock` with default attributes for "
                     "each mailbox; a reader sends under the lock"),
    "rwlock-copy": Server("memcached", LOCKS + " copy", "the same; a reader copies under the lock, and sends after it"),
}


@contextlib.contextmanager
def running(name, programs):
    """Starts it, and stops it in the end; its port and its process."""
    with tempfile.TemporaryDirectory(prefix="dipc-peers-", dir="/dev/shm") as directory, \
            tempfile.TemporaryFile() as stderr:
        port = free_port()
        words = shlex.split(SERVERS[name].line.replace("PORT", str(port)).replace("DIR", directory))
        path = str(programs) + os.pathsep + os.environ["PATH"]
        process = subprocess.Popen(words, env=dict(os.environ, PATH=path), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=stderr)
        try:
            if not accepts(port, process):
                stderr.seek(0)
                raise SystemExit(f"{name} does not start: {stderr.read().decode(errors='replace')}")
            yield port, process.pid
        finally:
            stop(process)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def accepts(port, process):
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        time.sleep(0.01)
    return False


def stop(process):
    process.terminate()
    try:
        process.wait(TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
