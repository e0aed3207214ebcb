"""The address of the server under test, and functions that several tests use."""

import contextlib
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import dipc

with contextlib.suppress(ImportError):  # a system without terminals
    import fcntl
    import termios

PORT = os.environ.get("DIPC_TEST_PORT")
UNIX = os.environ.get("DIPC_TEST_UNIX")
DIPC = os.environ.get("DIPC_TEST_SERVER")  # the path of the server's program
SCRIPT = os.path.abspath(dipc.__file__)
CHAT = os.path.join(os.path.dirname(SCRIPT), "chat.py")
TIMEOUT = 20  # seconds; the longest wait of a test
ALL_BYTES = bytes(range(256))


def require_server():
    """For setUpModule: skips the tests of a module if there is no server."""
    if not PORT:
        raise unittest.SkipTest("no server: DIPC_TEST_PORT is not set")


def connect(**options):
    return dipc.connect(int(PORT), timeout=TIMEOUT, **options)


def wait_until(condition):
    """Waits until the condition is true, at most TIMEOUT seconds."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("the condition did not become true in time")


def shell(*words, data=b""):
    """Runs dipc.py with these arguments and this standard input. Returns exit code, stdout and stderr."""
    done = subprocess.run([sys.executable, SCRIPT, *map(str, words)], input=data, timeout=TIMEOUT,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return done.returncode, done.stdout, done.stderr


class Server:
    """A server of a test, which can be stopped and started again on its port."""

    def __init__(self, test):
        if not DIPC:
            raise unittest.SkipTest("no program of the server: DIPC_TEST_SERVER is not set")
        memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
        directory = tempfile.TemporaryDirectory(dir=memory)
        test.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.port = 0
        self.start()
        test.addCleanup(lambda: self.stop(signal.SIGKILL))

    def start(self, *options):
        words = [DIPC, "4", "64", str(self.port), "8", "--dir", self.directory, "--foreground", *options]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.port = int(re.search(rb":(\d+) ", self.process.stdout.readline()).group(1))

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(TIMEOUT)
        self.process.stdout.close()

    def restart(self, number=signal.SIGKILL, *options):
        self.stop(number)
        self.start(*options)

    def connect(self, **options):
        return dipc.connect(self.port, timeout=TIMEOUT, **options)


class Terminal:
    """A Python program on a terminal of its own."""

    def __init__(self, test, *words, term="dumb", columns=80):
        self.master, slave = os.openpty()
        test.addCleanup(os.close, self.master)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
        self.process = subprocess.Popen([sys.executable, *words], stdin=slave, stdout=slave,
                                        stderr=slave, start_new_session=True,
                                        env=dict(os.environ, TERM=term))
        watchdog = threading.Timer(TIMEOUT, self.process.kill)
        watchdog.start()
        test.addCleanup(watchdog.cancel)
        os.close(slave)
        self.output = b""

    def expect(self, text):
        """Reads until the output contains this text, and discards the output up to the end of the text."""
        while text not in self.output:
            self.output += os.read(self.master, 1024)
        self.output = self.output.partition(text)[2]

    def type(self, keys):
        os.write(self.master, keys)
