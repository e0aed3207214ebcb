"""docs/performance.md, from what was recorded and nothing else: the same values make the same bytes."""

import points
from chapters import CHAPTERS
from marks import marks

HEAD = """\
<!-- Written by bench/peers. Do not edit it: `bench/peers --page` makes it again from docs/performance/. -->

# Where dipc stands

dipc beside redis, memcached and a server with a `pthread_rwlock`, on one machine in one measurement. `bench/peers` has
made this page; it measures the same on another machine.

- {date}: {versions}
- {kernel}, {processors} processors ({processor}), everything on loopback
- TCP: the system's congestion control is {congestion}; dipc asks for Reno on loopback, the others do not choose
- rounds: {rounds}, each with {seconds:g} s for a point after {warmup:g} s under load; values are medians of the rounds
- runs: {runs}, without a result: {missing}

Ratios come first: machines differ, and a figure can only be compared with those beside it. Server and load share the
processors, so requests in a second say as much about the load as about the server. CPU time per request does not: it is
what the server's threads have used, in and out of the kernel, by the number of requests.

The systems take turns: at each point of each round one after the other is started, measured and stopped, and another
one is first each time. Every value of every run is in [performance/runs.csv](performance/runs.csv). In the plots, the
bars are the least and the most of all rounds.
"""

SERVERS = """\
## How each is started

| | command | why |
|---|---|---|
{rows}

PORT is a free port, and DIR a new directory in /dev/shm. Each server may have 16,000 clients, so that 15,000 can come.
"""

MARKS = """\
## Marks

What dipc has to reach beside the others, in ratios of the medians of this measurement; a value is judged as it is shown.
{reached} of {count} are reached.

| mark | value | goal | | kernel alone |
|---|--:|--:|---|--:|
{rows}

*Kernel alone* is what the value would be if dipc's own program took no time: of its CPU time only what the kernel has,
nearly all of it for `recv` and `send`, and as a rate that of one thread, since one has all sockets. Where this misses
the goal, a faster program does not reach it.
"""


def write(about, runs):
    parts = [head(about, runs), marks_table(runs), servers_table(about)]
    for chapter in CHAPTERS:
        lines = [bench_line(about, name) for name in chapter.sections if name in about["sections"]]
        if lines:
            parts.append(f"## {chapter.title}\n\n" + "".join(lines) + "\n" + chapter.write(about, runs))
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def head(about, runs):
    missing, wanted = runs.missing(about)
    return HEAD.format(
        **{key: about[key] for key in ("date", "kernel", "processors", "processor", "congestion", "rounds", "seconds")},
        versions=", ".join(f"{name} {version}" for name, version in about["versions"].items()),
        warmup=points.warmup(about["seconds"]),
        runs=f"{wanted:,}", missing=missing)


def marks_table(runs):
    found = marks(runs)
    sign = {"at most": "≤", "at least": "≥"}
    rows = [f"| {mark.what} | {mark.shown()} | {sign[mark.bound]} {mark.goal:g} | {mark.word()} | "
            f"{mark.kernel_shown()} |" for mark in found]
    return MARKS.format(reached=sum(mark.word() == "reached" for mark in found), count=len(found),
                        rows="\n".join(rows))


def servers_table(about):
    rows = [f"| {name} | `{server['line']}` | {server['why']} |" for name, server in about["servers"].items()]
    return SERVERS.format(rows="\n".join(rows))


def bench_line(about, name):
    """The command as it was run, with N for its values."""
    section = points.Section(**about["sections"][name])
    values = ", ".join(f"{value:,}" for value in section.values)
    words = points.command(section, about["seconds"])
    if name == "latency":
        words += ["--percentiles", "FILE"]
    return f"    # N = {values}\n    dipc-cli {' '.join(words)}\n"
