"""Runs the measurements. Each round measures all points, and at each point all servers, in rotating order.
Further rounds measure only the gated points.

Every run starts its server and stops it afterwards. So no state of an earlier run is left, and no other
server uses processor time.
"""

import csv
import subprocess
import sys
import time

import points
import records
from about import describe
from servers import SERVERS, running

RUN_TIMEOUT = 300  # seconds, including the connects


def measure(sections, programs, rounds, seconds, folder):
    """Stores all values in `folder` after each round. `rounds`: for all points, and for gated points."""
    records.clear(folder)
    plan = [(number, list(runs(sections if number <= rounds[0] else points.gated(sections), number)))
            for number in range(1, max(rounds) + 1)]
    run_all(plan, describe(sections, programs, rounds, seconds), [], sections, programs, folder)


def measure_more(programs, count, folder):
    """Measures the gated points in `count` more rounds, with the same programs and settings."""
    about, rows = records.load_rows(folder)
    sections = {name: points.Section(**section) for name, section in about["sections"].items()}
    last, before = about["rounds_gated"], about["versions"]
    about = {**about, "rounds_gated": last + count}
    if describe(sections, programs, (1, 1), 0)["versions"] != before:
        raise SystemExit(f"the programs differ from the measured ones: {before}")
    plan = [(number, list(runs(points.gated(sections), number)))
            for number in range(last + 1, last + count + 1)]
    run_all(plan, about, rows, sections, programs, folder)


def run_all(plan, about, rows, sections, programs, folder):
    progress = Progress(sum(len(runs_of_round) for _, runs_of_round in plan))
    for number, runs_of_round in plan:
        for name, value, server in runs_of_round:
            progress.show(f"round {number}: {name} N={value} {server}")
            is_plotted = name == "latency" and value == points.PLOTTED_RATE
            keep = folder / "latency" / f"{server}-{number}.hgrm" if is_plotted else None
            for row in run(sections[name], value, server, programs, about["seconds"], keep):
                rows.append({"section": name, "n": value, "round": number, "server": server, **row})
        records.save(folder, about, rows)


def runs(sections, number):
    """The runs of one round: section, value of N, and server."""
    measured = [(name, value) for name, section in sections.items() for value in section.values]
    for position, (name, value) in enumerate(measured):
        for server in points.rotated(sections[name], number + position):
            yield name, value, server


def run(section, value, server, programs, seconds, percentiles):
    """The rows of one run of dipc-cli bench. Empty if it failed; then stderr says why."""
    with running(server, programs) as (port, pid):
        words = points.command(section, seconds, SERVERS[server].speaks, port, pid, value) + ["--overwrite"]
        if percentiles:
            words += ["--percentiles", str(percentiles)]
        try:
            ran = subprocess.run([str(programs / "dipc-cli")] + words, stdout=subprocess.PIPE,
                                 timeout=RUN_TIMEOUT, universal_newlines=True, check=False)
        except subprocess.TimeoutExpired:
            print(f"\ntimeout after {RUN_TIMEOUT} s: dipc-cli {' '.join(words)}", file=sys.stderr)
            return []
    if ran.returncode != 0:
        print(f"\nexit code {ran.returncode}: dipc-cli {' '.join(words)}\n{ran.stdout}", file=sys.stderr)
        return []
    return list(csv.DictReader(ran.stdout.splitlines()))


class Progress:
    """Progress on stderr: one line that is overwritten on a terminal, otherwise one line per run."""

    def __init__(self, count):
        self.count, self.done, self.began = count, 0, time.monotonic()
        self.form, self.end = ("\r{:<79}", "") if sys.stderr.isatty() else ("{}", "\n")

    def show(self, what):
        """Shows the number of the run and the estimated remaining time. Called before each run."""
        spent = time.monotonic() - self.began
        left = f", {spent / self.done * (self.count - self.done) / 60:.0f} min left" if self.done else ""
        self.done += 1
        line = self.form.format(f"{self.done} of {self.count}{left}: {what}")
        print(line, end=self.end, file=sys.stderr, flush=True)
