"""Tests of reads in the shared memory, with and without the compiled library."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import unittest

import dipc
import dipc_local
from support import ALL_BYTES, DIPC, SCRIPT, TIMEOUT, Server, wait_until


def setUpModule():
    try:
        dipc_local.library()
    except OSError as error:
        raise unittest.SkipTest(str(error))


class LocalTest(unittest.TestCase):
    def setUp(self):
        self.server = Server(self)
        self.m = self.server.connect()
        self.addCleanup(self.m.close)

    def open(self):
        local = dipc.local(self.server.port, self.server.directory)
        self.addCleanup(local.close)
        return local

    def connect(self, **options):
        mailboxes = self.server.connect(local=self.server.directory, **options)
        self.addCleanup(mailboxes.close)
        self.assertIsNotNone(mailboxes.local, mailboxes.local_error)
        return mailboxes

    @contextlib.contextmanager
    def local_only(self, mailboxes):
        """Within this, a request over the connection fails."""
        mailboxes._ask = None
        yield
        del mailboxes._ask

    def restart(self, number, *options):
        self.server.restart(number, *options)
        self.m.reconnect()


class Memory(LocalTest):
    def test_messages_of_all_kinds(self):
        local = self.open()
        message = local.read(3)
        self.assertEqual((message, message.version, message.count), (b"", 0, 0))
        self.m.write(3, ALL_BYTES)
        message = local.read(3)
        self.assertEqual((message, message.version, message.count, message.lost), (ALL_BYTES, 1, 1, 0))
        large = os.urandom(8192)
        self.m.put(3, large)
        self.m.put(3, b"")
        self.assertEqual((local.read(3), local.read(3).count, local.version(3)), (b"", 3, 3))
        cursor = local.cursor(3)
        found = [local.after(cursor) for _ in range(4)]
        self.assertEqual(found, [ALL_BYTES, large, b"", None])
        self.assertEqual((cursor.box, cursor.version), (3, 3))
        info = local.mailboxes()
        self.assertEqual((info.boxes, info.size, info.life), (4, 65536, self.m.hello()["life"]))

    def test_messages_behind_holes(self):
        for data in (b"1", b"2", b"3", b"4", b"5"):
            self.m.put(3, data)
        local, jobs = self.open(), [self.m.job(3) for _ in range(5)]
        for index, newest, rest in ((1, b"5", b"1345"), (4, b"4", b"134"), (3, b"3", b"13"), (0, b"3", b"3")):
            jobs[index].done()
            cursor = local.cursor(3)
            messages = iter(lambda: local.after(cursor), None)
            self.assertEqual((b"".join(messages), local.read(3), local.read(3).count), (rest, newest, len(rest)))
        jobs[2].done()
        self.assertEqual((local.read(3).count, local.version(3)), (0, 5))

    def test_refusals(self):
        local = self.open()
        for box in (4, -1, 1 << 32):
            with self.assertRaises(dipc.Refused) as caught:
                local.read(box)
            self.assertEqual(caught.exception.code, "box")
        with self.assertRaises(dipc.Ahead):
            local.after(local.cursor(3, after=1))
        with self.assertRaises(dipc.Ahead):
            local.wait(local.cursor(3, after=1))
        with self.m.lock(3):
            for call in (local.read, local.version, lambda box: local.after(local.cursor(box))):
                with self.assertRaises(dipc_local.Miss) as caught:
                    call(3)
                self.assertEqual(caught.exception.code, "held")
        with self.m.lock(3, shared=True):
            self.assertEqual(local.read(3), b"")
        local.close()
        local.close()
        with self.assertRaises(ValueError):
            local.read(3)
        with self.assertRaises(OSError):
            dipc.local(1, self.server.directory)
        with self.assertRaises(OSError):
            dipc.local(0)

    def test_a_waiter_is_woken(self):
        local = self.open()
        cursors = [local.cursor(box) for box in (0, 3)]
        self.assertIsNone(local.wait(*cursors, timeout=0))
        self.assertIsNone(local.wait(*cursors, timeout=0.01))
        for box, cursor in enumerate(cursors):
            self.assertIsNone(local.wait(cursors[box], timeout=0))  # removes the flags of earlier rounds
            writer = threading.Thread(target=self.write_to_a_waiter, args=(cursor.box,))
            writer.start()
            self.assertIs(local.wait(*cursors), cursor)
            writer.join()
            self.assertEqual(local.after(cursor), b"news")
        self.assertIsNone(local.wait(*cursors, timeout=0))

    def write_to_a_waiter(self, box):
        path = os.path.join(self.server.directory, str(self.server.port), "waiters")

        def is_waiting():
            with open(path, "rb") as flags:
                return any(flags.read()[4 * box:4 * box + 4])

        wait_until(is_waiting)
        with self.server.connect() as other:
            other.write(box, b"news")

    def test_a_signal_ends_a_wait(self):
        code = "import dipc\nlocal = dipc.local(%d, %r)\n" \
               "try:\n    print('waits', flush=True)\n    local.wait(local.cursor(3))\n" \
               "except KeyboardInterrupt:\n    print('interrupted')\n"
        code %= (self.server.port, self.server.directory)
        child = subprocess.Popen([sys.executable, "-c", code], cwd=os.path.dirname(SCRIPT), stdout=subprocess.PIPE)
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.kill)
        self.assertEqual(child.stdout.readline(), b"waits\n")
        child.send_signal(signal.SIGINT)
        self.assertEqual(child.communicate(timeout=TIMEOUT)[0], b"interrupted\n")

    def test_restarts(self):
        local = self.open()
        self.m.write(3, b"kept")
        cursor = local.cursor(3)
        self.assertEqual(local.after(cursor), b"kept")
        self.server.stop(signal.SIGKILL)
        self.assertEqual(local.read(3), b"kept")
        self.server.start()
        self.m.reconnect()
        self.m.put(3, b"more")
        self.assertIs(local.wait(cursor, timeout=TIMEOUT), cursor)
        self.assertEqual(local.after(cursor), b"more")
        writer = threading.Thread(target=self.write_to_a_waiter, args=(3,))
        writer.start()
        self.assertIs(local.wait(cursor, timeout=TIMEOUT), cursor)
        writer.join()

        self.restart(signal.SIGTERM, "--fresh")
        self.assertEqual(local.read(3).count, 0)
        for call in (local.after, local.wait):
            with self.assertRaises(dipc.Ahead):
                call(cursor)

        words = [DIPC + "rm", str(self.server.port), "--dir", self.server.directory]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=TIMEOUT)
        for call in (lambda: local.read(3), lambda: local.wait(local.cursor(3)), local.mailboxes):
            with self.assertRaises(dipc_local.Miss) as caught:
                call()
            self.assertEqual(caught.exception.code, "retired")
        self.restart(signal.SIGKILL)
        self.assertEqual(local.read(3).count, 0)

    def test_a_waiter_finds_the_next_server(self):
        """A start replaces the file of waiters: a wait that began before it looks again after a second."""
        local = self.open()
        cursor = local.cursor(3)
        self.assertIsNone(local.wait(cursor, timeout=0))
        results = []
        waiter = threading.Thread(target=lambda: results.append(local.wait(cursor, timeout=TIMEOUT)))
        waiter.start()
        self.restart(signal.SIGKILL)
        self.m.write(3, b"news")
        waiter.join(TIMEOUT)
        self.assertEqual(results, [cursor])


class Connections(LocalTest):
    def test_reads_are_made_in_the_shared_memory(self):
        m = self.connect()
        self.m.write(3, b"0123456789")
        with self.local_only(m):
            message = m.read(3)
            self.assertEqual((message, message.version, message.count), (b"0123456789", 1, 1))
            self.assertEqual((m.read("3"), m.read(3, off=8), m.read(3, len=2), m.read(3, 20)),
                             (b"0123456789", b"89", b"01", b""))
            part = m.read(3, off=2, len=3)
            self.assertEqual((part, part.version, part.count), (b"234", 1, 1))
        self.m.put(3, b"two")
        with self.local_only(m):
            self.assertEqual(m.read(3, after=0).lost, 0)
            self.assertEqual(m.read(3, after=1), b"two")
            self.assertEqual(m.read(3, after=0), b"0123456789")
        self.assertEqual(self.m.stat()["reads"], 0)

    def test_reads_that_the_shared_memory_cannot_answer(self):
        m = self.connect()
        self.m.write(3, b"one")
        self.m.set_name(3, "jobs")
        self.assertEqual(m.read("jobs"), b"one")
        with self.assertRaises(dipc.Refused):
            m.read(4)
        with self.assertRaises(dipc.Ahead):
            m.read(3, after=9)
        with self.assertRaises(dipc.Timeout):
            m.read(3, after=1, wait=0.01)
        with self.m.lock(3):
            self.m.write(3, b"unfinished")
            with self.assertRaises(dipc.Timeout):
                m.read(3, wait=0)
            self.m.write(3, b"two")
        self.assertEqual(m.read(3, after=1).version, 3)

    def test_the_holder_of_a_lock_reads_over_its_connection(self):
        m = self.connect()
        with m.lock(3) as lock:
            m.write(3, b"mine")
            self.assertEqual(m.read(3), b"mine")
            lock.unlock()
            with self.local_only(m):
                self.assertEqual(m.read(3), b"mine")
        m.lock(3, shared=True, ttl=0.05)
        wait_until(lambda: self.m.stat("locks") == [])
        with self.assertRaises(dipc.LockLost):
            m.read(3)

    def test_restarts(self):
        m = self.connect()
        m.write(3, b"kept")
        self.server.stop(signal.SIGKILL)
        self.assertEqual(m.read(3), b"kept")
        with self.assertRaises(OSError):
            m.read(3, after=1)
        self.assertTrue(m.closed)
        self.assertEqual(m.read(3), b"kept")
        self.server.start("--fresh")
        with self.assertRaises(OSError):  # the shared memory is that of other mailboxes than those of the connection
            m.read(3)
        m.reconnect()
        with self.local_only(m):
            self.assertEqual((m.read(3), m.read(3).count), (b"", 0))
        m.close()
        self.assertIsNone(m.local)
        with self.assertRaises(OSError):
            m.read(3)

    def test_other_servers_and_arguments(self):
        with self.assertRaises(ValueError):
            dipc.connect(unix="/nonexistent", local=True)
        self.m.write(3, b"text")
        with self.server.connect(local=os.path.join(self.server.directory, "none")) as m:
            self.assertIsNone(m.local)
            self.assertRegex(m.local_error, "no mailboxes")
            self.assertEqual(m.read(3), b"text")
        with self.server.connect() as m:
            self.assertEqual((m.local, m.local_error), (None, ""))

    def test_without_the_library(self):
        code = "import dipc\nm = dipc.connect(%d, local=%r)\nprint(m.read(3), m.local, m.local_error)\n" \
               "try:\n    dipc.local(%d)\nexcept OSError as error:\n    print(error)\n"
        code %= (self.server.port, self.server.directory, self.server.port)
        self.m.write(3, b"text")
        done = subprocess.run([sys.executable, "-c", code], cwd=os.path.dirname(SCRIPT), stdout=subprocess.PIPE,
                              env=dict(os.environ, DIPC_LOCAL_LIBRARY="/nonexistent.so"), timeout=TIMEOUT)
        first, second = done.stdout.decode().splitlines()
        self.assertRegex(first, r"^b'text' None libdipc_local\.so is needed .*DIPC_LOCAL_LIBRARY.*nonexistent")
        self.assertRegex(second, r"^libdipc_local\.so is needed ")

    def test_a_fork(self):
        m = self.connect()
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(ConnectionError):
                m.read(3)
                os._exit(1)
            os._exit(0)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)


if __name__ == "__main__":
    unittest.main()
