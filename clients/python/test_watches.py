"""Tests of watches."""

import threading
import unittest

import dipc
from support import ALL_BYTES, PORT, connect, require_server

setUpModule = require_server


class Watches(unittest.TestCase):
    def setUp(self):
        self.m, self.other = connect(), connect()
        self.addCleanup(self.m.close)
        self.addCleanup(self.other.close)

    def test_a_watch_returns_new_messages(self):
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

    def test_a_watch_can_start_after_a_version(self):
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
        events = sorted((event.box, event.data) for event in (next(both), next(both)))
        self.assertEqual(events, [(0, b"0"), (3, b"3")])
        self.assertEqual(next(one).data, b"1")
        later = self.m.watch(3)
        self.other.write(3, b"4")
        self.other.write(0, b"5")
        self.assertEqual((next(both).data, next(later).data), (b"5", b"4"))
        self.m.unwatch()
        self.assertEqual((list(both), list(one), list(later)), ([], [], []))

    def test_events_between_answers_are_buffered(self):
        watch = self.m.watch(3)
        datas = [b"%d" % number for number in range(100)]
        for data in datas:
            self.m.put(3, data, drop=True)
        self.m.ping()
        self.assertEqual([next(watch).data for _ in datas], datas)

    def test_a_loop_ignores_the_timeout(self):
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
                writer = threading.Thread(
                    target=lambda: (self.other.write(3, b""), self.other.write(0, b"free")))
                writer.start()
                self.assertEqual(next(watch).data, b"free")
                writer.join()
                self.assertTrue(lock.lost)
