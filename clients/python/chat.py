#!/usr/bin/env python3
"""chat.py: a chat room in a mailbox. Every user sees the lines in the order of their versions.

    python3 chat.py PORT BOX NAME           Ctrl-D leaves. BOX is the number or the name of the mailbox

On joining, chat.py prints the lines that are stored in the mailbox. A full mailbox drops its oldest lines.
After a restart of the server the chat goes on, and says what was lost. A line whose sending was interrupted is
not sent again. The chat ends when standard output has no reader. Characters that the terminal's encoding lacks
are printed as `?`.
"""

import contextlib
import ctypes
import os
import sys
import threading
import unicodedata

import dipc

PATIENCE = 10  # seconds for which a server may be away
ERASE = "\r\x1b[J"  # erases from the beginning of the cursor's row to the end of the screen


class Chat:
    def __init__(self, port, box, name):
        # A connection must be used by one thread at a time. So one connection receives lines, and another one
        # sends them.
        self.receiver = dipc._Printed.open(lambda: dipc._open(port, "127.0.0.1", None, None))
        self.sender = dipc.connect(port)
        self.packet = self.sender.hello()["packet"]
        self.room, self.life = box, None
        self.find_room()
        self.name, self.last, self.printing = os.fsencode(name), float("inf"), threading.RLock()
        self.editor, self.prompt = line_editor(), os.fsencode(name).decode("utf-8", "replace") + ": "
        self.is_prompting = self.is_typing = False

    def find_room(self):
        """Sets the number of the mailbox. Among new mailboxes its name may belong to another one, as in follow."""
        life = self.sender.hello()["life"]
        if life != self.life:
            self.life, self.box = life, self.sender.number(self.room)

    def send(self, text):
        """Sends a line. Returns its version, or None if it was not sent."""
        try:
            try:
                self.sender.ping()
            except (OSError, dipc.Refused):  # the server was restarted
                self.sender.reconnect()
                self.find_room()
        except (OSError, dipc.Refused) as error:
            return self.note("this line was not sent: %s" % error)
        try:
            return self.sender.put(self.box, text, drop=True)
        except OSError as error:
            return self.note("this line may not have been sent: %s" % error)
        except dipc.Refused as error:
            return self.note(str(error))

    def print_lines(self):
        has_joined = False
        try:
            for event in self.receiver.follow(self.room, after=0, patience=PATIENCE, note=self.note):
                if has_joined and event.lost:
                    self.note("%d of the lines before this one are lost" % event.lost)
                has_joined = True
                with self.printing:
                    self.print_line(event.data.decode("utf-8", "replace").expandtabs())
                    if event.version >= self.last:
                        return
        except dipc._StreamError as error:
            end(error, dipc.LOCAL if error.args else 0)
        except (OSError, dipc.Refused) as error:
            end(error, 3)

    def print_line(self, text):
        """Prints a line above the line that is being typed."""
        text = "".join(c if c.isprintable() else "?" for c in text) + "\n"
        dipc._print([encode(self.erase() + text + self.draw())], False)

    def note(self, text):
        """Prints a line for the user to standard error, above the line that is being typed."""
        with self.printing:
            dipc._print([encode(self.erase())], False)
            dipc._print_note("chat: " + text)
            dipc._print([encode(self.draw())], False)

    def erase(self):
        """Erases the line that is being typed."""
        return up(row(self.prompt + self.before_cursor())) + ERASE if self.is_typing else ""

    def draw(self):
        """Draws the line that is being typed, and puts the cursor where the line editor has it."""
        if not self.is_typing:
            return ""
        line, before = self.prompt + self.editor.get_line_buffer(), self.prompt + self.before_cursor()
        column = width(before) - row(before) * columns()
        # A terminal goes to the row after a full one when the next character is printed.
        wrap = " \r" if row(line) and row(line) * columns() == width(line) else ""
        back = up(row(line) - row(before)) + "\r" + ("\x1b[%dC" % column if column else "")
        return line + wrap + (back if before != line else "")

    def before_cursor(self):
        line = self.editor.get_line_buffer()
        return line if CURSOR is None else line.encode()[:CURSOR.value].decode("utf-8", "ignore")

    def read_line(self):
        """Reads a line. Returns None at the end of the input. The server refuses a line that is too long."""
        if not self.editor:
            line = sys.stdin.buffer.readline(self.packet + 1)
            rest = line
            while len(rest) > self.packet and not rest.endswith(b"\n"):
                rest = sys.stdin.buffer.readline(self.packet + 1)
            return line.rstrip(b"\r\n") if line else None
        # The editor calls the first function before it prints the prompt, the second one after that. No line is
        # printed meanwhile.
        self.editor.set_startup_hook(self.begin_prompt)
        self.editor.set_pre_input_hook(self.begin_typing)
        try:
            line = input(self.prompt)
        except EOFError:
            return None
        finally:
            self.is_typing = False
            self.end_prompt()
        # Erases the typed line, which is printed again when it is received. No row follows a full one.
        rows = max(1, -(-width(self.prompt + line) // columns()))
        with self.printing:
            dipc._print([encode(up(rows) + ERASE)], False)
        return os.fsencode(line)

    def begin_prompt(self):
        self.printing.acquire()
        self.is_prompting = True

    def begin_typing(self):
        self.is_typing = True
        self.end_prompt()

    def end_prompt(self):
        if self.is_prompting:
            self.is_prompting = False
            self.printing.release()

    def run(self):
        self.send(b"* %s joins" % self.name)
        printer = threading.Thread(target=self.print_lines, daemon=True)
        printer.start()
        with contextlib.suppress(KeyboardInterrupt):
            for line in iter(self.read_line, None):
                self.send(b"%s: %s" % (self.name, line))
        with self.printing:
            if self.editor:  # Ctrl-D and Ctrl-C leave the prompt on the screen
                dipc._print([encode(ERASE)], False)
            # The printer must not compare versions until self.last is set.
            self.last = self.send(b"* %s leaves" % self.name)
        if self.last is None:
            end("", 3)
        printer.join()


def line_editor():
    """Returns the line editor of input(). None: input or output is no terminal, or the editor has no hooks."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        with contextlib.suppress(ImportError):
            import readline
            return readline if hasattr(readline, "set_pre_input_hook") else None
    return None


def cursor():
    """The variable of the line editor with the place of the cursor, in bytes. None: it is at the end."""
    with contextlib.suppress(ImportError, AttributeError, OSError, ValueError):
        import readline
        return ctypes.c_int.in_dll(ctypes.CDLL(readline.__file__), "rl_point")
    return None


def columns():
    """The columns of the terminal. A terminal that cannot move its cursor has one long row."""
    if os.environ.get("TERM", "dumb") == "dumb":
        return sys.maxsize
    with contextlib.suppress(OSError):
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    return 80


def width(text):
    """The columns that a text needs."""
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def row(text):
    """The row of the cursor after this text, from 0 on."""
    return width(text) // columns()


def up(rows):
    return "\x1b[%dA" % rows if rows else ""


def encode(text):
    """Encodes a text for standard output. Replaces the characters that its encoding lacks."""
    return text.encode(sys.stdout.encoding or "ascii", "replace")


def end(error, code):
    """Ends the process while its other thread blocks in a read of standard input."""
    if str(error):
        dipc._print_note("chat: %s" % error)
    os._exit(code)


CURSOR = cursor()

def main():
    try:
        dipc._require("stdout", os.O_RDONLY)
        dipc._require("stderr", os.O_RDONLY)
        if len(sys.argv) != 4 or not sys.argv[1].isdecimal():
            sys.exit("usage: chat.py PORT BOX NAME")
        dipc._require("stdin", os.O_WRONLY)
        sys.stdin.reconfigure(errors="surrogateescape")  # with os.fsencode, keeps bytes unchanged
        Chat(int(sys.argv[1]), dipc._box(sys.argv[2]), sys.argv[3]).run()
    except (OSError, ValueError, dipc.DipcError) as error:
        sys.exit("chat: %s" % error)
    except dipc._StreamError as error:
        end(error, dipc.LOCAL if error.args else 0)


if __name__ == "__main__":
    main()
