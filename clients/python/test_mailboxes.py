"""Tests of reads, writes, queues and connections, over TCP and the Unix socket."""

import contextlib
import threading
import unittest

import dipc
from support import ALL_BYTES, TIMEOUT, UNIX, connect, require_server, shell

setUpModule = require_server


class Messages(unittest.TestCase):
    def setUp(self):
        self.m = connect()
        self.addCleanup(self.m.close)

    def test_a_read_returns_the_message_with_version_and_count(self):
        version = self.m.write(3, b"hello")
        message = self.m.read(3)
        self.assertEqual(message, b"hello")
        self.assertEqual((message.version, message.count), (version, 1))
        self.assertEqual(self.m.write(3, b"again"), version + 1)

    def test_any_bytes_are_returned_unchanged(self):
        for data in (ALL_BYTES, b"", b"\n", b"\r\n", b"a\nb\r\nc\n", b"q\n", b"OK v=1\n",
                     b"\xff\xf4\xff\xfd"):
            for kind in (bytes, bytearray, memoryview):
                self.m.write(0, kind(data))
                self.assertEqual(self.m.read(0), data)

    def test_text_is_utf8(self):
        self.m.write(0, "grüße ☃")
        self.assertEqual(self.m.read(0).decode(), "grüße ☃")

    def test_data_that_is_neither_bytes_nor_text_is_a_type_error(self):
        for wrong in (5, None, [1, 2]):
            with self.assertRaises(TypeError):
                self.m.write(0, wrong)
        self.m.ping()

    def test_an_empty_message_is_not_an_empty_mailbox(self):
        self.m.write(0, b"")
        self.assertEqual((self.m.read(0), self.m.read(0).count), (b"", 1))
        self.assertEqual((self.m.read(2), self.m.read(2).count, self.m.read(2).version), (b"", 0, 0))

    def test_a_message_of_the_largest_size_is_accepted_and_a_larger_one_refused(self):
        self.m.write(0, b"before")
        with self.assertRaises(dipc.Refused) as refused:
            self.m.write(0, b"x" * 8193)
        self.assertEqual(refused.exception.code, "size")
        self.assertEqual(self.m.read(0), b"before")
        longest = ALL_BYTES * (refused.exception.fields["max"] // 256)
        self.m.write(0, longest)
        self.assertEqual(self.m.read(0), longest)

    def test_a_very_large_message_is_refused(self):
        with self.assertRaises((dipc.Refused, ConnectionError)) as refused:
            self.m.write(0, bytes(4 << 20))
        if isinstance(refused.exception, dipc.Refused):
            self.assertEqual(refused.exception.code, "size")

    def test_a_conditional_write_needs_its_version(self):
        version = self.m.write(1, b"mine")
        self.assertEqual(self.m.write(1, b"next", if_version=version), version + 1)
        with self.assertRaises(dipc.Conflict) as conflict:
            self.m.write(1, b"late", if_version=version)
        self.assertEqual((conflict.exception.code, conflict.exception.version), ("conflict", version + 1))
        self.assertIsInstance(conflict.exception, dipc.NotDone)
        self.assertEqual(self.m.read(1), b"next")

    def test_a_part_can_be_read_and_overwritten(self):
        version = self.m.write(0, b"hello world")
        self.assertEqual(self.m.read(0, off=6), b"world")
        self.assertEqual(self.m.read(0, len=5), b"hello")
        self.assertEqual(self.m.read(0, off=4, len=3), b"o w")
        self.assertEqual(self.m.write(0, b"WOR", off=6), version + 1)
        self.assertEqual(self.m.read(0), b"hello WORld")

    def test_an_unknown_mailbox_is_refused_and_the_connection_stays_open(self):
        for call in (lambda: self.m.read(4), lambda: self.m.write(4, b"q\nping\n")):
            with self.assertRaises(dipc.Refused) as refused:
                call()
            self.assertEqual((refused.exception.code, refused.exception.fields), ("box", {"max": 3}))
            self.assertIsInstance(refused.exception, dipc.DipcError)
        self.m.ping()

    def test_any_wait_from_zero_to_infinity_is_accepted(self):
        for wait in (None, 0, 0.25, 1e-5, 3, float("inf")):
            self.m.write(0, b"soon", wait=wait)
            self.assertEqual(self.m.read(0, wait=wait), b"soon")

    def test_words_that_would_corrupt_the_request_line_are_rejected(self):
        for name in ("two words", "line\nq", "grüße"):
            with self.assertRaises(ValueError):
                self.m.hello(name)
        with self.assertRaises(ValueError):
            self.m.read("3 off=1")
        with self.assertRaises(TypeError):
            self.m.read(None)
        self.m.ping()

    def test_hello_stat_and_help_describe_the_server(self):
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

    def test_an_invalid_address_is_a_value_error(self):
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

    def test_conditional_writes_of_many_clients_all_succeed_in_the_end(self):
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
            thread.join(TIMEOUT)
        self.assertEqual(self.m.read(1), b"160")
        self.assertEqual(self.m.read(1).version, start + 160)


class Queues(unittest.TestCase):
    def setUp(self):
        self.m = connect()
        self.addCleanup(self.m.close)
        with contextlib.suppress(dipc.Empty):
            while True:
                self.m.take(1, wait=0)

    def test_messages_are_taken_in_the_order_of_their_puts(self):
        start = self.m.read(1).version
        puts = [self.m.put(1, data) for data in (b"one", "zw\u00f6lf", b"")]
        self.assertEqual([(put - start, put.count) for put in puts], [(1, 1), (2, 2), (3, 3)])
        taken = [self.m.take(1, wait=0) for _ in puts]
        self.assertEqual(taken, [b"one", "zw\u00f6lf".encode(), b""])
        self.assertEqual([(message.version, message.count) for message in taken],
                         [(start + 1, 2), (start + 2, 1), (start + 3, 0)])

    def test_empty_and_full_are_reported_in_time(self):
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

    def test_read_after_returns_the_next_message_and_counts_lost_ones(self):
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

    def test_a_take_waits_for_a_put(self):
        taken = []
        taker = threading.Thread(target=lambda: taken.append(self.m.take(1, wait=TIMEOUT)), daemon=True)
        taker.start()
        with connect() as other:
            other.put(1, b"at last")
        taker.join(TIMEOUT)
        self.assertEqual(taken, [b"at last"])


class Unix(unittest.TestCase):
    def setUp(self):
        if not UNIX:
            self.skipTest("no Unix socket: DIPC_TEST_UNIX is not set")

    def test_both_sockets_access_the_same_mailboxes(self):
        with dipc.connect(unix=UNIX, timeout=TIMEOUT, name="local") as local, connect() as remote:
            version = local.write(3, ALL_BYTES)
            self.assertEqual(remote.read(3), ALL_BYTES)
            self.assertEqual(remote.read(3).version, version)

    def test_the_command_line_accepts_a_path_instead_of_a_port(self):
        self.assertEqual(shell("--unix", UNIX, "write", 3, "by", "path")[0], 0)
        self.assertEqual(shell("read", 3, "--unix", UNIX), (0, b"by path", b""))
        self.assertEqual(shell("--unix", UNIX, data=b"read 3\n"), (0, b"by path\n", b""))
