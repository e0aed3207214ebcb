"""Tests of standard streams that are closed, full, endless, or of another encoding."""

import os
import subprocess
import sys
import threading
import unittest

from support import CHAT, PORT, SCRIPT, TIMEOUT, connect, require_server, wait_until

setUpModule = require_server
LOCAL = 74  # the exit code of an error of this machine


def redirected(redirection, *words, script=SCRIPT):
    """Runs a program in a shell that has redirected its streams. Returns exit code, stdout and stderr."""
    line = 'exec "$0" "$@" ' + redirection
    done = subprocess.run(["sh", "-c", line, sys.executable, script, PORT, *map(str, words)], timeout=TIMEOUT,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return done.returncode, done.stdout, done.stderr


class Started(unittest.TestCase):
    def setUp(self):
        self.m = connect()
        self.addCleanup(self.m.close)
        self.version = self.m.write(3, b"job")

    def start(self, *words, script=SCRIPT, with_reader=True, **streams):
        """Starts a program whose stdout is a pipe. Returns its process and the reading end."""
        reader, writer = os.pipe()
        if not with_reader:
            os.close(reader)
        child = subprocess.Popen([sys.executable, script, PORT, *map(str, words)], stdout=writer,
                                 stderr=subprocess.PIPE, **streams)
        os.close(writer)
        watchdog = threading.Timer(TIMEOUT, child.kill)
        watchdog.start()
        for cleanup in (child.stderr.close, watchdog.cancel):
            self.addCleanup(cleanup)
        return child, reader


class Streams(Started):
    def test_a_waiting_take_gives_up_when_its_reader_has_gone(self):
        self.m.take(3)
        take, reader = self.start("take", 3, "--wait", "inf")
        wait_until(lambda: self.m.stat(3)["aside"] == 1)
        os.close(reader)
        self.assertEqual(take.wait(), LOCAL)
        self.assertEqual(take.stderr.read(), b"dipc: nothing was taken: stdout has no reader\n")
        self.assertEqual(self.m.put(3, b"job").count, 1)
        self.assertEqual(self.m.stat(3)["messages"], 1)

    def test_a_take_without_a_reader_asks_for_nothing(self):
        take, _ = self.start("take", 3, with_reader=False)
        prompt, _ = self.start(with_reader=False, stdin=subprocess.PIPE)
        prompt.stdin.write(b"take 3\nwrite 3 x\n")
        prompt.stdin.close()
        for child in (take, prompt):
            self.assertEqual(child.wait(), LOCAL)
            self.assertIn(b"nothing was taken", child.stderr.read())
        self.assertEqual(self.m.stat(3)["messages"], 1)
        self.assertEqual(self.m.read(3).version, self.version)

    def test_a_taken_message_that_cannot_be_written_is_a_failure(self):
        code, _, err = redirected(">/dev/full", "take", 3)
        self.assertEqual(code, LOCAL)
        self.assertRegex(err, rb"\Adipc: the message was removed but could not be written[^\n]+\n\Z")
        code, _, err = redirected(">/dev/full", "write", 3, "x")
        self.assertEqual(code, LOCAL)
        self.assertRegex(err, rb"\Adipc: stdout cannot be written: [^\n]+\n\Z")

    def test_a_read_or_a_watch_ends_without_an_error_when_its_reader_has_gone(self):
        for words, waits in ((("read", 3, "--after", self.version, "--wait", "inf"), "aside"),
                             (("watch", 3), "watchers")):
            child, reader = self.start(*words)
            wait_until(lambda: self.m.stat(3)[waits] == 1)
            os.close(reader)
            self.assertEqual((child.wait(), child.stderr.read()), (0, b""), words)

    def test_a_closed_stream_is_an_error_before_anything_is_changed(self):
        closed = b"dipc: stdout is not open\n"
        for redirection, says in ((">&-", closed), ("1</dev/null", closed), ("2>&-", b""),
                                  ("2</dev/null", b"")):
            for words in (("write", 3, "x"), ("take", 3), ("read", 99)):
                self.assertEqual(redirected(redirection, *words), (LOCAL, b"", says), (redirection, words))
        for redirection in ("<&-", "0>/dev/null"):
            for words in (("write", 3), ("put", 3), ()):
                self.assertEqual(redirected(redirection, *words), (LOCAL, b"", b"dipc: stdin is not open\n"))
        self.assertEqual(self.m.read(3).version, self.version)
        self.assertEqual(redirected("<&-", "read", 3), (0, b"job", b""))

    def test_an_endless_input_is_read_up_to_the_packet_size(self):
        for words in ("write 3", "put 3"):
            done = redirected("</dev/zero", *words.split())
            says = b"dipc: size max=8192: message too large; the server's PACKET_KB allows 8192 bytes\n"
            self.assertEqual(done, (2, b"", says))
        self.assertEqual(self.m.read(3).version, self.version)

    def test_a_line_of_the_prompt_that_is_too_long_does_not_end_it(self):
        prompt = subprocess.run([sys.executable, SCRIPT, PORT], timeout=TIMEOUT, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, input=b"write 3 " + b"x" * 1000000 + b"\nread 3\n")
        self.assertEqual((prompt.returncode, prompt.stdout), (0, b"job\n"))
        self.assertRegex(prompt.stderr, rb"\Adipc: size [^\n]+ too large[^\n]+\n\Z")


class ChatStreams(Started):
    def test_a_chat_ends_when_its_reader_has_gone(self):
        chat, reader = self.start(0, "ann", script=CHAT, stdin=subprocess.PIPE)
        self.addCleanup(chat.stdin.close)
        wait_until(lambda: self.m.stat(0)["watchers"] == 1)
        os.close(reader)
        self.assertEqual((chat.wait(), chat.stderr.read()), (0, b""))

    def test_a_closed_stream_of_a_chat_is_an_error(self):
        version = self.m.read(0).version
        for redirection in ("<&-", ">&-", "2>&-", "1</dev/null"):
            code, out, err = redirected(redirection, 0, "ann", script=CHAT)
            self.assertEqual((code, out), (LOCAL, b""), redirection)
            self.assertNotIn(b"Traceback", err)
        self.assertEqual(self.m.read(0).version, version)

    def test_text_that_the_encoding_lacks_is_replaced(self):
        self.m.write(0, "grün €".encode())
        chat = subprocess.run([sys.executable, CHAT, PORT, "0", "ann"], timeout=TIMEOUT, input=b"\xff\n",
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=dict(os.environ, PYTHONIOENCODING="latin-1"))
        self.assertEqual((chat.returncode, chat.stderr), (0, b""))
        self.assertEqual(chat.stdout.splitlines()[0], "grün ?".encode("latin-1"))
        self.assertEqual(self.m.read(0, after=self.m.read(0).version - 2), b"ann: \xff")

