"""The servers, and how to start and stop them. They run in the foreground, on a free loopback port."""

import contextlib
import os
import shlex
import socket
import subprocess
import tempfile
import time
from typing import NamedTuple

PROCESSORS = os.cpu_count() or 1
TIMEOUT = 20  # seconds to start a server, and to stop it


class Server(NamedTuple):
    """`speaks`: its protocol, a value of `--system`. `line`: its command, with placeholders PORT and DIR."""
    speaks: str
    line: str
    why: str


LOCKS = "rwlock-server PORT 64 1048576"
SERVERS = {
    "dipc": Server(
        "dipc",
        "dipc 64 1024 PORT 1024 --max-clients 16000 --dir DIR --foreground --log-level warn",
        "64 mailboxes of 1 MiB, the largest message size; as many workers as processors, the default"),
    "redis": Server(
        "redis",
        "redis-server --port PORT --bind 127.0.0.1 --save '' --appendonly no --maxclients 16000 --dir DIR",
        "no persistence, as the other servers have none; one thread, the default"),
    "redis-2": Server(
        "redis",
        "redis-server --port PORT --bind 127.0.0.1 --save '' --appendonly no --maxclients 16000 --dir DIR "
        "--io-threads 2 --io-threads-do-reads yes",
        "the same with a second thread for the sockets"),
    "memcached-1": Server(
        "memcached",
        "memcached -l 127.0.0.1 -p PORT -U 0 -t 1 -c 16000 -I 2m -m 1024 -u nobody",
        "the same with one thread"),
    "memcached": Server(
        "memcached",
        f"memcached -l 127.0.0.1 -p PORT -U 0 -t {PROCESSORS} -c 16000 -I 2m -m 1024 -u nobody",
        "a thread for each processor, as its manual recommends; items of 1 MiB plus header; enough memory to "
        "evict nothing; `-u` has an effect only for root"),
    "baseline": Server(
        "dipc",
        "baseline-server PORT",
        "receives requests and sends prepared answers: the cost of the system calls alone"),
    "rwlock": Server(
        "memcached",
        LOCKS,
        "a thread for each connection, a `pthread_rwlock` with default attributes for each mailbox; a reader "
        "sends under the lock"),
    "rwlock-copy": Server(
        "memcached",
        LOCKS + " copy",
        "the same server; a reader copies under the lock, and sends afterwards"),
}


@contextlib.contextmanager
def running(name, programs):
    """Starts a server, and stops it at the end of the `with` block. Yields its port and its process id."""
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
