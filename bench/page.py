"""docs/performance.md, from what was recorded and nothing else: the same values make the same bytes."""

import points
from chapters import CHAPTERS, table
from goals import goals
from profile import PARTS, RECORD

HEAD = """\
<!-- Written by bench/peers. Do not edit it: `bench/peers --page` makes it again from docs/performance/. -->

# Where dipc stands

dipc beside redis, memcached, a server with a `pthread_rwlock` and one that does nothing, on one machine in one
measurement. `bench/peers` has made this page; it measures the same on another machine.

- {date}: {versions}
- {kernel}, {processors} processors ({processor}), everything on loopback
- TCP: the system's congestion control is {congestion}; dipc asks for Reno on loopback, the others do not choose
- rounds: {rounds}, and {rounds_gated} of the points that have a goal, each with {seconds:g} s for a point
  after {warmup:g} s under load; values are medians of the rounds
- runs: {runs}, without a result: {missing}

Ratios come first: machines differ, and a figure can only be compared with those beside it. Server and load share the
processors, so requests in a second say as much about the load as about the server. CPU time per request does not: it is
what the server's threads have used, in and out of the kernel, by the number of requests.

The systems take turns: at each point of each round one after the other is started, measured and stopped, and another
one is first each time. Every value of every run is in [performance/runs.csv](performance/runs.csv). In the plots, the
bars are the least and the most of all rounds.
"""

ABOUT = ("date", "kernel", "processors", "processor", "congestion", "rounds", "rounds_gated", "seconds")
SERVERS = """\
## How each is started

| | command | why |
|---|---|---|
{rows}

PORT is a free port, and DIR a new directory in /dev/shm. Each server may have 16,000 clients, so that 15,000 can come.
"""

GOALS = """\
## Goals

What dipc has to reach beside the others: medians of the ratios within each round, in which the systems were measured
one right after the other. A value is judged as it is shown.
{reached} of {count} are reached.

| name | value | goal | | rounds | baseline | faster |
|---|--:|--:|---|--:|--:|--:|
{rows}

*Rounds* are the least and the most of all rounds. *Baseline* is what `bench/baseline-server.c` reaches in dipc's place, a server
that receives, sends answers that lie ready, and does nothing else: who makes the same system calls hardly does better.
*Faster* is how many times as fast all that dipc does besides would have to be to reach the goal; none is fast enough
where the baseline server does not reach it. The last chapter shows what the time is spent on.
"""


SPENT = """\
## Where the time goes

    {command}

What the server's threads were at whenever `perf` looked, as CPU time of a request in µs: in which system call (sending,
receiving, waiting for events), elsewhere in the kernel, or in the program and its libraries. On loopback whoever sends
takes the message all the way to the other side's socket, and wakes who waits there: that is why sending is dear, and
costs every server about the same.
"""
SPENT_HEADER = ["load", "server", "all", "sending", "receiving", "waiting", "rest of the kernel", "program"]


def write(about, runs, profiled):
    parts = [head(about, runs), goals_table(runs), servers_table(about)]
    for chapter in CHAPTERS:
        lines = [bench_line(about, name) for name in chapter.sections if name in about["sections"]]
        if lines:
            parts.append(f"## {chapter.title}\n\n" + "".join(lines) + "\n" + chapter.write(about, runs))
    if profiled:
        parts.append(spent(about, profiled))
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def spent(about, profiled):
    rows = []
    for row in profiled:
        line = points.of_mix(points.Section(**about["sections"][row["section"]]), row["mix"]).line
        rows.append([f"`{line.replace('N', row['n'])}`", row["server"]]
                    + [f"{float(row[part]):.2f}" for part in ("cpu",) + PARTS])
    return SPENT.format(command=RECORD) + "\n" + table(SPENT_HEADER, rows)


def head(about, runs):
    missing, wanted = runs.missing(about)
    return HEAD.format(
        **{key: about[key] for key in ABOUT},
        versions=", ".join(f"{name} {version}" for name, version in about["versions"].items()),
        warmup=points.warmup(about["seconds"]),
        runs=f"{wanted:,}", missing=missing)


def goals_table(runs):
    found = goals(runs)
    sign = {"at most": "≤", "at least": "≥"}
    rows = [f"| {goal.name} | {goal.shown()} | {sign[goal.bound]} {goal.limit:g} | {goal.verdict()} | "
            f"{goal.spread_shown()} | {goal.baseline_shown()} | {goal.speedup_shown()} |" for goal in found]
    return GOALS.format(reached=sum(goal.verdict() == "reached" for goal in found), count=len(found),
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
