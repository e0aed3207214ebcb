"""Uses the window of dipc_tk.py with the mouse and the keyboard (xdotool), and compares what it shows with what the
server holds.

    python3 tk.py DIRECTORY PORT        DIRECTORY has dipc_tk.py; a new server: dipc 4 64 PORT 8

Mailboxes: the window uses 3, nothing is written to 1.
"""

import re
import subprocess
import sys
import time
import tkinter as tk

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])

import dipc  # noqa: E402
import dipc_tk  # noqa: E402

PORT = int(sys.argv[2])
LIMIT = 15  # seconds; the longest wait
DONT_WAIT = 2  # a flag of Tcl_DoOneEvent
PAUSE = 0.002  # seconds between two looks at a condition, if the window has no event
LINES = "milk\neggs, 12\nw 1\nq\n  the rest "


class Driver:
    """The person in front of the window."""

    def __init__(self):
        self.root = tk.Tk()
        self.window = dipc_tk.Window(self.root, lambda: dipc.connect(PORT, name="dipc_tk"))
        self.root.focus_force()  # there is no window manager
        self.is_open = True
        self.root.bind("<Destroy>", self.closed, add=True)

    def closed(self, _):
        self.is_open = False

    def wait_until(self, what, condition):
        """Runs the window until the condition is true."""
        deadline = time.monotonic() + LIMIT
        while not condition():
            if time.monotonic() > deadline:
                sys.exit("%s: status %r, text %r, list %r" % (what, self.status(), self.text(), self.list()))
            if not self.root.tk.dooneevent(DONT_WAIT):
                time.sleep(PAUSE)

    def xdotool(self, *words):
        with subprocess.Popen(["xdotool", *map(str, words)]) as process:
            self.wait_until("xdotool", lambda: process.poll() is not None)

    def click(self, widget):
        self.wait_until("the widget is visible", widget.winfo_viewable)
        x, y = widget.winfo_rootx() + widget.winfo_width() // 2, widget.winfo_rooty() + widget.winfo_height() // 2
        self.xdotool("mousemove", x, y, "click", 1)

    def type(self, widget, text):
        self.click(widget)
        self.wait_until("the focus", lambda: self.root.focus_get() == widget)
        self.xdotool("key", "ctrl+slash", "Delete")  # selects all, and deletes it
        self.xdotool("type", "--delay", 2, text)

    def expect_status(self, pattern):
        self.wait_until(pattern, lambda: re.fullmatch(pattern, self.status()))

    def expect_line(self, pattern):
        """Waits for a last line of the list. Each line begins with the time."""
        self.wait_until(pattern, lambda: re.search(r"^\d\d:\d\d:\d\d  %s\n\Z" % pattern, self.list(), re.M))

    def status(self):
        return self.window.status.get() if self.is_open else "closed"

    def text(self):
        return self.window.text.get("1.0", "end-1c") if self.is_open else "closed"

    def list(self):
        return self.window.list.get("1.0", "end-1c") if self.is_open else "closed"


def check(condition, *shown):
    if not condition:
        raise AssertionError(shown)


def test_writing_and_reading(driver, other):
    window = driver.window
    driver.expect_status("connected: 4 mailboxes of 65536 bytes")
    driver.type(window.spinbox, "3")
    driver.type(window.text, LINES)
    driver.wait_until("typed", lambda: driver.text() == LINES)
    driver.click(window.write_button)
    driver.expect_status("mailbox 3: written, version 1")
    check(other.read(3) == LINES.encode(), other.read(3))
    check(other.read(1).version == 0)

    other.write(3, "grüße\nsecond line\n\n")
    driver.click(window.read_button)
    driver.expect_status("mailbox 3: version 2, 21 bytes, messages in the mailbox: 1")
    check(driver.text() == "grüße\nsecond line\n\n", driver.text())
    driver.click(window.write_button)
    driver.expect_status("mailbox 3: written, version 3")
    check(other.read(3) == "grüße\nsecond line\n\n".encode(), other.read(3))

    other.write(3, b"\xff\x00z")
    driver.click(window.read_button)
    driver.expect_status(r"mailbox 3: version 4, 3 bytes, messages in the mailbox: 1, not UTF-8")

    driver.type(window.spinbox, "7")
    driver.click(window.read_button)
    driver.expect_status("mailbox 7: box max=3: no mailbox 7; this server has 0 to 3")
    driver.type(window.spinbox, "X")
    driver.click(window.write_button)
    driver.expect_status("'X' is not the number or the name of a mailbox")
    other.set_name(3, "jobs")
    driver.type(window.spinbox, "jobs")
    driver.click(window.read_button)
    driver.expect_status(r"mailbox jobs: version 4, 3 bytes, messages in the mailbox: 1, not UTF-8")
    driver.type(window.spinbox, "3")


def test_a_locked_mailbox(driver, other):
    """While a Read waits, the window can be used."""
    window = driver.window
    with other.lock(3):
        other.write(3, "after the lock")
        driver.click(window.read_button)
        driver.wait_until("the request waits", lambda: other.stat()["waiting"] == 1)
        check(str(window.read_button["state"]) == str(window.write_button["state"]) == "disabled")
        driver.expect_status("reading mailbox 3 ..")
        driver.type(window.text, "typed")
        driver.wait_until("typed", lambda: driver.text() == "typed")
    driver.wait_until("read", lambda: driver.text() == "after the lock")
    check(str(window.read_button["state"]) == str(window.write_button["state"]) == "normal")
    driver.click(window.text)
    driver.xdotool("key", "ctrl+z")
    driver.wait_until("restored", lambda: driver.text() == "typed")


def test_watching(driver, other):
    window = driver.window
    version = other.read(3).version
    driver.click(window.watch_button)
    driver.expect_line("watching mailbox 3 after version %d" % version)
    other.put(3, "new")
    driver.expect_line("version %d: new" % (version + 1))
    other.put(3, "two\nlines")
    driver.expect_line("version %d: two\n          lines" % (version + 2))

    # The connection is lost, and the watch goes on.
    window._watcher._mailboxes._sock.shutdown(2)
    driver.expect_line("the server closed the connection; connecting again ..")
    other.put(3, "missed")
    driver.expect_line("version %d: missed" % (version + 3))
    check("lost" not in driver.list().replace("the connection is lost", ""), driver.list())

    driver.click(window.watch_button)
    driver.expect_line("not watching")
    driver.wait_until("the watch ends", lambda: other.stat()["watching"] == 0)
    other.put(3, "unseen")

    driver.type(window.spinbox, "7")
    driver.click(window.watch_button)
    driver.expect_line("not watching: box max=3: no mailbox 7; this server has 0 to 3")
    check(not window.is_watching.get())
    check("unseen" not in driver.list(), driver.list())


def main():
    driver = Driver()
    with dipc.connect(PORT, timeout=LIMIT) as other:
        test_writing_and_reading(driver, other)
        test_a_locked_mailbox(driver, other)
        test_watching(driver, other)
    driver.click(driver.window.quit_button)
    driver.wait_until("closed", lambda: not driver.is_open)


main()
