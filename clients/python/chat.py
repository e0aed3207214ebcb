#!/usr/bin/env python3
"""chat.py: a chat room in a mailbox. Every user sees the lines in the order of their versions.

    python3 chat.py PORT BOX NAME           Ctrl-D leaves

On joining, chat.py prints the lines that are stored in the mailbox. A full mailbox drops its oldest lines.
"""

import contextlib
import os
import sys
import threading

import dipc


class Chat:
    def __init__(self, port, box, name):
        # A connection must be used by one thread at a time. So one connection receives lines, and another one
        # sends them.
        self.receiver, self.sender = dipc.connect(port), dipc.connect(port)
        self.box, self.name, self.last, self.printing = box, name, float("inf"), threading.Lock()

    def send(self, text):
        try:
            return self.sender.put(self.box, text, drop=True)
        except dipc.Refused as error:
            if error.code != "size":
                raise
            print("chat: %s" % error, file=sys.stderr, flush=True)

    def print_lines(self):
        try:
            for version, data in self.receiver.watch(self.box, after=0):
                with self.printing:
                    text = data.decode("utf-8", "replace").expandtabs()
                    print("".join(c if c.isprintable() else "?" for c in text), flush=True)
                    if version >= self.last:
                        return
        except (OSError, dipc.Refused) as error:
            print("chat: %s" % error, file=sys.stderr, flush=True)
            os._exit(3)  # the other thread blocks in a read of standard input

    def run(self):
        self.send("* %s joins" % self.name)
        printer = threading.Thread(target=self.print_lines, daemon=True)
        printer.start()
        with contextlib.suppress(KeyboardInterrupt):
            for line in sys.stdin:
                if sys.stdin.isatty() and sys.stdout.isatty():
                    # Erases the typed line, which is printed again when it is received.
                    print("\x1b[A\x1b[2K", end="", flush=True)
                self.send("%s: %s" % (self.name, line.rstrip("\r\n")))
        with self.printing:  # the printer must not compare versions until self.last is set
            self.last = self.send("* %s leaves" % self.name)
        printer.join()


if __name__ == "__main__":
    if len(sys.argv) != 4 or not (sys.argv[1] + sys.argv[2]).isdecimal():
        sys.exit("usage: chat.py PORT BOX NAME")
    try:
        Chat(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]).run()
    except (OSError, ValueError, dipc.DipcError) as error:
        sys.exit("chat: %s" % error)
