"""Profiles the servers with perf: the CPU time per request in each system call."""

import collections
import csv
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import points
import records
from servers import SERVERS, running

# The profiled points: one of each kind that has a goal.
POINTS = (("connections", 50), ("connections", 1000), ("pipeline", 16), ("size", 65536))
# The frequency is a prime number, so that the samples do not synchronize with periodic work.
RECORD = "perf record -q -e cpu-clock -F 11003 -g -p PID -- sleep S"
CALLS = {"send": "sendto sendmsg write writev", "receive": "recvfrom recvmsg read readv",
         "wait": "epoll_wait epoll_pwait"}
PART_OF = {call: part for part, calls in CALLS.items() for call in calls.split()}
PARTS = tuple(CALLS) + ("kernel", "program")
# Functions of the kernel that contain the name of a system call. The compiler may have inlined some of them.
CALL = re.compile(rf"(?:_sys|ksys|do)_({'|'.join(PART_OF)})\b")


def measure(sections, programs, seconds, folder):
    """Stores the time of each part in `folder`, in microseconds per request."""
    rows = []
    for name, n in POINTS:
        if name not in sections or n not in sections[name].values:
            continue
        for mix in ("r", "w"):
            section = points.of_mix(sections[name], mix)
            for server in section.servers:
                print(f"profile: {name} N={n} {mix} {server}", file=sys.stderr)
                rows += [{"section": name, "n": n, "mix": mix, "server": server, **row}
                         for row in run(section, n, server, programs, max(1, round(seconds)))]
    records.save_profile(folder, rows)


def run(section, n, server, programs, seconds):
    """Returns a list with one row. It is empty if there is no profile; then stderr says so."""
    with running(server, programs) as (port, pid), tempfile.TemporaryDirectory() as directory:
        words = points.command(section, seconds + 2, SERVERS[server].speaks, port, pid, n)
        words.append("--overwrite")
        bench = subprocess.Popen([str(programs / "dipc-cli")] + words, stdout=subprocess.PIPE,
                                 universal_newlines=True)
        try:
            time.sleep(points.warmup(seconds + 2) + 0.5)
            shares = profile(pid, seconds, pathlib.Path(directory) / "perf.data")
        finally:
            output, _ = bench.communicate()
    report = list(csv.DictReader(output.splitlines()))
    if not shares or not report or not report[0]["server_cpu_us"]:
        print(f"no profile of {server}", file=sys.stderr)
        return []
    cpu = float(report[0]["server_cpu_us"])
    return [{"cpu": f"{cpu:.3f}", **{part: f"{cpu * shares[part]:.3f}" for part in PARTS}}]


def profile(pid, seconds, file):
    """The share of each part. None: perf failed, or there are no samples."""
    as_root = [] if os.geteuid() == 0 else ["sudo"]
    words = RECORD.replace("PID", str(pid)).replace("S", str(seconds)).split()
    words[2:2] = ["-o", str(file)]
    recorded = subprocess.run(as_root + words, stdout=subprocess.DEVNULL, check=False)
    if recorded.returncode != 0:
        return None
    script = subprocess.run(as_root + ["perf", "script", "-i", str(file), "-F", "ip,sym,dso"],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True,
                            check=False)
    samples = [sample.strip() for sample in script.stdout.split("\n\n") if sample.strip()]
    counts = collections.Counter(part_of(sample) for sample in samples)
    return {part: counts[part] / len(samples) for part in PARTS} if samples else None


def part_of(sample):
    """The part of a stack, innermost frame first. Entering and leaving the kernel counts as kernel."""
    call = CALL.search(sample)
    if call:
        return PART_OF[call.group(1)]
    return "kernel" if "kernel.kallsyms" in sample.split("\n", 1)[0] else "program"
