#!/usr/bin/env python3
"""dipc_tk.py: a window that reads, writes and watches the mailboxes of a dipc server.

    python3 dipc_tk.py PORT             a server on this machine
    python3 dipc_tk.py --host H PORT    a server on another one

The mailbox is chosen by its number or its name. Read (Alt-R) shows the newest message of the mailbox. Write (Alt-W)
replaces the contents of the mailbox by the text, which may have several lines: exactly these characters, as UTF-8.
Watch (Alt-A) lists all new messages of the mailbox with their times. Quit (Alt-Q) closes the window. Ctrl-Z restores
the text that a Read has replaced.

Needs dipc.py in the same directory, and tkinter (in Debian the package python3-tk).

The window never waits for the server: one thread executes the requests, another one watches. They pass their
results to the window through a queue, because only the main thread may use tkinter.
"""

import contextlib
import getopt
import queue
import socket
import sys
import threading
import time
import tkinter as tk
from tkinter import ttk

import dipc

POLL = 40  # milliseconds between two looks at the queue of results
PAUSE = 1  # seconds before a lost watch connects again
LINES = 1000  # lines of the list of messages; older ones are removed
LONGEST = 1000  # characters of a message that the list shows


class Requests(threading.Thread):
    """Executes requests one after the other on one connection. Connects again after a loss."""

    def __init__(self, connect, post):
        super().__init__(daemon=True)
        self._connect, self._post, self._jobs, self._mailboxes = connect, post, queue.SimpleQueue(), None
        self.start()

    def submit(self, request, done):
        """Calls request(mailboxes) in this thread, then done(result) in the main thread. A result may be an error."""
        self._jobs.put((request, done))

    def run(self):
        while True:
            request, done = self._jobs.get()
            self._post(done, self._result(request))

    def _result(self, request):
        try:
            if self._mailboxes is None or self._mailboxes.closed:
                self._mailboxes = self._connect()
        except (dipc.DipcError, OSError) as error:
            return error
        try:
            return request(self._mailboxes)
        except dipc.DipcError as error:
            return error
        except OSError as error:  # no request is sent twice
            return OSError("%s; whether the request was executed is unknown" % error)


class Watcher(threading.Thread):
    """Watches a mailbox until stop(). After a loss, connects again and continues after the last message.

    Calls show(event), note(text) and, if the server refuses the watch, end(text) in the main thread.
    """

    def __init__(self, connect, post, box, show, note, end):
        super().__init__(daemon=True)
        self._connect, self._post, self._box = connect, post, box
        self._show, self._note, self._end = show, note, end
        self._stopped, self._mailboxes, self._last, self._life = threading.Event(), None, None, None
        self._number = None
        self.start()

    def stop(self):
        self._stopped.set()
        if self._mailboxes:
            with contextlib.suppress(OSError):  # it is closed already
                self._mailboxes._sock.shutdown(socket.SHUT_RDWR)  # wakes the thread

    def run(self):
        while not self._stopped.is_set():
            try:
                with self._connect() as self._mailboxes:
                    self._watch()
            except dipc.Ahead:
                self._start_again()
            except (dipc.DipcError, OSError) as error:
                if isinstance(error, dipc.Refused) and error.code not in dipc.CLOSING:
                    return self._tell(self._end, str(error))
                self._tell(self._note, "%s; connecting again .." % error)
                self._stopped.wait(PAUSE)

    def _watch(self):
        life = self._mailboxes.hello()["life"]
        if self._life not in (None, life):
            self._start_again()
        if self._life != life:  # among new mailboxes the name may belong to another one
            self._number = self._mailboxes.number(self._box)
        self._life = life
        watch = self._mailboxes.watch(self._number, after=self._last)
        self._last = watch.versions[self._number]
        self._tell(self._note, "watching mailbox %s after version %d" % (self._box, self._last))
        while not self._stopped.is_set():
            event = next(watch)
            self._last = event.version
            self._tell(self._show, event)

    def _start_again(self):
        self._last = 0
        self._tell(self._note, "mailbox %s is a new one, starting with its oldest message" % self._box)

    def _tell(self, function, *arguments):
        self._post(lambda: self._stopped.is_set() or function(*arguments))


