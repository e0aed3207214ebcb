"""Tests of names of mailboxes."""

import unittest

import dipc
from support import PORT, Server, connect, require_server, shell

setUpModule = require_server


class Names(unittest.TestCase):
    def setUp(self):
        self.m, self.other = connect(), connect()
        self.addCleanup(self.m.close)
        self.addCleanup(self.other.close)
        self.addCleanup(self.remove_names)
        self.other.set_name(3, "jobs")
        self.other.set_name(1, "room")
        self.version = self.other.write(3, b"one")
        self.other.write(0, b"zero")

    def remove_names(self):
        with connect() as m:
            for box in m.names():
                m.set_name(box, None)

    def move(self):
        """Gives the name jobs to mailbox 0."""
        self.other.set_name(3, None)
        self.other.set_name(0, "jobs")

    def test_a_name_is_set_returned_and_removed(self):
        self.assertEqual(self.m.names(), {1: "room", 3: "jobs"})
        self.assertEqual((self.m.name(3), self.m.name(0), self.m.number("jobs"), self.m.number(7)), ("jobs", None, 3, 7))
        self.assertEqual(self.m.stat("names"), [{"box": 1, "name": "room"}, {"box": 3, "name": "jobs"}])
        self.assertEqual([self.m.stat("jobs")["mailbox"], self.m.stat("jobs")["name"]], [3, "jobs"])
        self.m.set_name("jobs", None)
        self.assertEqual((self.m.name(3), self.m.stat(3)["name"]), (None, None))
        with self.assertRaises(dipc.NameTaken) as taken:
            self.m.set_name(3, "room")
        self.assertEqual((taken.exception.box, taken.exception.code), (1, "conflict"))

    def test_requests_accept_names_and_need_no_other_request(self):
        before = self.other.stat()["requests"]
        self.assertEqual(self.m.write("jobs", b"two"), self.version + 1)
        self.assertEqual((self.m.read("jobs"), self.m.read("3", off=1)), (b"two", b"wo"))
        self.assertEqual(self.m.put("jobs", b"three").count, 2)
        self.assertEqual([self.m.take("jobs"), self.m.take("jobs", ttl=60)], [b"two", b"three"])
        # hello, the six requests, and this one
        self.assertEqual(self.other.stat()["requests"] - before, 8)

    def test_wrong_names_are_not_sent_and_unknown_ones_are_refused(self):
        for wrong in ("", "Jobs", "jobs 5", "jobs\nq", "jobs,1", "-", "a" * 65):
            for request in (self.m.read, self.m.lock, self.m.watch, self.m.number,
                            lambda box: self.m.write(box, b""), lambda name: self.m.set_name(0, name)):
                with self.assertRaises(ValueError):
                    request(wrong)
        for request in (self.m.read, self.m.watch, self.m.job):
            with self.assertRaises(dipc.Refused) as refused:
                request("nobody")
            self.assertEqual(refused.exception.code, "box")
        self.m.ping()

    def test_a_lock_stays_on_its_mailbox_when_the_name_moves(self):
        with self.m.lock("jobs", "room") as lock:
            self.assertEqual(lock.boxes, [3, 1])
            self.move()
            self.m.write(3, b"locked")
        self.assertEqual((self.m.stat()["locks_held"], lock.lost), (0, False))
        with self.assertRaises(dipc.LockLost):
            with self.m.lock("jobs", ttl=0.02) as lock:
                self.other.write(0, b"x")
                self.m.ping()
                self.assertTrue(lock.lost)
        self.m.lock("jobs")
        self.m.unlock("jobs")

    def test_a_job_stays_in_its_mailbox_when_the_name_moves(self):
        with self.m.job("jobs") as job:
            self.move()
            self.assertEqual((job.box, job.data), (3, b"one"))
        self.assertEqual((self.m.read(3).count, self.m.read(0).count), (0, 1))
        version = self.m.job("jobs").version
        self.m.back("jobs", version)
        again = self.m.job("jobs", wait=0)
        self.m.done("jobs", version)
        self.assertTrue(again._is_ended)

    def test_a_watch_stays_on_its_mailbox_when_the_name_moves(self):
        watch = self.m.watch("jobs", "room", after={"jobs": self.version, 1: self.m.read(1).version})
        self.assertEqual(set(watch.versions), {1, 3})
        self.move()
        self.other.write(0, b"not watched")
        self.other.write(3, b"watched")
        event = next(watch)
        self.assertEqual((event.box, event.data), (3, b"watched"))
        self.m.unwatch("jobs")
        self.other.write(3, b"still watched")
        self.assertEqual(next(watch).data, b"still watched")
        self.m.unwatch(3, "room")
        self.assertEqual(list(watch), [])

    def test_names_in_the_shell(self):
        def expect(output, *words):
            self.assertEqual(shell(PORT, *words), (0, output, b""))

        expect(b"mailbox 3\nname jobs\n", "name", "jobs")
        expect(b"mailbox 0\nname new\n", "name", 0, "new")
        expect(b"0 new\n1 room\n3 jobs\n", "stat", "names")
        expect(b"mailbox 0\nname -\n", "name", "new", "-")
        expect(b"one", "read", "jobs")
        expect(b"version %d\n" % (self.version + 1), "write", "jobs", "two")
        code, output, error = shell(PORT, "name", 0, "jobs")
        self.assertEqual((code, output), (1, b""))
        self.assertIn(b"conflict box=3", error)
        code, _, error = shell(PORT, "read", "Jobs")
        self.assertEqual((code, error), (2, b"dipc: 'Jobs' is not the number or the name of a mailbox\n"))
        code, _, error = shell(PORT, "watch", "room,nobody")
        self.assertEqual(code, 2)
        self.assertIn(b"no mailbox has the name nobody", error)


class Restart(unittest.TestCase):
    def setUp(self):
        self.server = Server(self)
        self.m = self.server.connect()
        self.addCleanup(self.m.close)
        self.m.set_name(3, "jobs")

    def test_follow_goes_on_with_its_mailbox_or_with_the_new_one_of_its_name(self):
        events = self.m.follow("jobs", after={"jobs": 0})
        self.m.put(3, b"a")
        self.assertEqual(next(events).box, 3)
        self.m.set_name(3, None)
        self.m.set_name(0, "jobs")
        self.server.restart()
        with self.server.connect() as other:
            other.put(0, b"not watched")
            other.put(3, b"b")
        self.assertEqual((next(events).box, self.m.names()), (3, {0: "jobs"}))
        names = self.server.directory + "/names"
        with open(names, "w") as file:
            file.write("1 jobs\n")
        self.server.restart(15, "--fresh", "--names", names)
        with self.server.connect() as other:
            other.put(1, b"new")
        event = next(events)
        self.assertEqual((event.box, event.data), (1, b"new"))
