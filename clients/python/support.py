"""The address of the server under test, and functions that several tests use."""

import os
import subprocess
import sys
import time
import unittest

import dipc

PORT = os.environ.get("DIPC_TEST_PORT")
UNIX = os.environ.get("DIPC_TEST_UNIX")
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
