"""Tests of chat.py."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import unittest

from support import CHAT, PORT, TIMEOUT, Terminal, connect, require_server, wait_until

setUpModule = require_server


class Chat(unittest.TestCase):
    def chat(self, name, port=None):
        """Starts chat.py in mailbox 0 under this name."""
        words = [sys.executable, CHAT, str(port or PORT), "0", name]
        user = subprocess.Popen(words, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)
        watchdog = threading.Timer(TIMEOUT, user.kill)
        watchdog.start()
        self.addCleanup(watchdog.cancel)
        for pipe in (user.stdin, user.stdout, user.stderr):
            self.addCleanup(pipe.close)
        return user

    def lines(self, user):
        """Waits for the end of chat.py. Checks its exit code. Returns the lines that it has printed."""
        out, err = user.communicate()
        self.assertEqual((user.returncode, err), (0, b""))
        return out.decode().splitlines()

    def setUp(self):
        with connect() as m:
            m.write(0, b"* a new chat")

    def test_users_that_type_at_once_see_the_same_lines_in_the_same_order(self):
        names = ("ann", "bob", "j\u00fcrgen")
        users = [self.chat(name) for name in names]
        with connect() as m:
            wait_until(lambda: m.stat(0)["watchers"] == 3)
        for number in range(30):
            for name, user in zip(names, users):
                user.stdin.write(b"line %d\n" % number)
        users[0].stdin.close()  # the first user leaves; the others continue
        users[0].wait()
        first = users[0].stdout.read().decode().splitlines()
        users[1].stdin.close()
        users[1].wait()
        second = users[1].stdout.read().decode().splitlines()
        third = self.lines(users[2])
        self.assertEqual(first, third[:len(first)])
        self.assertEqual(second, third[:len(second)])
        self.assertEqual((first[-1], second[-1], third[-1]), tuple("* %s leaves" % name for name in names))
        self.assertEqual(third[0], "* a new chat")
        for name in names:
            own = ["* %s joins" % name] + ["%s: line %d" % (name, number) for number in range(30)]
            self.assertEqual([line for line in third if name in line], own + ["* %s leaves" % name])
        self.assertEqual(len(third), 1 + 3 * 32)

    def test_a_late_user_sees_the_stored_lines(self):
        early = self.chat("early")
        early.stdin.write(b"hello\tall\x1b?\n")
        early.stdin.close()
        early.wait()
        late = self.lines(self.chat("late"))
        expected = ["* a new chat", "* early joins", "early: hello    all??", "* early leaves",
                    "* late joins", "* late leaves"]
        self.assertEqual(late, expected)
        self.assertEqual(early.stdout.read().decode().splitlines(), expected[:4])

    def test_a_line_that_is_too_long_does_not_end_the_chat_and_ctrl_c_does(self):
        user = self.chat("long")
        user.stdin.write(b"x" * 9000 + b"\nshort\n")
        seen = [user.stdout.readline() for _ in range(3)]
        self.assertEqual(seen, [b"* a new chat\n", b"* long joins\n", b"long: short\n"])
        user.send_signal(signal.SIGINT)
        out, err = user.communicate()
        self.assertEqual((user.returncode, out), (0, b"* long leaves\n"))
        self.assertRegex(err, rb"\Achat: size max=8192[^\n]*\n\Z")

    def test_a_chat_ends_with_its_server(self):
        with socket.socket() as server:
            server.settimeout(TIMEOUT)
            server.bind(("127.0.0.1", 0))
            server.listen()
            user = self.chat("x", server.getsockname()[1])
            for _ in range(2):
                server.accept()[0].close()
        self.assertNotEqual(user.wait(), 0)
        self.assertRegex(user.stderr.read(), rb"\Achat: [^\n]+\n\Z")

    @unittest.skipUnless(hasattr(os, "openpty"), "this system has no terminals")
    def test_a_line_of_another_user_is_printed_above_the_line_being_typed(self):
        chat = Terminal(self, CHAT, PORT, "0", "ann")
        chat.expect(b"* ann joins")
        chat.expect(b"ann: ")  # the line editor waits
        chat.type(b"half a li")
        chat.expect(b"half a li")
        with connect() as m:
            m.put(0, b"bob: hello")
        chat.expect(b"\r\x1b[2Kbob: hello\r\nann: half a li")
        chat.type(b"ne\n")
        chat.expect(b"ann: half a line\r\n")
        for _ in range(TIMEOUT):  # the terminal loses a Ctrl-D that is typed before the line editor waits
            chat.type(b"\x04")
            with contextlib.suppress(subprocess.TimeoutExpired):
                chat.process.wait(1)
                break
        self.assertEqual(chat.process.wait(), 0)
