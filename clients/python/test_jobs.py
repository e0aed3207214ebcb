"""Tests of messages in hand."""

import unittest

import dipc
from support import TIMEOUT, connect, require_server

setUpModule = require_server


class Jobs(unittest.TestCase):
    def setUp(self):
        self.m, self.other = connect(), connect()
        self.addCleanup(self.m.close)
        self.addCleanup(self.other.close)
        self.version = self.m.write(3, b"one")

    def test_the_end_of_the_block_removes_the_message(self):
        self.m.put(3, b"two")
        with self.m.job(3) as job:
            self.assertEqual((job.box, job.data, job.version, job.count, job.tries, job.lost),
                             (3, b"one", self.version, 2, 1, False))
            self.assertEqual(self.m.stat(3)["in_hand"], 1)
            with self.other.job(3, ttl=60, wait=0) as second:
                self.assertEqual(second.data, b"two")
                with self.assertRaises(dipc.Empty):
                    self.m.job(3, wait=0)
            self.assertEqual(self.m.read(3).count, 1)
        self.assertEqual((self.m.read(3).count, self.m.stat(3)["in_hand"]), (0, 0))
        job.done()
        job.back()

    def test_an_exception_gives_back_and_is_propagated(self):
        with self.assertRaises(ZeroDivisionError):
            with self.m.job(3):
                1 / 0
        with self.assertRaises(ZeroDivisionError):
            with self.other.job(3, wait=0) as job:
                self.assertEqual((job.data, job.tries), (b"one", 2))
                self.other.close()
                1 / 0
        self.assertEqual(self.m.take(3), b"one")

    def test_the_end_of_the_connection_gives_back(self):
        self.other.job(3)
        self.other.close()
        self.assertEqual(self.m.job(3, wait=TIMEOUT).tries, 2)

    def test_a_job_can_be_ended_early(self):
        with self.m.job(3) as job:
            job.back()
            with self.other.job(3, wait=0) as second:
                self.assertEqual(second.tries, 2)
                second.done()
                self.assertEqual(self.m.read(3).count, 0)

    def test_functions_without_a_block(self):
        message = self.m.take(3, ttl=60)
        self.assertEqual((message, message.version, message.count, message.tries), (b"one", self.version, 1, 1))
        with self.assertRaises(dipc.JobLost) as lost:
            self.other.done(3, message.version)
        self.assertEqual(lost.exception.code, "lease")
        self.assertNotIsInstance(lost.exception, dipc.LockLost)
        self.m.back(3, message.version)
        with self.assertRaises(dipc.JobLost):
            self.m.back(3, message.version)
        self.assertEqual(self.m.take(3, ttl=60, wait=0).tries, 2)
        self.assertEqual(self.m.done(3, message.version), 0)
        self.assertEqual(self.m.put(3, b"plain").count, 1)
        self.assertEqual(self.m.take(3).tries, 0)

    def test_a_job_of_a_replaced_message_is_lost(self):
        with self.assertRaises(dipc.JobLost):
            with self.m.job(3) as job:
                self.other.write(3, b"new")
        self.assertTrue(job.lost)
        self.assertEqual(self.m.read(3), b"new")

    def test_the_job_of_a_silent_worker_is_lost(self):
        with self.assertRaises(dipc.JobLost):
            with self.m.job(3, ttl=0.02) as job:
                with self.other.job(3, wait=TIMEOUT) as second:
                    self.assertEqual(second.tries, 2)
                self.m.ping()
                self.assertTrue(job.lost)
        self.m.write(3, b"another")
        with self.assertRaises(ZeroDivisionError):
            with self.m.job(3, ttl=0.02):
                self.other.job(3, wait=TIMEOUT)
                1 / 0

    def test_the_job_of_a_message_that_was_taken_again_does_not_end_it(self):
        first = self.m.job(3, ttl=0.02)
        self.other.job(3, wait=TIMEOUT).back()
        second = self.m.job(3, wait=0)
        self.assertEqual((first.lost, second.lost, second.version), (True, False, first.version))
        with self.assertRaises(dipc.JobLost):
            first.done()
        self.assertEqual(self.m.stat(3)["in_hand"], 1)
        second.done()

    def test_a_job_that_cannot_be_done_in_time_stays_in_hand(self):
        job = self.m.job(3)
        with self.other.lock(3):
            with self.assertRaises(dipc.Timeout):
                self.m._ask("OK n", b"done 3 v=%d wait=0\n" % job.version)
            self.assertFalse(job.lost)
        job.done()
        self.assertEqual(self.m.read(3).count, 0)
