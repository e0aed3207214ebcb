"""The chapters of the page: what is said of a section's values, and their tables."""

from typing import Callable, NamedTuple, Tuple

from goals import MIXES, OTHERS, idle_bytes, ratio_to_best
from records import median, ratio

PEERS = ("dipc",) + OTHERS
WITH_BASELINE = PEERS + ("baseline",)
LOCKS = ("rwlock", "rwlock-copy")
WAITS = {"waits": "16 KiB, one request at a time", "waits-batch": "100 bytes, 16 requests in a batch",
         "waits-large": "256 KiB, 16 requests in a batch"}


class Chapter(NamedTuple):
    title: str
    sections: Tuple[str, ...]
    write: Callable


def table(header, rows):
    """Right-aligned; what is not known is a dash."""
    cells = [["–" if cell is None else cell for cell in row] for row in rows]
    lines = [header, ["--:"] * len(header)] + cells
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def number(value, digits=0):
    return None if value is None else f"{value:,.{digits}f}"


def image(name, text):
    return f"![{text}](performance/{name}.svg)\n"


def by_mix(section, first, rates, remark=""):
    """A table for each mix: ratios, CPU time, and what `rates` makes of the requests in a second."""
    unit, of_rate = rates

    def write(about, runs):
        parts = []
        for mix, name in MIXES.items():
            header = [first, "CPU ratio", "rate ratio"]
            header += [f"{server}, µs" for server in WITH_BASELINE] + [f"{server}, {unit}" for server in PEERS]
            rows = []
            for n in about["sections"][section]["values"]:
                cpu = [runs.median(section, server, n, mix, "server_cpu_us") for server in WITH_BASELINE]
                rate = [runs.median(section, server, n, mix, "requests_per_second") for server in PEERS]
                ratios = [median(ratio_to_best(runs, section, n, mix, "server_cpu_us")),
                          median(ratio_to_best(runs, section, n, mix, "requests_per_second", max))]
                rows.append([number(n)] + [number(value, 2) for value in ratios + cpu]
                            + [of_rate(value, n) for value in rate])
            parts += [f"### {name.capitalize()}\n", image(f"{section}-{mix}", f"{first}: {name}"), table(header, rows)]
        return RATIOS + remark + "\n" + "\n".join(parts)
    return write


RATIOS = """\
CPU ratio: dipc's CPU time per request / that of the better of both others; less is better. Rate ratio: dipc's requests
in a second / those of the better of both; more is better. Both are medians of the ratios within each round. Then the
medians of the CPU time per request, and of the rate. *baseline* is the server that does nothing.
"""


def latency(about, runs):
    fields = {"p50": "p50_us", "p90": "p90_us", "p99": "p99_us", "p99.9": "p999_us", "longest": "max_us"}
    rate, = about["sections"]["latency"]["values"]
    rows = [[name, number(median(ratio_to_best(runs, "latency", rate, "rw50", field)), 2)]
            + [number(runs.median("latency", server, rate, "rw50", field)) for server in PEERS]
            for name, field in fields.items()]
    rows.append(["CPU time per request", number(median(ratio_to_best(runs, "latency", rate, "rw50", "server_cpu_us")), 2)]
                + [number(runs.median("latency", server, rate, "rw50", "server_cpu_us"), 1) for server in PEERS])
    return (LATENCY + "\n" + image("latency", "latency at a fixed rate") + "\n"
            + table(["", "ratio"] + [f"{server}, µs" for server in PEERS], rows))


LATENCY = """\
Half of the requests are writes. They are sent on a schedule, and a latency counts from the time in the schedule: a
server that stops for a moment makes everybody late who should have been served in it (no coordinated omission). The
ratio is dipc's latency / that of the better of both others. The plot has a line for each round; the distributions are
in `performance/latency/`, in HdrHistogram's percentile text.
"""


def idle(about, runs):
    rows = [[number(n)] + [number(runs.median("idle", server, n, "r", "server_rss_kb")) for server in PEERS]
            for n in about["sections"]["idle"]["values"]]
    rows.append(["bytes per connection"] + [number(idle_bytes(runs, server)) for server in PEERS])
    return (IDLE + "\n" + image("idle", "memory beside idle connections") + "\n"
            + table(["idle connections"] + [f"{server}, kB" for server in PEERS], rows))


