"""chat.py."""

import os
import signal
import socket
import subprocess
import sys
import threading
import unittest

from support import PORT, SCRIPT, TIMEOUT, connect, require_server, wait_until

setUpModule = require_server
CHAT = os.path.join(os.path.dirname(SCRIPT), "chat.py")


class Chat(unittest.TestCase):
    def chat(self, name, port=None):
        person = subprocess.Popen([sys.executable, CHAT, str(port or PORT), "0", name], bufsize=0, stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        watchdog = threading.Timer(TIMEOUT, person.kill)
        watchdog.start()
        self.addCleanup(watchdog.cancel)
        for pipe in (person.stdin, person.stdout, person.stderr):
            self.addCleanup(pipe.close)
        return person

    def lines(self, person):
        out, err = person.communicate()
        self.assertEqual((person.returncode, err), (0, b""))
        return out.decode().splitlines()

    def setUp(self):
        with connect() as m:
            m.write(0, b"* a new chat")

    def test_three_who_type_at_once_see_the_same_in_the_same_order(self):
        names = ("ann", "bob", "j\u00fcrgen")
        people = [self.chat(name) for name in names]
        with connect() as m:
            wait_until(lambda: m.stat(0)["watchers"] == 3)
        for number in range(30):
            for name, person in zip(names, people):
                person.stdin.write(b"line %d\n" % number)
        people[0].stdin.close()  # the first to leave; the others wait for it
        people[0].wait()
        first = people[0].stdout.read().decode().splitlines()
        people[1].stdin.close()
        people[1].wait()
        second = people[1].stdout.read().decode().splitlines()
        third = self.lines(people[2])
        self.assertEqual(first, third[:len(first)])
        self.assertEqual(second, third[:len(second)])
        self.assertEqual((first[-1], second[-1], third[-1]), tuple("* %s leaves" % name for name in names))
        self.assertEqual(third[0], "* a new chat")
        for name in names:
            own = ["* %s joins" % name] + ["%s: line %d" % (name, number) for number in range(30)]
            self.assertEqual([line for line in third if name in line], own + ["* %s leaves" % name])
        self.assertEqual(len(third), 1 + 3 * 32)

    def test_who_joins_late_sees_what_was_said(self):
        early = self.chat("early")
        early.stdin.write(b"nobody\there\x1b?\n")
        early.stdin.close()
        early.wait()
        late = self.lines(self.chat("late"))
        expected = ["* a new chat", "* early joins", "early: nobody   here??", "* early leaves",
                    "* late joins", "* late leaves"]
        self.assertEqual(late, expected)
        self.assertEqual(early.stdout.read().decode().splitlines(), expected[:4])

    def test_a_line_that_is_too_long_ends_nothing_and_ctrl_c_takes_leave(self):
        person = self.chat("long")
        person.stdin.write(b"x" * 9000 + b"\nshort\n")
        seen = [person.stdout.readline() for _ in range(3)]
        self.assertEqual(seen, [b"* a new chat\n", b"* long joins\n", b"long: short\n"])
        person.send_signal(signal.SIGINT)
        out, err = person.communicate()
        self.assertEqual((person.returncode, out), (0, b"* long leaves\n"))
        self.assertRegex(err, rb"\Achat: size max=8192[^\n]*\n\Z")

    def test_a_chat_ends_with_its_server(self):
        with socket.socket() as server:
            server.settimeout(TIMEOUT)
            server.bind(("127.0.0.1", 0))
            server.listen()
            person = self.chat("x", server.getsockname()[1])
            for _ in range(2):
                server.accept()[0].close()
        self.assertNotEqual(person.wait(), 0)
        self.assertRegex(person.stderr.read(), rb"\Achat: [^\n]+\n\Z")
