#!/usr/bin/env python3
"""Tests of dipc.py against a running server, started fresh as `dipc 4 64 PORT 8 --unix PATH`.

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
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True  # leave no __pycache__ beside the sources
import dipc  # noqa: E402

PORT = os.environ.get("DIPC_TEST_PORT")
UNIX = os.environ.get("DIPC_TEST_UNIX")
SCRIPT = os.path.abspath(dipc.__file__)
PATIENCE = 20  # seconds; no wait is longer
ALL_BYTES = bytes(range(256))


def setUpModule():
    if not PORT:
        raise unittest.SkipTest("no server: DIPC_TEST_PORT is not set")


def connect(**options):
    return dipc.connect(int(PORT), timeout=PATIENCE, **options)


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
        m, _ = self.peer(b"NO multi\n")
        with self.assertRaises(dipc.NotDone) as not_done:
            m.write(3, b"x", off=1)
        self.assertEqual(not_done.exception.code, "multi")

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

    def test_what_is_not_done_exits_1(self):
        version = self.m.write(3, b"x")
        self.assertEqual(shell(PORT, "write", 3, "--if", version, "y")[0], 0)
        conflict = b"dipc: conflict v=%d\n" % (version + 1)
        self.assertEqual(shell(PORT, "write", 3, "--if", version, "z"), (1, b"", conflict))

    def test_what_is_refused_or_wrong_exits_2_with_one_line(self):
        for words in ((PORT, "read", 4), (PORT, "write", 3, "x" * 70000), (PORT, "frobnicate"), (PORT, "read"),
                      (PORT, "read", "three"), (PORT, "read", 3, 4), (PORT, "read", 3, "--if", 4), (PORT, "write"),
                      (PORT, "read", 3, "--off", "x"), (PORT, "ping", "--nonsense"), (PORT, "--wait", 1), (),
                      ("port", "ping"), (70000, "ping"), (PORT, "hello", "two words")):
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
        self.assertRegex(shell(PORT, "stat")[1], rb"\A(\S+ .*\n)+\Z")
        self.assertEqual(shell(PORT, "help")[1].decode().strip(), self.m.help().strip())
        self.assertEqual(shell("--help")[:2], (0, dipc.__doc__.encode()))


class Prompt(unittest.TestCase):
    def setUp(self):
        self.m = connect()
        self.addCleanup(self.m.close)

    def test_commands_from_a_pipe_need_no_prompt(self):
        code, out, err = shell(PORT, data=b"write 3 two  blanks \n\nread 3\nw 3\nthe text\xff\nr 3\nping\nquit\nping\n")
        version = self.m.read(3).version
        expected = b"version %d\ntwo  blanks \nversion %d\nthe text\xff\nok\n" % (version - 1, version)
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


if __name__ == "__main__":
    if len(sys.argv) > 1:
        PORT, UNIX = (sys.argv[1:] + [UNIX])[:2]
    if not PORT:
        sys.exit("usage: test_dipc.py PORT [UNIX_PATH]")
    unittest.main(argv=sys.argv[:1])
