#!/usr/bin/env python3
"""Tests of dipc.py and chat.py against a running server, started fresh as `dipc 4 64 PORT 8 --unix PATH`.

    python3 test_dipc.py PORT [UNIX_PATH]       or DIPC_TEST_PORT and DIPC_TEST_UNIX in the environment

Four mailboxes of 64 kB, packets of 8 kB. Mailbox 2 is never written. Without a UNIX_PATH its tests are skipped. What a
server can not be made to say at will comes from a socket pair with the bytes in it.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True  # leave no __pycache__ beside the sources
import dipc  # noqa: E402

PORT = os.environ.get("DIPC_TEST_PORT")
UNIX = os.environ.get("DIPC_TEST_UNIX")
SCRIPT = os.path.abspath(dipc.__file__)
CHAT = os.path.join(os.path.dirname(SCRIPT), "chat.py")
PATIENCE = 20  # seconds; no wait is longer
ALL_BYTES = bytes(range(256))


def setUpModule():
    if not PORT:
        raise unittest.SkipTest("no server: DIPC_TEST_PORT is not set")


def connect(**options):
    return dipc.connect(int(PORT), timeout=PATIENCE, **options)


def wait_until(true_now):
    """Waits for something that is bound to become true."""
    deadline = time.monotonic() + PATIENCE
    while not true_now():
        if time.monotonic() > deadline:
            raise AssertionError("waited in vain")


def shell(*words, data=b""):
    """Runs dipc.py with these arguments and this standard input: (exit code, stdout, stderr)."""
    done = subprocess.run([sys.executable, SCRIPT, *map(str, words)], input=data, timeout=PATIENCE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return done.returncode, done.stdout, done.stderr


class Module(unittest.TestCase):
    def setUp(self):
        self.m = connect()
        self.addCleanup(self.m.close)

    def test_a_message_comes_back_with_its_version_and_count(self):
        version = self.m.write(3, b"hello")
        message = self.m.read(3)
        self.assertEqual(message, b"hello")
        self.assertEqual((message.version, message.count), (version, 1))
        self.assertEqual(self.m.write(3, b"again"), version + 1)

    def test_any_bytes_come_back_unchanged(self):
        for data in (ALL_BYTES, b"", b"\n", b"\r\n", b"a\nb\r\nc\n", b"q\n", b"OK v=1\n", b"\xff\xf4\xff\xfd"):
            for kind in (bytes, bytearray, memoryview):
                self.m.write(0, kind(data))
                self.assertEqual(self.m.read(0), data)

    def test_text_is_utf8(self):
        self.m.write(0, "grüße ☃")
        self.assertEqual(self.m.read(0).decode(), "grüße ☃")

    def test_what_is_neither_bytes_nor_text_is_a_type_error(self):
        for wrong in (5, None, [1, 2]):
            with self.assertRaises(TypeError):
                self.m.write(0, wrong)
        self.m.ping()

    def test_an_empty_message_is_not_an_empty_mailbox(self):
        self.m.write(0, b"")
        self.assertEqual((self.m.read(0), self.m.read(0).count), (b"", 1))
        self.assertEqual((self.m.read(2), self.m.read(2).count, self.m.read(2).version), (b"", 0, 0))

    def test_a_message_as_long_as_a_packet_fits_and_a_longer_one_is_refused(self):
        self.m.write(0, b"before")
        with self.assertRaises(dipc.Refused) as refused:
            self.m.write(0, b"x" * 8193)
        self.assertEqual(refused.exception.code, "size")
        self.assertEqual(self.m.read(0), b"before")
        longest = ALL_BYTES * (refused.exception.fields["max"] // 256)
        self.m.write(0, longest)
        self.assertEqual(self.m.read(0), longest)

    def test_an_enormous_message_is_refused_too(self):
        with self.assertRaises((dipc.Refused, ConnectionError)) as refused:
            self.m.write(0, bytes(4 << 20))
        if isinstance(refused.exception, dipc.Refused):
            self.assertEqual(refused.exception.code, "size")

    def test_a_write_under_a_condition_happens_only_at_that_version(self):
        version = self.m.write(1, b"mine")
        self.assertEqual(self.m.write(1, b"next", if_version=version), version + 1)
        with self.assertRaises(dipc.Conflict) as conflict:
            self.m.write(1, b"late", if_version=version)
        self.assertEqual((conflict.exception.code, conflict.exception.version), ("conflict", version + 1))
        self.assertIsInstance(conflict.exception, dipc.NotDone)
        self.assertEqual(self.m.read(1), b"next")

    def test_a_slice_can_be_read_and_patched(self):
        version = self.m.write(0, b"hello world")
        self.assertEqual(self.m.read(0, off=6), b"world")
        self.assertEqual(self.m.read(0, len=5), b"hello")
        self.assertEqual(self.m.read(0, off=4, len=3), b"o w")
        self.assertEqual(self.m.write(0, b"WOR", off=6), version + 1)
        self.assertEqual(self.m.read(0), b"hello WORld")

    def test_a_mailbox_that_is_not_there_is_refused_and_the_connection_lives(self):
        for call in (lambda: self.m.read(4), lambda: self.m.write(4, b"q\nping\n")):
            with self.assertRaises(dipc.Refused) as refused:
                call()
            self.assertEqual((refused.exception.code, refused.exception.fields), ("box", {"max": 3}))
            self.assertIsInstance(refused.exception, dipc.DipcError)
        self.m.ping()

    def test_a_wait_may_be_anything_from_nothing_to_for_ever(self):
        for wait in (None, 0, 0.25, 1e-5, 3, float("inf")):
            self.m.write(0, b"soon", wait=wait)
            self.assertEqual(self.m.read(0, wait=wait), b"soon")

    def test_what_would_break_out_of_the_header_never_leaves(self):
        for name in ("two words", "line\nq", "grüße"):
            with self.assertRaises(ValueError):
                self.m.hello(name)
        with self.assertRaises(TypeError):
            self.m.read("3")
        self.m.ping()

    def test_the_server_tells_of_itself(self):
        hello = self.m.hello("tester")
        self.assertEqual((hello["proto"], hello["boxes"]), (1, 4))
        self.assertTrue(self.m.stat())
        self.assertTrue(self.m.help())

    def test_close_is_final_and_may_be_repeated(self):
        with connect(name="brief") as m:
            m.ping()
        self.assertTrue(m.closed)
        m.close()
        with self.assertRaises(ConnectionError):
            m.ping()

    def test_an_address_must_be_one_and_right(self):
        for wrong in ({}, {"port": 1, "unix": "x"}, {"port": 0}, {"port": 65536}):
            with self.assertRaises(ValueError):
                dipc.connect(**wrong)

    def test_many_connections_at_once(self):
        many = [connect() for _ in range(100)]
        for number, m in enumerate(many):
            m.write(0, b"%d" % number)
            self.assertEqual(many[-1 - number].read(0), b"%d" % number)
        for m in many:
            m.close()

    def test_of_many_writers_under_a_condition_each_gets_its_turn(self):
        start = self.m.write(1, b"0")

        def count():
            with connect() as m:
                done = 0
                while done < 20:
                    seen = m.read(1)
                    try:
                        m.write(1, b"%d" % (int(seen) + 1), if_version=seen.version)
                        done += 1
                    except dipc.Conflict:
                        pass

        threads = [threading.Thread(target=count, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        self.assertEqual(self.m.read(1), b"160")
        self.assertEqual(self.m.read(1).version, start + 160)


class Lists(unittest.TestCase):
    def setUp(self):
        self.m = connect()
        self.addCleanup(self.m.close)
        with contextlib.suppress(dipc.Empty):
            while True:
                self.m.take(1, wait=0)

    def test_what_is_put_is_taken_in_order(self):
        start = self.m.read(1).version
        puts = [self.m.put(1, data) for data in (b"one", "zw\u00f6lf", b"")]
        self.assertEqual([(put - start, put.count) for put in puts], [(1, 1), (2, 2), (3, 3)])
        taken = [self.m.take(1, wait=0) for _ in puts]
        self.assertEqual(taken, [b"one", "zw\u00f6lf".encode(), b""])
        self.assertEqual([(m.version, m.count) for m in taken], [(start + 1, 2), (start + 2, 1), (start + 3, 0)])

    def test_nothing_to_take_and_no_room_are_said_in_time(self):
        for wait in (0, 0.05):
            with self.assertRaises(dipc.Empty):
                self.m.take(1, wait=wait)
        with self.assertRaises(dipc.Full):
            while True:
                self.m.put(1, bytes(8000), wait=0)
        with self.assertRaises(dipc.Full):
            self.m.put(1, bytes(8000), wait=0.05)
        oldest = self.m.read(1, after=0).version
        self.m.put(1, bytes(8000), drop=True)
        self.assertEqual(self.m.read(1, after=0).version, oldest + 1)
        with self.assertRaises(dipc.Multi):
            self.m.write(1, b"x", off=1)

    def test_read_after_brings_the_next_and_tells_what_is_gone(self):
        start = self.m.put(1, b"a")
        self.m.put(1, b"b")
        self.assertEqual(self.m.read(1, after=start - 1), b"a")
        message = self.m.read(1, after=start)
        self.assertEqual((message, message.version, message.count, message.lost), (b"b", start + 1, 2, 0))
        self.m.take(1)
        self.assertEqual(self.m.read(1, after=start - 1).lost, 1)
        with self.assertRaises(dipc.Timeout) as timeout:
            self.m.read(1, after=start + 1, wait=0.01)
        self.assertEqual(timeout.exception.fields, {"v": start + 1})

    def test_who_takes_waits_for_who_puts(self):
        taken = []
        taker = threading.Thread(target=lambda: taken.append(self.m.take(1, wait=PATIENCE)), daemon=True)
        taker.start()
        with connect() as other:
            other.put(1, b"at last")
        taker.join(PATIENCE)
        self.assertEqual(taken, [b"at last"])


class Locks(unittest.TestCase):
    def setUp(self):
        self.m, self.other = connect(name="holder"), connect(name="other")
        self.addCleanup(self.m.close)
        self.addCleanup(self.other.close)

    def test_a_lock_keeps_others_out_until_the_end_of_the_with(self):
        with self.m.lock(0, 3) as lock:
            self.assertEqual(lock.boxes, [0, 3])
            self.m.write(3, self.m.read(0))
            for box in (0, 3):
                with self.assertRaises(dipc.Timeout):
                    self.other.read(box, wait=0.01)
            with self.assertRaises(dipc.Locked):
                self.other.lock(1, 3, wait=0)
            self.other.write(1, b"free")
        self.other.write(3, b"free again")
        with self.m.lock(0) as later:
            self.assertGreater(later.grant, lock.grant)

    def test_a_shared_lock_lets_readers_in_and_nobody_write(self):
        with self.m.lock(3, shared=True), self.other.lock(3, shared=True, wait=0):
            self.other.read(3, wait=0)
            for call in (lambda: self.m.write(3, b""), lambda: self.m.put(3, b""), lambda: self.m.take(3),
                         lambda: self.m.lock(3)):
                with self.assertRaises(dipc.Denied):
                    call()

    def test_an_exception_unlocks_too_and_comes_through(self):
        with self.assertRaises(ZeroDivisionError):
            with self.m.lock(3):
                1 / 0
        self.other.write(3, b"", wait=0)
        with self.assertRaises(ZeroDivisionError):
            with self.m.lock(3):
                self.m.close()
                1 / 0

    def test_unlock_may_come_early_and_in_parts(self):
        with self.m.lock(0, 1, 3) as lock:
            self.m.unlock(1)
            self.assertEqual(lock.boxes, [0, 3])
            self.other.write(1, b"", wait=0)
            lock.unlock()
            lock.unlock()
            self.other.write(3, b"", wait=0)
            with self.other.lock(3):
                pass
        with self.m.lock(0) as first, self.m.lock(1, 3) as second:
            with self.assertRaises(dipc.LockLost):
                self.m.unlock(0, grant=second.grant)
            self.m.unlock(grant=second.grant)
            self.assertEqual((first.boxes, second.boxes), ([0], []))
            self.m.unlock()
            self.assertEqual(first.boxes, [])
            with self.assertRaises(dipc.LockLost):
                self.m.unlock(0)

    def test_the_end_of_a_lock_that_ran_out_raises_unless_something_else_does(self):
        with self.assertRaises(dipc.LockLost) as lost:
            with self.m.lock(3, ttl=0.02) as lock:
                self.other.write(3, b"in between", wait=PATIENCE)
        self.assertEqual((lost.exception.code, lock.lost), ("lease", True))
        self.assertIsInstance(lost.exception, dipc.Refused)
        with self.assertRaises(ZeroDivisionError):
            with self.m.lock(3, ttl=0.02):
                self.other.write(3, b"in between", wait=PATIENCE)
                1 / 0
        self.m.write(3, b"as before", wait=0)

    def test_under_a_lost_lock_nothing_is_done(self):
        with contextlib.suppress(dipc.LockLost):
            with self.m.lock(3, ttl=0.02) as lock:
                self.other.write(3, b"theirs", wait=PATIENCE)
                self.m.ping()
                self.assertTrue(lock.lost)
                with self.assertRaises(dipc.LockLost):
                    self.m.write(3, b"mine")
                self.assertEqual(self.other.read(3), b"theirs")
                with self.m.lock(3) as anew:
                    self.m.write(3, b"mine")
                self.assertFalse(anew.lost)

    def test_to_wait_for_each_other_is_refused(self):
        with self.m.lock(0), self.other.lock(1):
            waits = threading.Thread(target=lambda: self.m.lock(1, wait=PATIENCE), daemon=True)
            waits.start()
            with connect() as watcher:
                wait_until(lambda: any(conn["waits"] == 1 for conn in watcher.stat("conns")))
            with self.assertRaises(dipc.Deadlock):
                self.other.lock(0)
            self.other.unlock()
            waits.join(PATIENCE)

    def test_stat_tells_of_locks_and_who_waits(self):
        with self.m.lock(1, 3) as lock, connect() as watcher:
            watcher.watch(2)
            locks = watcher.stat("locks")
            self.assertEqual([(at["box"], at["name"], at["mode"], at["grant"]) for at in locks],
                             [(1, "holder", "exclusive", lock.grant), (3, "holder", "exclusive", lock.grant)])
            self.assertLess(locks[0]["held_seconds"], locks[0]["lease_seconds"])
            box = watcher.stat(3)
            self.assertEqual((box["mailbox"], box["held"], box["holders"], box["overtakes"]), (3, "exclusive", 1, 0))
            self.assertEqual(box["lock"][0]["holder"], locks[1]["holder"])
            self.assertEqual((watcher.stat(2)["lock"], watcher.stat(2)["watchers"]), ([], 1))
            conns = {conn["name"]: conn for conn in watcher.stat("conns")}
            self.assertEqual((conns["holder"]["locks"], conns["holder"]["watches"]), ([1, 3], []))
            self.assertEqual((conns[None]["locks"], conns[None]["watches"], conns[None]["waits"]), ([], [2], None))
            self.assertEqual(conns["holder"]["connection"], locks[0]["holder"])


class Watches(unittest.TestCase):
    def setUp(self):
        self.m, self.other = connect(), connect()
        self.addCleanup(self.m.close)
        self.addCleanup(self.other.close)

    def test_a_watch_brings_what_is_written_from_then_on(self):
        before = self.other.write(3, b"before")
        watch = self.m.watch(3)
        self.assertEqual(watch.versions, {3: before})
        self.other.write(3, ALL_BYTES)
        self.assertEqual(next(watch), (before + 1, ALL_BYTES))
        self.m.write(3, b"own")
        for version, data in watch:
            self.assertEqual((version, data), (before + 2, b"own"))
            self.m.unwatch(3)
        self.assertEqual(list(watch), [])

    def test_a_watch_begins_where_it_is_told(self):
        self.other.write(3, b"a")
        last = self.other.put(3, b"b")
        watch = self.m.watch(3, after=0)
        events = [next(watch), next(watch)]
        self.assertEqual(events, [(last - 1, b"a"), (last, b"b")])
        self.assertEqual([(event.box, event.lost) for event in events], [(3, last - 2), (3, 0)])

    def test_one_watch_of_several_mailboxes_and_several_of_one(self):
        both, one = self.m.watch(0, 3), self.m.watch(1)
        self.other.write(1, b"1")
        self.other.write(3, b"3")
        self.other.write(0, b"0")
        self.assertEqual(sorted((event.box, event.data) for event in (next(both), next(both))), [(0, b"0"), (3, b"3")])
        self.assertEqual(next(one).data, b"1")
        anew = self.m.watch(3)
        self.other.write(3, b"4")
        self.other.write(0, b"5")
        self.assertEqual((next(both).data, next(anew).data), (b"5", b"4"))
        self.m.unwatch()
        self.assertEqual((list(both), list(one), list(anew)), ([], [], []))

    def test_events_that_come_with_answers_are_kept(self):
        watch = self.m.watch(3)
        datas = [b"%d" % number for number in range(100)]
        for data in datas:
            self.m.put(3, data, drop=True)
        self.m.ping()
        self.assertEqual([next(watch).data for _ in datas], datas)

    def test_a_loop_waits_longer_than_the_timeout(self):
        self.m.close()
        self.m = dipc.connect(int(PORT), timeout=0.01)
        self.addCleanup(self.m.close)
        watch = self.m.watch(3)
        writer = threading.Timer(0.05, lambda: self.other.write(3, b"late"))
        writer.start()
        self.assertEqual(next(watch).data, b"late")
        writer.join()

    def test_a_lost_lock_is_no_event(self):
        watch = self.m.watch(0)
        with self.assertRaises(dipc.LockLost):
            with self.m.lock(3, ttl=0.02) as lock:
                writer = threading.Thread(target=lambda: (self.other.write(3, b""), self.other.write(0, b"free")))
                writer.start()
                self.assertEqual(next(watch).data, b"free")
                writer.join()
                self.assertTrue(lock.lost)


class Unix(unittest.TestCase):
    def setUp(self):
        if not UNIX:
            self.skipTest("no unix socket: DIPC_TEST_UNIX is not set")

    def test_both_sockets_lead_to_the_same_mailboxes(self):
        with dipc.connect(unix=UNIX, timeout=PATIENCE, name="local") as near, connect() as far:
            version = near.write(3, ALL_BYTES)
            self.assertEqual(far.read(3), ALL_BYTES)
            self.assertEqual(far.read(3).version, version)

    def test_the_shell_takes_a_path_in_place_of_the_port(self):
        self.assertEqual(shell("--unix", UNIX, "write", 3, "by", "path")[0], 0)
        self.assertEqual(shell("read", 3, "--unix", UNIX), (0, b"by path", b""))
        self.assertEqual(shell("--unix", UNIX, data=b"read 3\n"), (0, b"by path\n", b""))


class Wire(unittest.TestCase):
    """Answers that a good server gives rarely or never."""

    def peer(self, answers, timeout=PATIENCE):
        """A connection whose server has said this already, and the server's end of it."""
        ours, theirs = socket.socketpair()
        ours.settimeout(timeout)
        theirs.settimeout(PATIENCE)
        theirs.sendall(answers)
        self.addCleanup(theirs.close)
        m = dipc.Mailboxes(ours)
        self.addCleanup(m.close)
        return m, theirs

    def test_requests_byte_for_byte(self):
        m, server = self.peer(b"OK v=8\n" + b"DATA 1 v=8 n=1\nx\n" * 4 + b"OK\nOK proto=1\n")
        m.write(3, "hello", if_version=7, off=2, wait=0.5)
        m.read(3)
        m.read(3, off=0, len=9, wait=float("inf"))
        m.read(3, wait=0)
        m.read(3, wait=1e-5)
        m.ping()
        m.hello("me")
        m.close()
        expected = (b"w 3 5 off=2 wait=0.5 if=7\nhello\nr 3\nr 3 off=0 len=9 wait=inf\nr 3 wait=0\nr 3 wait=0.00001\n"
                    b"ping\nhello name=me\nq\n")
        self.assertEqual(server.makefile("rb").read(), expected)

    def test_requests_of_lists_locks_and_watches_byte_for_byte(self):
        m, server = self.peer(b"OK v=1 n=1\n" * 2 + b"DATA 1 v=1 n=0\nx\n" * 2 +
                              b"OK grant=9\nOK\nOK grant=10\nOK\nOK\nOK v=0\nOK v=1,2\nOK\nOK\n" + b"DATA 0\n\n" * 4)
        m.put(3, "hello")
        m.put(3, b"", drop=True, wait=2)
        m.take(3, wait=5)
        m.read(3, after=7)
        m.lock(3).unlock()
        with m.lock(3, 5, shared=True, ttl=10, wait=2):
            pass
        m.unlock()
        m.watch(3)
        self.assertEqual(m.watch(5, 3, after=7).versions, {5: 1, 3: 2})
        m.unwatch(3, 5)
        m.unwatch()
        self.assertEqual((m.stat(), m.stat(3), m.stat("conns"), m.stat("locks")), ({}, {"lock": []}, [], []))
        m.close()
        expected = (b"put 3 5\nhello\nput 3 0 full=drop wait=2\n\ntake 3 wait=5\nr 3 after=7\n"
                    b"lock 3\nunlock 3 grant=9\nlock 3,5 r wait=2 ttl=10\nunlock 3,5 grant=10\nunlock *\n"
                    b"watch 3\nwatch 5,3 after=7\nunwatch 3,5\nunwatch *\n"
                    b"stat\nstat box 3\nstat conns\nstat locks\nq\n")
        self.assertEqual(server.makefile("rb").read(), expected)
        for call in (m.lock, m.watch):
            with self.assertRaises(ValueError):
                call()

    def test_of_too_many_events_the_oldest_go_and_are_counted(self):
        event = b"EVENT 1000 box=%d v=%d\n" + b"x" * 1000 + b"\n"
        kept, dipc.KEPT = dipc.KEPT, 3 * (1000 + dipc.EVENT)
        self.addCleanup(setattr, dipc, "KEPT", kept)
        numbers = [(1, 1), (2, 1), (1, 2), (1, 3), (1, 4), (1, 5)]
        m, _ = self.peer(b"OK v=0,0\n" + b"".join(event % number for number in numbers) +
                         b"EVENT 0 box=2 v=9 lost=7\n\nOK\n")
        watch = m.watch(1, 2)
        m.ping()
        events = [next(watch) for _ in range(3)]
        self.assertEqual([(event.box, event.version, event.lost) for event in events],
                         [(1, 4, 3), (1, 5, 0), (2, 9, 8)])

    def test_an_event_may_come_in_pieces_and_between_any_answers(self):
        whole = (b"OK v=0\r\nEVENT 3 box=1 v=1\r\na\nb\r\nOK\r\nEVENT 0 box=7 v=9\r\n\r\n"
                 b"EVENT 1 box=1 v=4 lost=2\r\nc\r\n")
        for size in (1, 7, 1000):
            m, server = self.peer(b"")
            pieces = [whole[at:at + size] for at in range(0, len(whole), size)]
            send = threading.Thread(target=lambda: [server.sendall(piece) for piece in pieces])
            send.start()
            watch = m.watch(1)
            m.ping()
            events = [next(watch), next(watch)]
            send.join()
            self.assertEqual(events, [(1, b"a\nb"), (4, b"c")])
            self.assertEqual((events[0].lost, events[1].lost), (0, 2))

    def test_who_watches_hears_what_is_said_while_he_sends(self):
        event, body = b"EVENT 1000000 box=1 v=1\n" + bytes(1000000) + b"\n", bytes(3000000)
        m, server = self.peer(b"OK v=0\n")

        def stubborn():
            server.sendall(event * 3)  # and listens only then
            got = 0
            while got < len(body):
                got += len(server.recv(1 << 20))
            server.sendall(b"OK v=2\n")

        thread = threading.Thread(target=stubborn)
        watch = m.watch(1)
        thread.start()
        self.assertEqual(m.write(2, body), 2)
        self.assertEqual([len(next(watch).data) for _ in range(3)], [1000000] * 3)
        thread.join()

    def test_a_watch_ends_with_its_server(self):
        for goodbye, error in ((b"", ConnectionError), (b"OK\n", ConnectionError),
                               (b"ERR drain : bye\n", dipc.Refused)):
            m, server = self.peer(b"OK v=0\nEVENT 1 box=1 v=1\nx\n" + goodbye)
            server.shutdown(socket.SHUT_WR)
            watch = m.watch(1)
            self.assertEqual(next(watch).data, b"x")
            with self.assertRaises(error):
                next(watch)
            self.assertTrue(m.closed)
            with self.assertRaises(ConnectionError):
                next(watch)

    def test_reasons_and_codes_have_classes(self):
        reasons = {"empty": dipc.Empty, "full": dipc.Full, "locked": dipc.Locked, "multi": dipc.Multi}
        codes = {"lease": dipc.LockLost, "deadlock": dipc.Deadlock, "denied": dipc.Denied}
        for code, kind in {**reasons, **codes}.items():
            m, _ = self.peer(b"%s %s\nOK\n" % (b"NO" if code in reasons else b"ERR", code.encode()))
            with self.assertRaises(kind) as error:
                m.take(3)
            self.assertIsInstance(error.exception, dipc.NotDone if code in reasons else dipc.Refused)
            m.ping()

    def test_a_timeout_is_one_of_ours_and_one_of_python_s(self):
        m, _ = self.peer(b"NO timeout v=5\nOK\n")
        with self.assertRaises(dipc.Timeout) as timeout:
            m.read(3, wait=0)
        self.assertIsInstance(timeout.exception, TimeoutError)
        self.assertIsInstance(timeout.exception, dipc.NotDone)
        self.assertEqual((timeout.exception.code, timeout.exception.fields), ("timeout", {"v": 5}))
        self.assertEqual(str(timeout.exception), "timeout v=5")
        m.ping()

    def test_a_reason_without_a_class_of_its_own_is_not_done(self):
        m, _ = self.peer(b"NO fun\n")
        with self.assertRaises(dipc.NotDone) as not_done:
            m.write(3, b"x", off=1)
        self.assertEqual(not_done.exception.code, "fun")

    def test_a_refusal_tells_code_fields_and_text(self):
        m, _ = self.peer(b"ERR size max=8 : too long : by far\r\n" b"ERR verb\nOK\r\n")
        with self.assertRaises(dipc.Refused) as refused:
            m.write(3, b"123456789")
        error = refused.exception
        self.assertEqual((error.code, error.fields, error.text), ("size", {"max": 8}, "too long : by far"))
        self.assertEqual(str(error), "size max=8: too long : by far")
        with self.assertRaises(dipc.Refused):
            m.ping()
        m.ping()

    def test_a_refusal_before_hanging_up_is_heard_even_if_sending_fails(self):
        m, server = self.peer(b"ERR busy max=1\n")
        server.close()
        with self.assertRaises(dipc.Refused) as refused:
            m.write(3, bytes(1 << 20))
        self.assertEqual((refused.exception.code, refused.exception.fields), ("busy", {"max": 1}))
        self.assertTrue(m.closed)

    def test_a_server_that_hangs_up_is_a_connection_error(self):
        for part in (b"", b"DAT", b"DATA 5 v=1 n=1\nhel", b"DATA 5 v=1 n=1\nhello"):
            m, server = self.peer(part)
            server.close()
            with self.assertRaises(ConnectionError):
                m.read(3)
            self.assertTrue(m.closed)

    def test_after_a_silence_the_connection_does_not_answer_again(self):
        for part in (b"", b"DATA 5 v=1", b"DATA 5 v=1 n=1\nhel"):
            m, server = self.peer(part, timeout=0.01)
            with self.assertRaises(TimeoutError) as silence:
                m.read(3)
            self.assertNotIsInstance(silence.exception, dipc.DipcError)
            self.assertTrue(m.closed)
            with self.assertRaises(ConnectionError):
                m.read(3)

    def test_what_is_not_dipc_is_a_connection_error(self):
        for answer in (b"HTTP/1.1 400 Bad Request\r\n", b"\n", b"OKAY\n", b"NO\n", b"ERR\n", b"OK v\n", b"OK  v=1\n",
                       b"DATA\n", b"DATA x v=1 n=1\n", b"DATA -1 v=1 n=1\n", b"DATA 2 v=1 n=1\nabc\n", b"\xff\xfe\n",
                       b"DATA 3\nabc\n", b"DATA 3 v=one n=1\nabc\n", b"OK v=1\n", b"EVENT 0 box=1 v=1\n\n",
                       b"x" * 100000):
            m, server = self.peer(answer)
            server.shutdown(socket.SHUT_WR)
            with self.assertRaises(ConnectionError):
                m.read(3)
            self.assertTrue(m.closed)

    def test_answers_may_end_with_cr_lf(self):
        m, _ = self.peer(b"DATA 3 v=1 n=1\r\na\r\n\r\nOK v=2\r\n")
        self.assertEqual(m.read(3), b"a\r\n")
        self.assertEqual(m.write(3, b"x"), 2)


