"""Tests of locks and leases."""

import contextlib
import threading
import unittest

import dipc
from support import TIMEOUT, connect, require_server, wait_until

setUpModule = require_server


class Locks(unittest.TestCase):
    def setUp(self):
        self.m, self.other = connect(name="holder"), connect(name="other")
        self.addCleanup(self.m.close)
        self.addCleanup(self.other.close)

    def test_a_lock_excludes_other_clients_until_the_with_block_ends(self):
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

    def test_a_shared_lock_admits_reads_and_no_writes(self):
        with self.m.lock(3, shared=True), self.other.lock(3, shared=True, wait=0):
            self.other.read(3, wait=0)
            for call in (lambda: self.m.write(3, b""), lambda: self.m.put(3, b""), lambda: self.m.take(3),
                         lambda: self.m.lock(3)):
                with self.assertRaises(dipc.Denied):
                    call()

    def test_an_exception_unlocks_and_is_propagated(self):
        with self.assertRaises(ZeroDivisionError):
            with self.m.lock(3):
                1 / 0
        self.other.write(3, b"", wait=0)
        with self.assertRaises(ZeroDivisionError):
            with self.m.lock(3):
                self.m.close()
                1 / 0

    def test_mailboxes_can_be_unlocked_early_and_one_by_one(self):
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

    def test_leaving_the_block_of_an_expired_lock_raises_unless_another_exception_does(self):
        with self.assertRaises(dipc.LockLost) as lost:
            with self.m.lock(3, ttl=0.02) as lock:
                self.other.write(3, b"in between", wait=TIMEOUT)
        self.assertEqual((lost.exception.code, lock.lost), ("lease", True))
        self.assertIsInstance(lost.exception, dipc.Refused)
        with self.assertRaises(ZeroDivisionError):
            with self.m.lock(3, ttl=0.02):
                self.other.write(3, b"in between", wait=TIMEOUT)
                1 / 0
        self.m.write(3, b"as before", wait=0)

    def test_requests_under_an_expired_lock_are_refused(self):
        with contextlib.suppress(dipc.LockLost):
            with self.m.lock(3, ttl=0.02) as lock:
                self.other.write(3, b"theirs", wait=TIMEOUT)
                self.m.ping()
                self.assertTrue(lock.lost)
                with self.assertRaises(dipc.LockLost):
                    self.m.write(3, b"mine")
                self.assertEqual(self.other.read(3), b"theirs")
                with self.m.lock(3) as second:
                    self.m.write(3, b"mine")
                self.assertFalse(second.lost)

    def test_a_cycle_of_waits_is_refused(self):
        with self.m.lock(0), self.other.lock(1):
            waiter = threading.Thread(target=lambda: self.m.lock(1, wait=TIMEOUT), daemon=True)
            waiter.start()
            with connect() as watcher:
                wait_until(lambda: any(conn["waits"] == 1 for conn in watcher.stat("conns")))
            with self.assertRaises(dipc.Deadlock):
                self.other.lock(0)
            self.other.unlock()
            waiter.join(TIMEOUT)

    def test_stat_shows_locks_and_watches(self):
        with self.m.lock(1, 3) as lock, connect() as watcher:
            watcher.watch(2)
            locks = watcher.stat("locks")
            self.assertEqual([(line["box"], line["name"], line["mode"], line["grant"]) for line in locks],
                             [(1, "holder", "exclusive", lock.grant), (3, "holder", "exclusive", lock.grant)])
            self.assertLess(locks[0]["held_seconds"], locks[0]["lease_seconds"])
            box = watcher.stat(3)
            self.assertEqual((box["mailbox"], box["held"], box["holders"], box["overtakes"]),
                             (3, "exclusive", 1, 0))
            self.assertEqual(box["lock"][0]["holder"], locks[1]["holder"])
            self.assertEqual((watcher.stat(2)["lock"], watcher.stat(2)["watchers"]), ([], 1))
            conns = {conn["name"]: conn for conn in watcher.stat("conns")}
            self.assertEqual((conns["holder"]["locks"], conns["holder"]["watches"]), ([1, 3], []))
            unnamed = conns[None]
            self.assertEqual((unnamed["locks"], unnamed["watches"], unnamed["waits"]), ([], [2], None))
            self.assertEqual(conns["holder"]["connection"], locks[0]["holder"])

    def test_a_long_stat_is_complete(self):
        """The server answers in parts of 32 KiB."""
        with contextlib.ExitStack() as stack:
            wanted = ["n" * 60 + str(number) for number in range(300)]
            for name in wanted:
                stack.enter_context(connect(name=name))
            names = [conn["name"] for conn in self.m.stat("conns")]
            self.assertEqual(sorted(name for name in names if name in wanted), sorted(wanted))
