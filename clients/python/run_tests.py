#!/usr/bin/env python3
"""Runs the tests of the modules and of chat.py against a new server: `dipc 4 64 PORT 8 --unix PATH`.

    python3 run_tests.py PORT [UNIX_PATH [DIPC]]

The tests need four mailboxes of 64 kB, and packets of at most 8 kB. Mailbox 2 is never written. Without
UNIX_PATH, the tests of the Unix socket are skipped. DIPC is the path of the server's program: without it, the
tests that restart a server are skipped, and without libdipc_local.so (`make -C clients/c local`) those of local
reads. Without a server, only test_wire.py runs:

    python3 -m unittest test_wire
"""

import os
import sys
import unittest

sys.dont_write_bytecode = True  # leaves no __pycache__ in the source directory

if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit("usage: run_tests.py PORT [UNIX_PATH [DIPC]]")
    os.environ.update(zip(("DIPC_TEST_PORT", "DIPC_TEST_UNIX", "DIPC_TEST_SERVER"), sys.argv[1:]))
    directory = os.path.dirname(os.path.abspath(__file__))
    unittest.main(module=None, argv=sys.argv[:1] + ["discover", "--start-directory", directory])