class Shell(unittest.TestCase):
    def setUp(self):
        self.m = connect()
        self.addCleanup(self.m.close)

    def test_read_writes_exactly_the_bytes(self):
        for data in (ALL_BYTES, b"", b"no end of line", b"\r\n"):
            self.m.write(3, data)
            self.assertEqual(shell(PORT, "read", 3), (0, data, b""))
        self.m.write(3, b"hello world")
        self.assertEqual(shell(PORT, "r", 3, "--off", 6, "--len=2", "--wait", 1), (0, b"wo", b""))

    def test_write_takes_arguments_or_standard_input(self):
        code, out, err = shell(PORT, "write", 3, "hello", "", "wörld", data=b"not this")
        self.assertEqual((code, out, err), (0, b"version %d\n" % self.m.read(3).version, b""))
        self.assertEqual(self.m.read(3), "hello  wörld".encode())
        for data in (ALL_BYTES, b"", b"line\n"):
            self.assertEqual(shell(PORT, "w", 3, data=data)[0], 0)
            self.assertEqual((self.m.read(3), self.m.read(3).count), (data, 1))
        self.assertEqual(shell(PORT, "write", 3, "", data=b"not this")[0], 0)
        self.assertEqual(self.m.read(3), b"")
        self.assertEqual(shell("--off", "0", PORT, "write", 3, "--", "--if")[0], 0)
        self.assertEqual(self.m.read(3), b"--if")

    def test_put_and_take(self):
        version = self.m.write(3, b"first")
        self.assertEqual(shell(PORT, "put", 3, "two", "words"), (0, b"version %d\ncount 2\n" % (version + 1), b""))
        self.assertEqual(shell(PORT, "put", 3, "--drop", "--wait", 1, data=ALL_BYTES)[0], 0)
        self.assertEqual(shell(PORT, "read", 3, "--after", version), (0, b"two words", b""))
        taken = [shell(PORT, "take", 3, "--wait", 0) for _ in range(4)]
        self.assertEqual(taken, [(0, data, b"") for data in (b"first", b"two words", ALL_BYTES)] +
                         [(1, b"", b"dipc: empty\n")])

    def test_watch_prints_a_line_for_each_message_until_ctrl_c(self):
        version = self.m.write(3, b"gone")
        self.m.write(3, b"a")
        watch = subprocess.Popen([sys.executable, SCRIPT, PORT, "watch", "--after", str(version - 1), "1,3"],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(watch.wait)
        self.addCleanup(watch.kill)
        lines = iter(watch.stdout.readline, b"")  # some may be of mailbox 1
        self.assertIn(b"3: a\n", lines)
        self.m.write(3, b"b\n")
        self.assertIn(b"3: b\n", lines)
        watch.send_signal(signal.SIGINT)
        err = watch.communicate(timeout=PATIENCE)[1]
        self.assertIn(b"dipc: 1 messages of mailbox 3 are gone\n", err)
        self.assertEqual((watch.returncode, b"Traceback" in err), (130, False))

    def test_what_is_not_done_exits_1(self):
        version = self.m.write(3, b"x")
        self.assertEqual(shell(PORT, "write", 3, "--if", version, "y")[0], 0)
        conflict = b"dipc: conflict v=%d\n" % (version + 1)
        self.assertEqual(shell(PORT, "write", 3, "--if", version, "z"), (1, b"", conflict))

    def test_what_is_refused_or_wrong_exits_2_with_one_line(self):
        for words in ((PORT, "read", 4), (PORT, "write", 3, "x" * 70000), (PORT, "frobnicate"), (PORT, "read"),
                      (PORT, "read", "three"), (PORT, "read", 3, 4), (PORT, "read", 3, "--if", 4), (PORT, "write"),
                      (PORT, "read", 3, "--off", "x"), (PORT, "ping", "--nonsense"), (PORT, "--wait", 1), (),
                      ("port", "ping"), (70000, "ping"), (PORT, "hello", "two words"),
                      (PORT, "take"), (PORT, "put"), (PORT, "put", 3, "--off", 1, "x"), (PORT, "watch", "1,x"),
                      (PORT, "watch", ""), (PORT, "stat", "nonsense"), (PORT, "stat", 4), (PORT, "write", 3, "--drop")):
            code, out, err = shell(*words)
            self.assertEqual((code, out), (2, b""), words)
            self.assertRegex(err, rb"\Adipc: [^\n]+\n\Z", words)

    def test_where_nobody_listens_exits_3(self):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            code, out, err = shell(silent.getsockname()[1], "ping")
        self.assertEqual((code, out), (3, b""))
        self.assertRegex(err, rb"\Adipc: cannot connect to 127.0.0.1:\d+: [^\n]+\n\Z")
        self.assertEqual(shell("--unix", "/nowhere/at/all", "ping")[0], 3)

    def test_the_smaller_commands(self):
        self.assertEqual(shell(PORT, "ping", "--host", "localhost"), (0, b"ok\n", b""))
        self.assertIn(b"proto 1\n", shell(PORT, "hello", "tester")[1])
        for topic in ((), (3,), ("conns",), ("locks",)):
            self.assertRegex(shell(PORT, "stat", *topic)[1], rb"\A(\S+ .*\n)*\Z")
        self.assertEqual(shell(PORT, "help")[1].decode().strip(), self.m.help().strip())
        self.assertEqual(shell("--help")[:2], (0, dipc.__doc__.encode()))


class Prompt(unittest.TestCase):
    def setUp(self):
        self.m = connect()
        self.addCleanup(self.m.close)

    def test_commands_from_a_pipe_need_no_prompt(self):
        code, out, err = shell(PORT, data=b"write 3 two  blanks \n\nread 3\nw 3\nthe text\xff\nr 3\nping\n"
                                    b"put 3 more  text\nput 3\nto take\ntake 3\ntake 3\nr 3\n"
                                    b"w 3\nthe text\xff\nquit\nping\n")
        version = self.m.read(3).version
        expected = (b"version %d\ntwo  blanks \nversion %d\nthe text\xff\nok\n"
                    b"version %d\ncount 2\nversion %d\ncount 3\n"
                    b"the text\xff\nmore  text\nto take\nversion %d\n" % tuple(range(version - 4, version + 1)))
        self.assertEqual((code, out, err), (0, expected, b""))
        self.assertEqual(self.m.read(3), b"the text\xff")

    def test_a_refused_command_does_not_end_it(self):
        code, out, err = shell(PORT, data=b"read 9\nfrobnicate\nread x\nread\nping\n")
        self.assertEqual((code, out), (0, b"ok\n"))
        self.assertRegex(err, rb"\Adipc: box max=3[^\n]*\n(dipc: [^\n]+\n){3}\Z")

    def test_the_end_of_input_ends_it_also_within_a_write(self):
        version = self.m.write(3, b"kept")
        self.assertEqual(shell(PORT, data=b""), (0, b"", b""))
        self.assertEqual(shell(PORT, data=b"write 3\n"), (0, b"", b""))
        self.assertEqual(self.m.read(3).version, version)

    def test_a_lost_connection_exits_3(self):
        for goodbye in (b"", b"ERR drain\n"):
            with socket.socket() as server:
                server.settimeout(PATIENCE)
                server.bind(("127.0.0.1", 0))
                server.listen()
                prompt = subprocess.Popen([sys.executable, SCRIPT, str(server.getsockname()[1])], bufsize=0,
                                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                prompt.stdin.write(b"ping\nping\n")
                client = server.accept()[0]
                client.recv(5, socket.MSG_WAITALL)
                client.sendall(goodbye)
                client.close()
                out, err = prompt.communicate(timeout=PATIENCE)
            self.assertEqual((prompt.returncode, out), (3, b""))
            self.assertTrue(err.endswith(b"dipc: the server closed the connection\n"), err)

    @unittest.skipUnless(hasattr(os, "openpty"), "no terminals here")
    def test_ctrl_c_ends_a_watch_and_nothing_else(self):
        ours, theirs = os.openpty()
        self.addCleanup(os.close, ours)
        prompt = subprocess.Popen([sys.executable, SCRIPT, PORT], stdin=theirs, stdout=theirs, stderr=theirs,
                                  start_new_session=True, env=dict(os.environ, TERM="dumb"))
        watchdog = threading.Timer(PATIENCE, prompt.kill)
        watchdog.start()
        self.addCleanup(watchdog.cancel)
        os.close(theirs)
        seen = b""

        def until(awaited):
            nonlocal seen
            while awaited not in seen:
                seen += os.read(ours, 1024)
            seen = seen.partition(awaited)[2]

        until(b"dipc> ")
        os.write(ours, b"watch 3\n")
        wait_until(lambda: self.m.stat(3)["watchers"] == 1)
        self.m.write(3, b"some news")
        until(b"some news\r\n")
        prompt.send_signal(signal.SIGINT)
        until(b"dipc> ")
        self.assertEqual(self.m.stat(3)["watchers"], 0)
        os.write(ours, b"quit\n")
        self.assertEqual(prompt.wait(), 0)

    @unittest.skipUnless(hasattr(os, "openpty"), "no terminals here")
    def test_on_a_terminal_it_prompts_and_ctrl_c_leaves_no_traceback(self):
        ours, theirs = os.openpty()
        self.addCleanup(os.close, ours)
        prompt = subprocess.Popen([sys.executable, SCRIPT, PORT], stdin=theirs, stdout=theirs, stderr=theirs,
                                  start_new_session=True, env=dict(os.environ, TERM="dumb"))
        watchdog = threading.Timer(PATIENCE, prompt.kill)
        watchdog.start()
        self.addCleanup(watchdog.cancel)
        os.close(theirs)
        seen = b""
        for awaited, answer in ((b"dipc> ", b"write 3\n"), (b"text> ", b"typed\n"), (b"dipc> ", b"read 3\n"),
                                (b"typed\r\n", b""), (b"dipc> ", b"")):
            while awaited not in seen:
                seen += os.read(ours, 1024)
            seen = seen.partition(awaited)[2]
            os.write(ours, answer)
        for _ in range(PATIENCE):  # the line editor sleeps through a signal that comes just before it listens
            prompt.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                prompt.wait(1)
                break
        with contextlib.suppress(OSError):  # which is how a terminal ends on Linux
            for more in iter(lambda: os.read(ours, 1024), b""):
                seen += more
        self.assertEqual(prompt.returncode, 130)
        self.assertNotIn(b"Traceback", seen)


class Chat(unittest.TestCase):
    def chat(self, name, port=None):
        person = subprocess.Popen([sys.executable, CHAT, str(port or PORT), "0", name], bufsize=0, stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        watchdog = threading.Timer(PATIENCE, person.kill)
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
            server.settimeout(PATIENCE)
            server.bind(("127.0.0.1", 0))
            server.listen()
            person = self.chat("x", server.getsockname()[1])
            for _ in range(2):
                server.accept()[0].close()
        self.assertNotEqual(person.wait(), 0)
        self.assertRegex(person.stderr.read(), rb"\Achat: [^\n]+\n\Z")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        PORT, UNIX = (sys.argv[1:] + [UNIX])[:2]
    if not PORT:
        sys.exit("usage: test_dipc.py PORT [UNIX_PATH]")
    unittest.main(argv=sys.argv[:1])