class Window:
    """The window. connect() returns a new connection."""

    def __init__(self, root, connect):
        self.root, self._connect, self._results, self._watcher = root, connect, queue.SimpleQueue(), None
        self._requests = Requests(connect, self._post)
        root.title("dipc")
        root.protocol("WM_DELETE_WINDOW", self.quit)
        self.box, self.status = tk.StringVar(value="0"), tk.StringVar(value="connecting ..")
        self.is_watching, self.heading = tk.BooleanVar(), tk.StringVar(value="New messages")
        bar = ttk.Frame(root, padding=4)
        ttk.Label(bar, text="Mailbox").pack(side="left")
        self.spinbox = ttk.Spinbox(bar, textvariable=self.box, from_=0, to=0, width=6)
        self.spinbox.pack(side="left", padx=4)
        self.read_button = self._button(bar, ttk.Button, "Read", 0, command=self.read)
        self.write_button = self._button(bar, ttk.Button, "Write", 0, command=self.write)
        self.watch_button = self._button(bar, ttk.Checkbutton, "Watch", 1, command=self.watch, variable=self.is_watching)
        self.quit_button = self._button(bar, ttk.Button, "Quit", 0, command=self.quit)
        bar.pack(side="top", fill="x")
        ttk.Label(root, textvariable=self.status, relief="sunken", padding=4).pack(side="bottom", fill="x")
        self.text = self._field(height=6, undo=True)
        ttk.Label(root, textvariable=self.heading, padding=(4, 4, 4, 0)).pack(side="top", fill="x")
        self.list = self._field(height=8, state="disabled", takefocus=False, background="#eeeeee")
        self.text.focus_set()
        self._requests.submit(lambda mailboxes: mailboxes.hello(), self._connected)
        self._poll()

    def _button(self, bar, kind, text, underline, **options):
        button = kind(bar, text=text, underline=underline, **options)
        button.pack(side="left", padx=2)
        self.root.bind("<Alt-%s>" % text[underline].lower(), lambda event: button.invoke())
        return button

    def _field(self, **options):
        frame = ttk.Frame(self.root, padding=4)
        field = tk.Text(frame, width=64, wrap="word", **options)
        scrollbar = ttk.Scrollbar(frame, command=field.yview)
        field["yscrollcommand"] = scrollbar.set
        scrollbar.pack(side="right", fill="y")
        field.pack(side="left", fill="both", expand=True)
        frame.pack(side="top", fill="both", expand=True)
        return field

    def read(self):
        self._request("reading", lambda mailboxes, box: mailboxes.read(box), self._has_read)

    def write(self):
        text = self.text.get("1.0", "end-1c")  # tkinter adds an end of line

        def written(box, version):
            self.status.set("mailbox %s: written, version %d" % (box, version))

        self._request("writing", lambda mailboxes, box: mailboxes.write(box, text), written)

    def watch(self):
        if self._watcher:
            self._watcher.stop()
            self._watcher = None
            self._list("not watching")
        box = self._box() if self.is_watching.get() else None
        if box is None:
            return self.is_watching.set(False)
        self.heading.set("New messages of mailbox %s" % box)
        self._watcher = Watcher(self._connect, self._post, box, self._show, self._list, self._watch_ended)

    def quit(self):
        if self._watcher:
            self._watcher.stop()
        self.root.after_cancel(self._timer)
        self.root.destroy()

    def _request(self, what, request, done):
        """Starts a request for the chosen mailbox. Until its answer, the buttons for requests are disabled."""
        box = self._box()
        if box is None:
            return

        def answered(result):
            self._enable("normal")
            if isinstance(result, Exception):
                self.status.set("mailbox %s: %s" % (box, result))
            else:
                done(box, result)

        self._enable("disabled")
        self.status.set("%s mailbox %s .." % (what, box))
        self._requests.submit(lambda mailboxes: request(mailboxes, box), answered)

    def _box(self):
        try:
            return dipc._box(self.box.get())
        except ValueError as error:
            self.status.set(str(error))
            return None

    def _enable(self, state):
        for button in (self.read_button, self.write_button):
            button["state"] = state

    def _connected(self, result):
        if isinstance(result, Exception):
            return self.status.set("no connection: %s" % result)
        self.spinbox["to"] = result["boxes"] - 1
        self.status.set("connected: %d mailboxes of %d bytes" % (result["boxes"], result["size"]))

    def _has_read(self, box, message):
        text, note = _decode(message)
        self.text.replace("1.0", "end-1c", text)
        self.text.edit_separator()
        counts = (box, message.version, len(message), message.count, note)
        self.status.set("mailbox %s: version %d, %d bytes, messages in the mailbox: %d%s" % counts)

    def _show(self, event):
        text, note = _decode(event.data[:LONGEST * 4])
        if len(text) > LONGEST or len(event.data) > LONGEST * 4:
            text = text[:LONGEST] + " .."
        if event.lost:
            self._list("lost messages: %d" % event.lost)
        self._list("version %d: %s%s" % (event.version, text.replace("\n", "\n" + " " * 10), note))

    def _list(self, line):
        self.list["state"] = "normal"
        self.list.insert("end", "%s  %s\n" % (time.strftime("%H:%M:%S"), line))
        self.list.delete("1.0", "end-%d lines" % (LINES + 1))
        self.list["state"] = "disabled"
        self.list.see("end")

    def _watch_ended(self, text):
        self._watcher = None
        self.is_watching.set(False)
        self._list("not watching: %s" % text)

    def _post(self, function, *arguments):
        """Calls a function in the main thread. May be called by any thread."""
        self._results.put((function, arguments))

    def _poll(self):
        with contextlib.suppress(queue.Empty):
            while True:
                function, arguments = self._results.get_nowait()
                function(*arguments)
        self._timer = self.root.after(POLL, self._poll)


def _decode(data):
    """Returns the data as text, and a note if it is not UTF-8."""
    try:
        return data.decode(), ""
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace"), ", not UTF-8"


def main(arguments):
    try:
        options, words = getopt.gnu_getopt(arguments, "", ["host="])
        port, = map(int, words)
        if not 0 < port < 65536:
            raise ValueError
    except (getopt.GetoptError, ValueError):
        sys.exit("usage: dipc_tk.py [--host H] PORT")
    host = dict(options).get("--host", "127.0.0.1")
    try:
        root = tk.Tk(className="dipc")
    except tk.TclError as error:
        sys.exit("dipc_tk: %s" % error)
    Window(root, lambda: dipc.connect(port, host, name="dipc_tk"))
    root.mainloop()


if __name__ == "__main__":
    main(sys.argv[1:])
