"""Tests of connections whose server is restarted."""

import os
import subprocess
import sys
import threading
import unittest

import dipc
from support import CHAT, SCRIPT, TIMEOUT, Server, Terminal, wait_until

NEW = "connected again; the mailboxes are new: starting with the oldest message"


class Restart(unittest.TestCase):
    def setUp(self):
        self.server = Server(self)
        self.m = self.server.connect(name="tester")
        self.addCleanup(self.m.close)
        self.notes = []

    def other(self):
        other = self.server.connect()
        self.addCleanup(other.close)
        return other

    def start(self, script, *words, **streams):
        """Starts a program whose output is read from pipes."""
        child = subprocess.Popen([sys.executable, "-u", script, str(self.server.port), *words], bufsize=0,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, **streams)
        watchdog = threading.Timer(TIMEOUT, child.kill)
        watchdog.start()
        for cleanup in (child.wait, child.kill, child.stdout.close, child.stderr.close, watchdog.cancel):
            self.addCleanup(cleanup)
        return child

    def test_follow_goes_on_after_a_restart_and_counts_lost_messages(self):
        events = self.m.follow(0, 3, after=0, note=self.notes.append)
        self.m.put(0, b"a")
        self.assertEqual(next(events), (1, b"a"))
        self.m.put(3, b"x")
        self.m.put(3, b"y")
        self.assertEqual([next(events) for _ in range(2)], [(1, b"x"), (2, b"y")])
        self.assertEqual(self.notes, [])
        self.server.restart()
        other = self.other()
        other.put(0, b"b")
        for data in (b"lost", b"lost", b"z"):
            other.write(3, data)
        rest = sorted((next(events) for _ in range(2)), key=lambda event: event.box)
        self.assertEqual([(event.box, event, event.lost) for event in rest],
                         [(0, (2, b"b"), 0), (3, (5, b"z"), 2)])
        self.assertRegex(self.notes[0], "^the connection is lost, connecting again: .")
        self.assertEqual(self.notes[1:], ["connected again"])
        self.assertIn("tester", [conn["name"] for conn in other.stat("conns")])

    def test_follow_tells_that_the_mailboxes_are_new(self):
        events = self.m.follow(3, after=0, note=self.notes.append)
        self.m.write(3, b"old")
        self.assertEqual(next(events), (1, b"old"))
        self.server.restart(15, "--fresh")
        self.other().write(3, b"new")
        self.assertEqual(next(events), (1, b"new"))
        self.assertEqual(self.notes[1:], [NEW])

    def test_a_job_is_lost_with_its_connection(self):
        self.m.put(3, b"a job")
        job = self.m.job(3)
        self.server.restart()
        with self.assertRaises(OSError):
            job.done()
        self.assertTrue(job.lost)
        self.m.reconnect()
        with self.assertRaises(dipc.JobLost):
            job.done()
        with self.m.job(3) as again:
            self.assertEqual((again.data, again.tries), (b"a job", 1))

    def test_follow_ends_when_there_is_no_server_and_after_close(self):
        events = self.m.follow(3, after=0, note=self.notes.append, patience=0.1)
        self.m.write(3, b"x")
        next(events)
        self.server.stop()
        with self.assertRaises(OSError):
            next(events)
        self.assertEqual(len(self.notes), 1)
        self.server.start()
        other = self.other()
        events = other.follow(3, after=0, note=self.notes.append)
        next(events)
        other.close()
        with self.assertRaises(ConnectionError):
            next(events)
        self.assertEqual(len(self.notes), 1)

    def test_a_lost_lock_is_told(self):
        with self.assertRaises(dipc.LockLost) as lost:
            with self.m.lock(0, 3) as lock:
                self.server.restart()
                with self.assertRaises(ConnectionError):
                    self.m.ping()
                self.assertTrue(lock.lost)
                self.m.reconnect()
                self.m.close()
        self.assertIn("connection was lost", str(lost.exception))
        other = self.other()
        with self.assertRaises(dipc.LockLost):
            with other.lock(3) as lock:
                other.reconnect()
                other.write(3, b"not protected")
        self.assertTrue(lock.lost)

    def test_no_request_is_repeated(self):
        errors = []

        def take():
            try:
                self.m.take(3, wait=float("inf"))
            except ConnectionError as error:
                errors.append(error)

        taker = threading.Thread(target=take)
        taker.start()
        other = self.other()
        wait_until(lambda: other.stat(3)["aside"] == 1)
        self.server.restart()
        taker.join(TIMEOUT)
        self.assertEqual(len(errors), 1)
        for call in (lambda: self.m.put(3, b"again"), lambda: self.m.take(3), self.m.ping):
            with self.assertRaises(ConnectionError):
                call()
        self.m.reconnect()
        self.assertEqual((self.m.stat()["takes"], self.m.stat()["puts"], self.m.read(3).version), (0, 0, 0))

    def test_the_watch_of_a_closed_connection_is_an_error(self):
        watch = self.m.watch(3)
        self.m.reconnect()
        with self.assertRaises(ConnectionError):
            next(watch)

    def test_the_command_watch_goes_on(self):
        watch = self.start(SCRIPT, "watch", "3", "--after", "0")
        self.m.put(3, b"first")
        self.assertEqual(watch.stdout.readline(), b"first\n")
        self.server.restart()
        other = self.other()
        for data in (b"lost", b"second"):
            other.write(3, data)
        self.assertEqual(watch.stdout.readline(), b"second\n")
        self.assertRegex(watch.stderr.readline(), b"^dipc: the connection is lost, connecting again: ")
        self.assertEqual(watch.stderr.readline(), b"dipc: connected again\n")
        if other.read(3).version == 3:
            self.assertIn(watch.stderr.readline(), [b"dipc: 1 message of mailbox 3 is lost\n"])

    @unittest.skipUnless(hasattr(os, "openpty"), "this system has no terminals")
    def test_the_prompt_connects_again_and_repeats_no_command(self):
        terminal = Terminal(self, SCRIPT, str(self.server.port))
        terminal.expect(b"dipc> ")
        terminal.type(b"put 3 first\n")
        terminal.expect(b"count 1\r\n")
        self.server.restart()
        terminal.type(b"put 3 second\n")
        terminal.expect(b"it is not known whether the command was done\r\n")
        terminal.expect(b"dipc> ")
        self.assertEqual(self.other().stat(3)["messages"], 1)
        terminal.type(b"put 3 third\n")
        terminal.expect(b"version 2\r\n")
        terminal.type(b"quit\n")
        self.assertEqual(terminal.process.wait(), 0)

    def test_a_chat_goes_on(self):
        chat = self.start(CHAT, "0", "ann", stdin=subprocess.PIPE)
        self.addCleanup(chat.stdin.close)
        self.assertEqual(chat.stdout.readline(), b"* ann joins\n")
        self.server.restart()
        self.assertRegex(chat.stderr.readline(), b"^chat: the connection is lost, connecting again: ")
        self.assertEqual(chat.stderr.readline(), b"chat: connected again\n")
        chat.stdin.write(b"still here\n")
        self.assertEqual(chat.stdout.readline(), b"ann: still here\n")
        self.server.restart(15, "--fresh")
        self.assertRegex(chat.stderr.readline(), b"^chat: the connection is lost, connecting again: ")
        self.assertEqual(chat.stderr.readline(), b"chat: %s\n" % NEW.encode())
        self.other().put(0, b"bob: welcome")
        self.assertEqual(chat.stdout.readline(), b"bob: welcome\n")
        chat.stdin.close()
        self.assertEqual((chat.wait(), chat.stdout.read()), (0, b"* ann leaves\n"))
        self.assertEqual(self.other().read(0).version, 2)

    def test_a_chat_goes_on_in_the_new_mailbox_of_its_name(self):
        self.m.set_name(0, "room")
        chat = self.start(CHAT, "room", "ann", stdin=subprocess.PIPE)
        self.addCleanup(chat.stdin.close)
        self.assertEqual(chat.stdout.readline(), b"* ann joins\n")
        names = self.server.directory + "/names"
        with open(names, "w") as file:
            file.write("1 room\n")
        self.server.restart(15, "--fresh", "--names", names)
        self.other().put(1, b"bob: welcome")
        self.assertEqual(chat.stdout.readline(), b"bob: welcome\n")
        chat.stdin.write(b"thanks\n")
        self.assertEqual(chat.stdout.readline(), b"ann: thanks\n")
        chat.stdin.close()
        self.assertEqual((chat.wait(), chat.stdout.read()), (0, b"* ann leaves\n"))


if __name__ == "__main__":
    unittest.main()