IDLE = """\
What the server has in memory (VmRSS, shared memory too) when so many connections have rested for four seconds after one
ping each.
The last line is the difference between the first line and the one before it, for each connection: what the mailboxes
and the program take is in both. What the kernel keeps for a socket is in none.
"""


def waits(about, runs):
    parts = [WAITING, image("waits", "the longest wait of a writer among readers")]
    for section, title in WAITS.items():
        if section not in about["sections"]:
            continue
        header = ["clients"] + [f"{server} / dipc" for server in LOCKS]
        header += [f"{server}, {unit}" for unit in ("ms", "/s", "Jain") for server in ("dipc",) + LOCKS]
        rows = [[number(n)] + waits_at(runs, section, n) for n in about["sections"][section]["values"]]
        parts += [f"### {title}\n", table(header, rows), longer(about, runs, section)]
    return "\n".join(parts)


def waits_at(runs, section, n):
    longest, rate, jain = ([runs.median(section, server, n, "rw90", field) for server in ("dipc",) + LOCKS]
                           for field in ("longest_write_s", "requests_per_second", "jain"))
    longest = [None if wait is None else wait * 1000 for wait in longest]
    return ([number(ratio(wait, longest[0]), 1) for wait in longest[1:]] + [number(wait, 2) for wait in longest]
            + [number(value) for value in rate] + [number(value, 3) for value in jain])


def longer(about, runs, section):
    """What the table shows, in a sentence."""
    values = about["sections"][section]["values"]
    text = []
    for server in LOCKS:
        pairs = [[runs.median(section, name, n, "rw90", "longest_write_s") for name in ("dipc", server)]
                 for n in values]
        known = [(ours, theirs) for ours, theirs in pairs if ours is not None and theirs is not None]
        text.append(f"those of `{server}` at {sum(theirs > ours for ours, theirs in known)} of {len(known)} points")
    return "The longest wait of a writer is longer than dipc's: " + ", ".join(text) + ".\n"


WAITING = """\
One mailbox, and clients of which nine in ten only read and one in ten only writes. Beside dipc stands
`bench/rwlock-server.c`: a thread for each connection and a `pthread_rwlock` with default attributes, which let readers
in as long as a reader is in. As `rwlock` it sends an answer under the read lock, as is usual; as `rwlock-copy` it
copies the message there, and sends it when it has given the lock back. First the longest wait of a writer for its batch
as a multiple of dipc's, then that wait, the rate, and Jain's index of fairness: 1 when each client had as many
requests, 1/n when one had them all. A server may be fast while its writers wait. Rates of batches say little about
locks: dipc answers a batch in one system call, the other server one request after the other.

A wait as long as the run or longer is that of a writer that came in only when the readers had stopped.
"""


def hot(about, runs):
    rows = []
    for server in PEERS:
        one, many = (("hot", server, n, "rw50", "requests_per_second") for n in (1, 64))
        rows.append([server, number(median(runs.ratio(one, many)), 2), number(runs.median(*one)),
                     number(runs.median(*many))])
    overtakes = number(runs.total("dipc", "overtakes"))
    return (HOT + "\n" + table(["", "ratio", "one mailbox, /s", "64 mailboxes, /s"], rows)
            + f"\nOvertakes in all runs of dipc that count them (`--fairness`, here and above): {overtakes or '–'}.\n")


HOT = """\
50 connections, half of the requests writes. What is lost when all of them want the same mailbox.
"""

COPIED = """
dipc receives a message whole before its writer is let in, and copies one out before its reader is told: who sends or
reads slowly keeps nobody waiting. redis and memcached receive into what they keep. From 128 KiB on the copy is a
worker's: it costs more, and the next message is received meanwhile.
"""

RATE = ("/s", lambda rate, n: number(rate))
MEGABYTES = ("MB/s", lambda rate, n: None if rate is None else number(rate * n / 1e6, 1))
CHAPTERS = (
    Chapter("Connections", ("connections",), by_mix("connections", "connections", RATE)),
    Chapter("Pipelining", ("pipeline",), by_mix("pipeline", "in a batch", RATE)),
    Chapter("Message size", ("size",), by_mix("size", "bytes", MEGABYTES, COPIED)),
    Chapter("Latency at a fixed rate", ("latency",), latency),
    Chapter("Memory of idle connections", ("idle",), idle),
    Chapter("Writers among readers", tuple(WAITS), waits),
    Chapter("One hot mailbox", ("hot", "hot-fair"), hot),
)
