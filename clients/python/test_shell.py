"""Tests of the command line of dipc.py, and of its prompt."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

import dipc
from support import ALL_BYTES, PORT, SCRIPT, TIMEOUT, Terminal, connect, require_server, shell, wait_until

setUpModule = require_server


class Shell(unittest.TestCase):
    def setUp(self):
        self.m = connect()
        self.addCleanup(self.m.close)

    def test_read_prints_exactly_the_bytes(self):
        for data in (ALL_BYTES, b"", b"no end of line", b"\r\n"):
            self.m.write(3, data)
            self.assertEqual(shell(PORT, "read", 3), (0, data, b""))
        self.m.write(3, b"hello world")
        self.assertEqual(shell(PORT, "r", 3, "--off", 6, "--len=2", "--wait", 1), (0, b"wo", b""))

    def test_write_reads_arguments_or_standard_input(self):
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
        self.assertEqual(shell(PORT, "put", 3, "two", "words"),
                         (0, b"version %d\ncount 2\n" % (version + 1), b""))
        self.assertEqual(shell(PORT, "put", 3, "--drop", "--wait", 1, data=ALL_BYTES)[0], 0)
        self.assertEqual(shell(PORT, "read", 3, "--after", version), (0, b"two words", b""))
        taken = [shell(PORT, "take", 3, "--wait", 0) for _ in range(4)]
        self.assertEqual(taken, [(0, data, b"") for data in (b"first", b"two words", ALL_BYTES)] +
                         [(1, b"", b"dipc: empty\n")])

    def test_watch_prints_a_line_for_each_message_until_ctrl_c(self):
        version = self.m.write(3, b"gone")
        self.m.write(3, b"a")
        while self.m.write(1, b"b") < version:
            pass
        watch = subprocess.Popen([sys.executable, SCRIPT, PORT, "watch", "--after", str(version - 1), "1,3"],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(watch.wait)
        self.addCleanup(watch.kill)
        lines = iter(watch.stdout.readline, b"")  # some may belong to mailbox 1
        self.assertIn(b"3: a\n", lines)
        self.m.write(3, b"b\n")
        self.assertIn(b"3: b\n", lines)
        watch.send_signal(signal.SIGINT)
        err = watch.communicate(timeout=TIMEOUT)[1]
        self.assertIn(b"dipc: 1 message of mailbox 3 is lost\n", err)
        self.assertEqual((watch.returncode, b"Traceback" in err), (130, False))

    def test_ctrl_c_cancels_a_take_and_exits_130(self):
        while self.m.read(3).count:
            self.m.take(3)
        take = subprocess.Popen([sys.executable, SCRIPT, PORT, "take", "3", "--wait", "inf"], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)
        self.addCleanup(take.wait)
        self.addCleanup(take.kill)
        wait_until(lambda: self.m.stat(3)["aside"] == 1)
        take.send_signal(signal.SIGINT)
        self.assertEqual(take.communicate(timeout=TIMEOUT), (b"", b"\n"))
        self.assertEqual((take.returncode, self.m.put(3, b"kept").count), (130, 1))

    def test_a_request_that_is_not_done_exits_1(self):
        version = self.m.write(3, b"x")
        self.assertEqual(shell(PORT, "write", 3, "--if", version, "y")[0], 0)
        conflict = b"dipc: conflict v=%d\n" % (version + 1)
        self.assertEqual(shell(PORT, "write", 3, "--if", version, "z"), (1, b"", conflict))

    def test_a_refused_or_invalid_command_exits_2_with_one_line(self):
        for words in ((PORT, "read", 4), (PORT, "write", 3, "x" * 70000), (PORT, "frobnicate"),
                      (PORT, "read"), (PORT, "read", "three"), (PORT, "read", 3, 4),
                      (PORT, "read", 3, "--if", 4), (PORT, "write"), (PORT, "read", 3, "--off", "x"),
                      (PORT, "ping", "--nonsense"), (PORT, "--wait", 1), (), ("port", "ping"),
                      (70000, "ping"), (PORT, "hello", "two words"), (PORT, "take"), (PORT, "put"),
                      (PORT, "put", 3, "--off", 1, "x"), (PORT, "watch", "1,x"), (PORT, "watch", ""),
                      (PORT, "stat", "nonsense"), (PORT, "stat", 4), (PORT, "write", 3, "--drop")):
            code, out, err = shell(*words)
            self.assertEqual((code, out), (2, b""), words)
            self.assertRegex(err, rb"\Adipc: [^\n]+\n\Z", words)

    def test_a_failed_connection_exits_3(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            code, out, err = shell(unused.getsockname()[1], "ping")
        self.assertEqual((code, out), (3, b""))
        self.assertRegex(err, rb"\Adipc: cannot connect to 127.0.0.1:\d+: [^\n]+\n\Z")
        self.assertEqual(shell("--unix", "/nowhere/at/all", "ping")[0], 3)

    def test_ping_hello_stat_and_help(self):
        self.assertEqual(shell(PORT, "ping", "--host", "localhost"), (0, b"ok\n", b""))
        self.assertIn(b"proto 1\n", shell(PORT, "hello", "tester")[1])
        for topic in ((), (3,), ("conns",), ("locks",)):
            self.assertRegex(shell(PORT, "stat", *topic)[1], rb"\A(\S+ .*\n)*\Z")
        self.assertEqual(shell(PORT, "help")[1].decode().strip(), self.m.help().strip())
        self.assertEqual(shell("--help")[:2], (0, dipc.__doc__.encode()))


class Import(unittest.TestCase):
    def run_beside_a_clone(self, *path):
        """Imports dipc in a directory with a directory named dipc. Returns the exit code and stderr."""
        with tempfile.TemporaryDirectory() as directory:
            os.mkdir(os.path.join(directory, "dipc"))
            environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path))
            done = subprocess.run([sys.executable, "-c", "import dipc; dipc.connect"], cwd=directory,
                                  env=environment, stderr=subprocess.PIPE, timeout=TIMEOUT)
        return done.returncode, done.stderr

    def test_a_clone_in_the_working_directory_does_not_hide_the_module(self):
        self.assertEqual(self.run_beside_a_clone(os.path.dirname(SCRIPT)), (0, b""))

    def test_without_the_module_a_clone_is_imported_as_the_documentation_says(self):
        code, err = self.run_beside_a_clone()
        self.assertEqual(code, 1)
        message = "module 'dipc' has no attribute 'connect'"
        self.assertIn(message, err.decode())
        self.assertIn(message, dipc.__doc__)


class Prompt(unittest.TestCase):
    def setUp(self):
        self.m = connect()
        self.addCleanup(self.m.close)

    def test_commands_are_read_from_a_pipe(self):
        code, out, err = shell(PORT, data=b"write 3 two  blanks \n\nread 3\nw 3\nthe text\xff\nr 3\nping\n"
                                    b"put 3 more  text\nput 3\nto take\ntake 3\ntake 3\nr 3\n"
                                    b"w 3\nthe text\xff\nquit\nping\n")
        version = self.m.read(3).version
        expected = (b"version %d\ntwo  blanks \nversion %d\nthe text\xff\nok\n"
                    b"version %d\ncount 2\nversion %d\ncount 3\n"
                    b"the text\xff\nmore  text\nto take\nversion %d\n")
        expected %= tuple(range(version - 4, version + 1))
        self.assertEqual((code, out, err), (0, expected, b""))
        self.assertEqual(self.m.read(3), b"the text\xff")

    def test_help_lists_the_commands_of_the_prompt(self):
        code, out, err = shell(PORT, data=b"help\n")
        self.assertEqual((code, out, err), (0, dipc.PROMPT_HELP, b""))
        named = {line.split()[0] for line in dipc.PROMPT_HELP.decode().splitlines()}
        commands = {command.split()[0] for command in dipc.COMMANDS.split(", ")}
        self.assertEqual(named, commands - {"help"} | {"Ctrl-C"})

    def test_a_refused_command_does_not_end_the_prompt(self):
        code, out, err = shell(PORT, data=b"read 9\nfrobnicate\nread x\nread\nping\n")
        self.assertEqual((code, out), (0, b"ok\n"))
        self.assertRegex(err, rb"\Adipc: box max=3[^\n]*\n(dipc: [^\n]+\n){3}\Z")

    def test_the_end_of_input_ends_the_prompt_even_within_a_write(self):
        version = self.m.write(3, b"kept")
        self.assertEqual(shell(PORT, data=b""), (0, b"", b""))
        self.assertEqual(shell(PORT, data=b"write 3\n"), (0, b"", b""))
        self.assertEqual(self.m.read(3).version, version)

    def test_a_lost_connection_exits_3(self):
        for last in (b"", b"ERR drain\n"):
            with socket.socket() as server:
                server.settimeout(TIMEOUT)
                server.bind(("127.0.0.1", 0))
                server.listen()
                prompt = subprocess.Popen([sys.executable, SCRIPT, str(server.getsockname()[1])],
                                          bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                          stderr=subprocess.PIPE)
                prompt.stdin.write(b"ping\nping\n")
                client = server.accept()[0]
                client.recv(len("hello\nping\n"), socket.MSG_WAITALL)
                client.sendall(last)
                client.close()
                out, err = prompt.communicate(timeout=TIMEOUT)
            self.assertEqual((prompt.returncode, out), (3, b""))
            self.assertTrue(err.endswith(b"dipc: the server closed the connection\n"), err)


@unittest.skipUnless(hasattr(os, "openpty"), "this system has no terminals")
class PromptOnTerminal(unittest.TestCase):
    def test_ctrl_c_ends_a_watch_and_not_the_prompt(self):
        terminal = Terminal(self, SCRIPT, PORT)
        terminal.expect(b"dipc> ")
        terminal.type(b"watch 3\n")
        with connect() as m:
            wait_until(lambda: m.stat(3)["watchers"] == 1)
            m.write(3, b"a message")
            terminal.expect(b"a message\r\n")
            terminal.process.send_signal(signal.SIGINT)
            terminal.expect(b"cancelled\r\n")
            terminal.expect(b"dipc> ")
            self.assertEqual(m.stat(3)["watchers"], 0)
        terminal.type(b"quit\n")
        self.assertEqual(terminal.process.wait(), 0)

    def test_ctrl_c_cancels_a_take_and_not_the_prompt(self):
        terminal = Terminal(self, SCRIPT, PORT)
        terminal.expect(b"dipc> ")
        terminal.type(b"hello typist\n")
        terminal.expect(b"dipc> ")
        with connect() as m:
            while m.read(3).count:
                m.take(3)
            terminal.type(b"take 3\n")
            wait_until(lambda: m.stat(3)["aside"] == 1)
            terminal.process.send_signal(signal.SIGINT)
            terminal.expect(b"cancelled\r\n")
            terminal.expect(b"dipc> ")
            self.assertEqual(m.stat(3)["aside"], 0)
            m.put(3, b"kept")
            self.assertIn("typist", [conn["name"] for conn in m.stat("conns")])
        terminal.type(b"take 3\n")
        terminal.expect(b"kept\r\n")
        terminal.type(b"quit\n")
        self.assertEqual(terminal.process.wait(), 0)

    def test_ctrl_c_cancels_a_write_that_waits_for_a_lock(self):
        terminal = Terminal(self, SCRIPT, PORT)
        terminal.expect(b"dipc> ")
        with connect() as m, m.lock(3):
            version = m.read(3).version
            terminal.type(b"write 3 late\n")
            wait_until(lambda: m.stat(3)["waiting"] == 1)
            terminal.process.send_signal(signal.SIGINT)
            terminal.expect(b"cancelled\r\n")
            terminal.expect(b"dipc> ")
            self.assertEqual((m.stat(3)["waiting"], m.read(3).version), (0, version))
        terminal.type(b"write 3 in time\n")
        terminal.expect(b"version %d\r\n" % (version + 1))
        terminal.type(b"quit\n")
        self.assertEqual(terminal.process.wait(), 0)

    def test_the_prompt_asks_for_a_text_and_ctrl_c_prints_no_traceback(self):
        terminal = Terminal(self, SCRIPT, PORT)
        for expected, keys in ((b"dipc> ", b"write 3\n"), (b"text> ", b"typed\n"), (b"dipc> ", b"read 3\n"),
                               (b"typed\r\n", b""), (b"dipc> ", b"")):
            terminal.expect(expected)
            terminal.type(keys)
        for _ in range(TIMEOUT):  # the line editor misses a signal that arrives just before it waits
            terminal.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                terminal.process.wait(1)
                break
        output = terminal.output
        with contextlib.suppress(OSError):  # Linux reports the end of a terminal as an error
            for more in iter(lambda: os.read(terminal.master, 1024), b""):
                output += more
        self.assertEqual(terminal.process.returncode, 130)
        self.assertNotIn(b"Traceback", output)
