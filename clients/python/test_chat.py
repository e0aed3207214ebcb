"""Tests of chat.py."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import unittest

from support import CHAT, PORT, TIMEOUT, Server, Terminal, connect, require_server, wait_until

setUpModule = require_server


class Chat(unittest.TestCase):
    def chat(self, name, port=PORT, program=(CHAT,)):
        """Starts chat.py in mailbox 0 under this name."""
        words = [sys.executable, *program, str(port), "0", name]
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

    def test_a_chat_ends_when_its_server_stays_away(self):
        server = Server(self)
        impatient = "import sys; sys.path.insert(0, %r); import chat; chat.PATIENCE = 0.1; chat.main()"
        user = self.chat("x", server.port, ("-c", impatient % os.path.dirname(CHAT)))
        self.assertEqual(user.stdout.readline(), b"* x joins\n")
        server.stop()
        self.assertEqual(user.wait(), 3)
        self.assertRegex(user.stderr.read(), rb"\Achat: the connection is lost, [^\n]+\nchat: [^\n]+refused\n\Z")


@unittest.skipUnless(hasattr(os, "openpty"), "this system has no terminals")
class ChatOnTerminal(unittest.TestCase):
    def start(self, **options):
        with connect() as m:
            m.write(0, b"* a new chat")
        chat = Terminal(self, CHAT, PORT, "0", "ann", **options)
        chat.expect(b"* ann joins")
        chat.expect(b"ann: ")  # the line editor waits
        return chat

    def receive(self, text):
        with connect() as m:
            m.put(0, text)

    def leave(self, chat):
        for _ in range(TIMEOUT):  # the terminal loses a Ctrl-D that is typed before the line editor waits
            chat.type(b"\x04")
            with contextlib.suppress(subprocess.TimeoutExpired):
                chat.process.wait(1)
                break
        chat.expect(b"\r\x1b[J* ann leaves\r\n")
        self.assertEqual(chat.process.wait(), 0)

    def test_a_line_of_another_user_is_printed_above_the_line_being_typed(self):
        chat = self.start()
        chat.type(b"half a li")
        chat.expect(b"half a li")
        self.receive(b"bob: hello")
        chat.expect(b"\r\x1b[Jbob: hello\r\nann: half a li")
        chat.type(b"ne\n")
        chat.expect(b"ann: half a line\r\n")
        self.leave(chat)

    def test_a_typed_line_of_several_rows_is_erased_and_drawn_again(self):
        chat = self.start(term="xterm", columns=20)
        chat.type(b"0123456789" * 4)  # with the prompt, 45 columns
        chat.expect(b"56789")
        chat.expect(b"6789")
        self.receive(b"bob: hello")
        chat.expect(b"\x1b[2A\r\x1b[Jbob: hello\r\nann: " + b"0123456789" * 4)
        self.leave_after_line(chat, b"\x1b[3A\r\x1b[J")

    def test_a_typed_line_that_fills_its_row_is_drawn_again(self):
        chat = self.start(term="xterm", columns=20)
        chat.type(b"x" * 15)
        chat.expect(b"x" * 15)
        self.receive(b"bob: hello")
        chat.expect(b"\x1b[1A\r\x1b[Jbob: hello\r\nann: xxxxxxxxxxxxxxx \r")
        self.leave_after_line(chat, b"\x1b[1A\r\x1b[J")

    def leave_after_line(self, chat, erased):
        chat.type(b"\n")
        chat.expect(erased)
        self.leave(chat)

    def test_the_cursor_stays_in_the_middle_of_the_line(self):
        chat = self.start(term="xterm")
        chat.type("grün".encode())
        chat.expect("grün".encode())
        chat.type(b"\x02\x02x")  # two characters back
        chat.expect(b"x")
        self.receive(b"bob: hello")
        chat.expect("\r\x1b[Jbob: hello\r\nann: grxün\r\x1b[8C".encode())
        self.leave_after_line(chat, b"\x1b[1A\r\x1b[J")
