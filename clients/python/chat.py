#!/usr/bin/env python3
"""chat.py: a chat room in a mailbox. Every user sees the lines in the order of their versions.

    python3 chat.py PORT BOX NAME           Ctrl-D leaves

On joining, chat.py prints the lines that are stored in the mailbox. A full mailbox drops its oldest lines.
The chat ends when standard output has no reader. Characters that the terminal's encoding lacks are printed
as `?`.
"""

import contextlib
import os
import sys
import threading

import dipc

ERASE = "\r\x1b[2K"  # erases the line of the cursor
UP = "\x1b[A"  # moves the cursor to the line above


class Chat:
    def __init__(self, port, box, name):
        # A connection must be used by one thread at a time. So one connection receives lines, and another one
        # sends them.
        self.receiver = dipc._connect(dipc._Printed, port, "127.0.0.1", None)
        self.port, self.sender = port, dipc.connect(port)
        self.packet = self.sender.hello()["packet"]
        self.box, self.name, self.last, self.printing = box, os.fsencode(name), float("inf"), threading.Lock()
        self.editor, self.prompt = line_editor(), os.fsencode(name).decode("utf-8", "replace") + ": "
        self.is_typing = False

    def send(self, text):
        try:
            return self.sender.put(self.box, text, drop=True)
        except dipc.Refused as error:
            if error.code != "size":
                raise
            dipc._print_note("chat: %s" % error)

    def print_lines(self):
        try:
            for version, data in self.receiver.watch(self.box, after=0):
                with self.printing:
                    self.print_line(data.decode("utf-8", "replace").expandtabs())
                    if version >= self.last:
                        return
        except dipc._StreamError as error:
            end(error, dipc.LOCAL if error.args else 0)
        except (OSError, dipc.Refused) as error:
            end(error, 3)

    def print_line(self, text):
        """Prints a line above the line that is being typed."""
        text = "".join(c if c.isprintable() else "?" for c in text) + "\n"
        if self.is_typing:
            text = ERASE + text + self.prompt + self.editor.get_line_buffer()
        dipc._print([encode(text)], False)

    def read_line(self):
        """Reads a line. Returns None at the end of the input. The server refuses a line that is too long."""
        if not self.editor:
            line = sys.stdin.buffer.readline(self.packet + 1)
            rest = line
            while len(rest) > self.packet and not rest.endswith(b"\n"):
                rest = sys.stdin.buffer.readline(self.packet + 1)
            return line.rstrip(b"\r\n") if line else None
        try:
            self.is_typing = True
            return os.fsencode(input(self.prompt))
        except EOFError:
            return None
        finally:
            self.is_typing = False

    def run(self):
        self.send(b"* %s joins" % self.name)
        printer = threading.Thread(target=self.print_lines, daemon=True)
        printer.start()
        with contextlib.suppress(KeyboardInterrupt):
            for line in iter(self.read_line, None):
                if self.editor:
                    # Erases the typed line, which is printed again when it is received.
                    with self.printing:
                        dipc._print([encode(UP + ERASE)], False)
                self.send(b"%s: %s" % (self.name, line))
        if self.sender.closed:  # Ctrl-C has interrupted a request
            self.sender = dipc.connect(self.port)
        with self.printing:  # the printer must not compare versions until self.last is set
            self.last = self.send(b"* %s leaves" % self.name)
        printer.join()


def line_editor():
    """Returns the line editor of input(), or None if input or output is no terminal."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        with contextlib.suppress(ImportError):
            import readline
            return readline
    return None


def encode(text):
    """Encodes a text for standard output. Replaces the characters that its encoding lacks."""
    return text.encode(sys.stdout.encoding or "ascii", "replace")


def end(error, code):
    """Ends the process while its other thread blocks in a read of standard input."""
    if str(error):
        dipc._print_note("chat: %s" % error)
    os._exit(code)


if __name__ == "__main__":
    try:
        dipc._require("stdout", os.O_RDONLY)
        dipc._require("stderr", os.O_RDONLY)
        if len(sys.argv) != 4 or not (sys.argv[1] + sys.argv[2]).isdecimal():
            sys.exit("usage: chat.py PORT BOX NAME")
        dipc._require("stdin", os.O_WRONLY)
        sys.stdin.reconfigure(errors="surrogateescape")  # with os.fsencode, keeps bytes unchanged
        Chat(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]).run()
    except (OSError, ValueError, dipc.DipcError) as error:
        sys.exit("chat: %s" % error)
    except dipc._StreamError as error:
        end(error, dipc.LOCAL if error.args else 0)
