"""Tests of the wire format: exact requests, and rare or invalid answers. They need no server."""

import socket
import threading
import unittest

import dipc
from support import TIMEOUT


class Wire(unittest.TestCase):
    def peer(self, answers, timeout=TIMEOUT):
        """Returns a connection that has received these answers after that to its hello, and its server's socket."""
        ours, theirs = socket.socketpair()
        ours.settimeout(timeout)
        theirs.settimeout(TIMEOUT)
        theirs.sendall(b"OK proto=1\n" + answers)
        self.addCleanup(theirs.close)
        m = dipc.Mailboxes(ours)
        self.addCleanup(m.close)
        return m, theirs

    def test_the_exact_bytes_of_requests(self):
        m, server = self.peer(b"OK v=8\n" + b"DATA 1 v=8 n=1\nx\n" * 4 + b"OK\nOK proto=1\n")
        m.write(3, "hello", if_version=7, off=2, wait=0.5)
        m.read(3)
        m.read(3, off=0, len=9, wait=float("inf"))
        m.read(3, wait=0)
        m.read(3, wait=1e-5)
        m.ping()
        m.hello("me")
        m.close()
        expected = (b"hello\nw 3 5 off=2 wait=0.5 if=7\nhello\nr 3\nr 3 off=0 len=9 wait=inf\n"
                    b"r 3 wait=0\nr 3 wait=0.00001\nping\nhello name=me\nq\n")
        self.assertEqual(server.makefile("rb").read(), expected)

    def test_the_exact_bytes_of_requests_for_queues_locks_and_watches(self):
        m, server = self.peer(b"OK v=1 n=1\n" * 2 + b"DATA 1 v=1 n=0\nx\n" * 2 +
                              b"OK grant=9\nOK\nOK grant=10\nOK\nOK\nOK v=0\nOK v=1,2\nOK\nOK\n" +
                              b"DATA 0\n\n" * 4)
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
        expected = (b"hello\nput 3 5\nhello\nput 3 0 full=drop wait=2\n\ntake 3 wait=5\nr 3 after=7\n"
                    b"lock 3\nunlock 3 grant=9\nlock 3,5 r wait=2 ttl=10\nunlock 3,5 grant=10\nunlock *\n"
                    b"watch 3\nwatch 5,3 after=7\nunwatch 3,5\nunwatch *\n"
                    b"stat\nstat box 3\nstat conns\nstat locks\nq\n")
        self.assertEqual(server.makefile("rb").read(), expected)
        for call in (m.lock, m.watch):
            with self.assertRaises(ValueError):
                call()

    def test_the_exact_bytes_of_requests_for_jobs(self):
        m, server = self.peer(b"DATA 1 v=7 n=2 tries=1\nx\n" * 3 + b"OK n=1\nOK\nOK n=0\n")
        m.take(3, wait=2, ttl=0.5)
        m.job(3)
        with m.job(5, ttl=60, wait=0):
            pass
        m.back(3, 7)
        self.assertEqual(m.done(3, 7), 0)
        m.close()
        expected = (b"hello\ntake 3 ttl=0.5 wait=2\ntake 3 ttl=\ntake 5 ttl=60 wait=0\ndone 5 v=7\n"
                    b"back 3 v=7\ndone 3 v=7\nq\n")
        self.assertEqual(server.makefile("rb").read(), expected)

    def test_a_lost_job_is_no_message_of_a_watch_and_no_lost_lock(self):
        m, _ = self.peer(b"OK v=6\nOK grant=1\nDATA 1 v=7 n=2 tries=1\nx\nDATA 1 v=8 n=2 tries=1\ny\n"
                         b"EVENT 0 box=3 v=7 lost=take\n\nEVENT 0 box=3 v=9 lost=take\n\n"
                         b"EVENT 1 box=3 v=9\nz\nOK\n")
        watch, lock, seven, eight = m.watch(3), m.lock(3), m.job(3), m.job(3)
        m.ping()
        self.assertEqual((seven.lost, eight.lost, lock.lost), (True, False, False))
        self.assertEqual(next(watch), (9, b"z"))

    def test_the_oldest_of_too_many_events_are_dropped_and_counted(self):
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

    def test_an_event_may_arrive_in_pieces_and_between_any_answers(self):
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

    def test_events_are_received_while_a_request_is_sent(self):
        event, body = b"EVENT 1000000 box=1 v=1\n" + bytes(1000000) + b"\n", bytes(3000000)
        m, server = self.peer(b"OK v=0\n")

        def send_then_receive():
            server.sendall(event * 3)
            received = 0
            while received < len(body):
                received += len(server.recv(1 << 20))
            server.sendall(b"OK v=2\n")

        thread = threading.Thread(target=send_then_receive)
        watch = m.watch(1)
        thread.start()
        self.assertEqual(m.write(2, body), 2)
        self.assertEqual([len(next(watch).data) for _ in range(3)], [1000000] * 3)
        thread.join()

    def test_a_watch_ends_when_the_server_closes(self):
        for last, error in ((b"", ConnectionError), (b"OK\n", ConnectionError),
                               (b"ERR drain : bye\n", dipc.Refused)):
            m, server = self.peer(b"OK v=0\nEVENT 1 box=1 v=1\nx\n" + last)
            server.shutdown(socket.SHUT_WR)
            watch = m.watch(1)
            self.assertEqual(next(watch).data, b"x")
            with self.assertRaises(error):
                next(watch)
            self.assertTrue(m.closed)
            with self.assertRaises(ConnectionError):
                next(watch)

    def test_reasons_and_codes_have_classes(self):
        reasons = {"empty": dipc.Empty, "full": dipc.Full, "locked": dipc.Locked, "multi": dipc.Multi, "ahead": dipc.Ahead}
        codes = {"lease": dipc.LockLost, "deadlock": dipc.Deadlock, "denied": dipc.Denied}
        for code, kind in {**reasons, **codes}.items():
            m, _ = self.peer(b"%s %s\nOK\n" % (b"NO" if code in reasons else b"ERR", code.encode()))
            with self.assertRaises(kind) as error:
                m.take(3)
            self.assertIsInstance(error.exception, dipc.NotDone if code in reasons else dipc.Refused)
            m.ping()

    def test_a_timeout_is_a_dipc_error_and_a_timeout_error(self):
        m, _ = self.peer(b"NO timeout v=5\nOK\n")
        with self.assertRaises(dipc.Timeout) as timeout:
            m.read(3, wait=0)
        self.assertIsInstance(timeout.exception, TimeoutError)
        self.assertIsInstance(timeout.exception, dipc.NotDone)
        self.assertEqual((timeout.exception.code, timeout.exception.fields), ("timeout", {"v": 5}))
        self.assertEqual(str(timeout.exception), "timeout v=5")
        m.ping()

    def test_an_unknown_reason_is_not_done(self):
        m, _ = self.peer(b"NO fun\n")
        with self.assertRaises(dipc.NotDone) as not_done:
            m.write(3, b"x", off=1)
        self.assertEqual(not_done.exception.code, "fun")

    def test_a_refusal_has_code_fields_and_text(self):
        m, _ = self.peer(b"ERR size max=8 : too long : by far\r\n" b"ERR verb\nOK\r\n")
        with self.assertRaises(dipc.Refused) as refused:
            m.write(3, b"123456789")
        error = refused.exception
        self.assertEqual((error.code, error.fields, error.text), ("size", {"max": 8}, "too long : by far"))
        self.assertEqual(str(error), "size max=8: too long : by far")
        with self.assertRaises(dipc.Refused):
            m.ping()
        m.ping()

    def test_a_refusal_is_reported_even_if_sending_fails(self):
        m, server = self.peer(b"ERR busy max=1\n")
        server.close()
        with self.assertRaises(dipc.Refused) as refused:
            m.write(3, bytes(1 << 20))
        self.assertEqual((refused.exception.code, refused.exception.fields), ("busy", {"max": 1}))
        self.assertTrue(m.closed)

    def test_a_closed_connection_is_a_connection_error(self):
        for part in (b"", b"DAT", b"DATA 5 v=1 n=1\nhel", b"DATA 5 v=1 n=1\nhello"):
            m, server = self.peer(part)
            server.close()
            with self.assertRaises(ConnectionError):
                m.read(3)
            self.assertTrue(m.closed)

    def test_after_a_timeout_of_the_socket_the_connection_is_closed(self):
        for part in (b"", b"DATA 5 v=1", b"DATA 5 v=1 n=1\nhel"):
            m, server = self.peer(part, timeout=0.01)
            with self.assertRaises(TimeoutError) as timeout:
                m.read(3)
            self.assertNotIsInstance(timeout.exception, dipc.DipcError)
            self.assertTrue(m.closed)
            with self.assertRaises(ConnectionError):
                m.read(3)

    def test_an_invalid_answer_is_a_connection_error(self):
        for answer in (b"HTTP/1.1 400 Bad Request\r\n", b"\n", b"OKAY\n", b"NO\n", b"ERR\n", b"OK v\n",
                       b"OK  v=1\n", b"DATA\n", b"DATA x v=1 n=1\n", b"DATA -1 v=1 n=1\n",
                       b"DATA 2 v=1 n=1\nabc\n", b"\xff\xfe\n", b"DATA 3\nabc\n",
                       b"DATA 3 v=one n=1\nabc\n", b"OK v=1\n", b"EVENT 0 box=1 v=1\n\n",
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
