#!/usr/bin/env python3
"""chat.py: people in one mailbox. Everybody types whenever they like; all see the same lines in the same order.

    python3 chat.py PORT BOX NAME           Ctrl-D leaves

Who joins sees first what the mailbox still holds. When it is full its oldest lines go.
"""

import contextlib
import os
import sys
import threading

import dipc


class Chat:
    def __init__(self, port, box, name):
        # A connection is for one thread at a time: one brings the lines of all, one takes those of this person.
        self.theirs, self.mine = dipc.connect(port), dipc.connect(port)
        self.box, self.name, self.last, self.showing = box, name, float("inf"), threading.Lock()

    def say(self, text):
        try:
            return self.mine.put(self.box, text, drop=True)
        except dipc.Refused as error:
            if error.code != "size":
                raise
            print("chat: %s" % error, file=sys.stderr, flush=True)

    def show(self):
        try:
            for version, data in self.theirs.watch(self.box, after=0):
                with self.showing:
                    text = data.decode("utf-8", "replace").expandtabs()
                    print("".join(c if c.isprintable() else "?" for c in text), flush=True)
                    if version >= self.last:
                        return
        except (OSError, dipc.Refused) as error:
            print("chat: %s" % error, file=sys.stderr, flush=True)
            os._exit(3)  # the other thread waits for the keyboard

    def run(self):
        self.say("* %s joins" % self.name)
        shower = threading.Thread(target=self.show, daemon=True)
        shower.start()
        with contextlib.suppress(KeyboardInterrupt):
            for line in sys.stdin:
                if sys.stdin.isatty() and sys.stdout.isatty():
                    print("\x1b[A\x1b[2K", end="", flush=True)  # it comes back with the others' lines
                self.say("%s: %s" % (self.name, line.rstrip("\r\n")))
        with self.showing:  # nobody shows the last line before it is known to be the last
            self.last = self.say("* %s leaves" % self.name)
        shower.join()


if __name__ == "__main__":
    if len(sys.argv) != 4 or not (sys.argv[1] + sys.argv[2]).isdecimal():
        sys.exit("usage: chat.py PORT BOX NAME")
    try:
        Chat(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]).run()
    except (OSError, ValueError, dipc.DipcError) as error:
        sys.exit("chat: %s" % error)
