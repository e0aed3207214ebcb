"""Runs it all: each round measures every point, each point one system after the other, another one first each time.
Then come further rounds of those points that are judged.

Every run has a server that was just started and is stopped after it, so nothing of an earlier run is left, and no other
one takes processor time meanwhile.
"""

import csv
import subprocess
import sys
import time

import points
import records
from about import describe
from servers import SERVERS, running

RUN_TIMEOUT = 300  # seconds for one run, with all its connections


def measure(sections, programs, rounds, seconds, folder):
    """Leaves every value in `folder`, after each round. `rounds`: of all points, and of those that are judged."""
    records.clear(folder)
    plan = [(number, list(runs(sections if number <= rounds[0] else points.gated(sections), number)))
            for number in range(1, max(rounds) + 1)]
    run_all(plan, describe(sections, programs, rounds, seconds), [], sections, programs, folder)


def measure_more(programs, count, folder):
    """So many rounds more of the points that are judged, with the same programs and settings as before."""
    about, rows = records.load_rows(folder)
    sections = {name: points.Section(**section) for name, section in about["sections"].items()}
    last, before = about["rounds_gated"], about["versions"]
    about = {**about, "rounds_gated": last + count}
    if describe(sections, programs, (1, 1), 0)["versions"] != before:
        raise SystemExit(f"these are other programs than before: {before}")
    plan = [(number, list(runs(points.gated(sections), number))) for number in range(last + 1, last + count + 1)]
    run_all(plan, about, rows, sections, programs, folder)


def run_all(plan, about, rows, sections, programs, folder):
    progress = Progress(sum(len(runs_of_round) for _, runs_of_round in plan))
    for number, turns in plan:
        for name, value, server in turns:
            progress.show(f"round {number}: {name} N={value} {server}")
            keep = folder / "latency" / f"{server}-{number}.hgrm" if name == "latency" else None
            for row in run(sections[name], value, server, programs, about["seconds"], keep):
                rows.append({"section": name, "n": value, "round": number, "server": server, **row})
        records.save(folder, about, rows)


def runs(sections, number):
    """Of one round."""
    turns = [(name, value) for name, section in sections.items() for value in section.values]
    for turn, (name, value) in enumerate(turns):
        for server in points.rotated(sections[name], number + turn):
            yield name, value, server


def run(section, value, server, programs, seconds, percentiles):
    """The rows of one bench; none, and why on stderr, when it failed: such a run is no result."""
    with running(server, programs) as (port, pid):
        words = points.command(section, seconds, SERVERS[server].speaks, port, pid, value)
        if percentiles:
            words += ["--percentiles", str(percentiles)]
        try:
            ran = subprocess.run([str(programs / "dipc-cli")] + words, stdout=subprocess.PIPE, timeout=RUN_TIMEOUT,
                                 universal_newlines=True, check=False)
        except subprocess.TimeoutExpired:
            print(f"\nmore than {RUN_TIMEOUT} s: dipc-cli {' '.join(words)}", file=sys.stderr)
            return []
    if ran.returncode != 0:
        print(f"\nexit code {ran.returncode}: dipc-cli {' '.join(words)}\n{ran.stdout}", file=sys.stderr)
        return []
    return list(csv.DictReader(ran.stdout.splitlines()))


class Progress:
    """On stderr: a line that changes, at a terminal, and else one line after the other."""

    def __init__(self, count):
        self.count, self.done, self.began = count, 0, time.monotonic()
        self.form, self.end = ("\r{:<79}", "") if sys.stderr.isatty() else ("{}", "\n")

    def show(self, what):
        """Before each run."""
        spent = time.monotonic() - self.began
        left = f", {spent / self.done * (self.count - self.done) / 60:.0f} min left" if self.done else ""
        self.done += 1
        print(self.form.format(f"{self.done} of {self.count}{left}: {what}"), end=self.end, file=sys.stderr, flush=True)
