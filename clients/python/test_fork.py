"""Tests of connections in a process that was forked."""

import os
import traceback
import unittest

from support import connect, require_server

setUpModule = require_server


@unittest.skipUnless(hasattr(os, "fork"), "this system has no fork")
class Fork(unittest.TestCase):
    def fork(self, child):
        """Runs a function in a child process. Fails if the function does."""
        pid = os.fork()
        if not pid:
            code = 1
            try:
                child()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)

    def test_a_connection_belongs_to_the_process_that_made_it(self):
        with connect() as m, connect() as other, m.lock(3) as lock:
            watch = other.watch(0)

            def child():
                for call in (m.ping, lambda: m.take(3), lambda: m.write(3, b"x"), lambda: next(watch),
                             lock.unlock):
                    with self.assertRaisesRegex(ConnectionError, "belongs to process %d" % os.getppid()):
                        call()
                m.close()
                other.close()

            self.fork(child)
            m.write(0, b"parent")
            self.assertEqual(next(watch).data, b"parent")
            self.assertEqual(m.stat("locks")[0]["grant"], lock.grant)

    def test_a_child_can_connect_again(self):
        with connect() as m, m.lock(3) as lock:
            def child():
                m.reconnect()
                self.assertTrue(lock.lost)
                self.assertEqual(m.stat("locks")[0]["grant"], lock.grant)

            self.fork(child)
            self.assertFalse(lock.lost)
            m.write(3, b"parent")
