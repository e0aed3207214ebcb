"""The chapters of the page: the text and the tables of each section."""

from typing import Callable, NamedTuple, Tuple

from goals import LARGE_OTHERS, MIXES, OTHERS, idle_bytes, ratio_to_best
from points import LARGE_PEERS, PLOTTED_RATE
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
    """A right-aligned Markdown table. Unknown values are dashes."""
    cells = [["–" if cell is None else cell for cell in row] for row in rows]
    lines = [header, ["--:"] * len(header)] + cells
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def number(value, digits=0):
    return None if value is None else f"{value:,.{digits}f}"


def image(name, text):
    return f"![{text}](performance/{name}.svg)\n"


def by_mix(section, first, rates, remark=""):
    """A table of ratios, CPU times and rates for each mix. `rates`: the unit and a formatting function."""
    unit, of_rate = rates

    def write(about, runs):
        parts = []
        for mix, name in MIXES.items():
            header = [first, "CPU ratio", "rate ratio"]
            header += [f"{server}, µs" for server in WITH_BASELINE]
            header += [f"{server}, {unit}" for server in PEERS]
            rows = []
            for n in about["sections"][section]["values"]:
                cpu = [runs.median(section, server, n, mix, "server_cpu_us") for server in WITH_BASELINE]
                rate = [runs.median(section, server, n, mix, "requests_per_second") for server in PEERS]
                ratios = [median(ratio_to_best(runs, section, n, mix, "server_cpu_us")),
                          median(ratio_to_best(runs, section, n, mix, "requests_per_second", max))]
                rows.append([number(n)] + [number(value, 2) for value in ratios + cpu]
                            + [of_rate(value, n) for value in rate])
            plot = image(f"{section}-{mix}", f"{first}: {name}")
            parts += [f"### {name.capitalize()}\n", plot, table(header, rows)]
        return RATIOS + remark + "\n" + "\n".join(parts)
    return write


RATIOS = """\
CPU ratio: CPU time per request of dipc / that of redis or memcached, whichever is better; lower is better.
Rate ratio: requests per second of dipc / those of redis or memcached, whichever is better; higher is better.
Both are medians of the ratios within each round. The other columns are medians of the CPU time per request
and of the rate. *baseline* is the server that only receives requests and sends prepared answers.
"""


def latency(about, runs):
    fields = {"p50": "p50_us", "p99": "p99_us", "p99.9": "p999_us", "CPU time": "server_cpu_us"}
    rows = []
    for rate in about["sections"]["latency"]["values"]:
        for name, field in fields.items():
            spread = ratio_to_best(runs, "latency", rate, "rw50", field)
            values = [runs.median("latency", server, rate, "rw50", field) for server in PEERS]
            rows.append([number(rate), name, number(median(spread), 2), shown(spread), verdict(spread)]
                        + [number(value, 1 if name == "CPU time" else 0) for value in values])
    header = ["requests/s", "", "ratio", "range", ""] + [f"{server}, µs" for server in PEERS]
    return LATENCY + "\n" + image("latency", "latency at a fixed rate") + "\n" + table(header, rows)


def shown(spread):
    return None if spread is None else f"{spread.least:.2f} – {spread.most:.2f}"


def verdict(spread):
    """What the ratios of all rounds show."""
    if spread is None or spread.least <= 1 <= spread.most:
        return "not decided"
    return "shorter" if spread.most < 1 else "longer"


LATENCY = f"""\
Half of the requests are writes. They are sent on a schedule, and latency is measured from the scheduled time:
if a server pauses, all requests that are scheduled during the pause are late (no coordinated omission). The
ratio is the value of dipc / that of redis or memcached, whichever is better: the median of the ratios of all
rounds. The range has all of them. If it includes 1, the rounds do not decide which server is better. The plot
has a line for each round at {PLOTTED_RATE:,} requests per second. These distributions are in
`performance/latency/`, in HdrHistogram's percentile format.
"""


def large(about, runs):
    parts = [LARGE]
    for section, title in (("large", "64 mailboxes"), ("large-one", "One mailbox")):
        if section not in about["sections"]:
            continue
        header = ["", "bytes", "CPU ratio", "range", "rate ratio", "range"]
        header += [f"{server}, µs" for server in LARGE_PEERS]
        rows = []
        for mix, name in MIXES.items():
            for n in about["sections"][section]["values"]:
                cpu = ratio_to_best(runs, section, n, mix, "server_cpu_us", others=LARGE_OTHERS)
                rate = ratio_to_best(runs, section, n, mix, "requests_per_second", max, others=LARGE_OTHERS)
                values = [runs.median(section, server, n, mix, "server_cpu_us") for server in LARGE_PEERS]
                rows.append([name, number(n), number(median(cpu), 2), shown(cpu), number(median(rate), 2),
                             shown(rate)] + [number(value, 1) for value in values])
        parts += [f"### {title}\n", table(header, rows)]
    return "\n".join(parts)


LARGE = """\
50 connections. The ratios compare dipc with the best of redis and memcached, each with one thread and with
two. The other columns are the CPU time per request.
"""


def idle(about, runs):
    rows = [[number(n)] + [number(runs.median("idle", server, n, "r", "server_rss_kb")) for server in PEERS]
            for n in about["sections"]["idle"]["values"]]
    rows.append(["bytes per connection"] + [number(idle_bytes(runs, server)) for server in PEERS])
    return (IDLE + "\n" + image("idle", "memory with idle connections") + "\n"
            + table(["idle connections"] + [f"{server}, kB" for server in PEERS], rows))


IDLE = """\
Resident memory of the server (VmRSS, including shared memory) after each connection has sent one ping and has
been idle for four seconds. The last row is the memory per connection: the difference between the rows with
the most and with no idle connections, divided by the number of connections. It excludes the memory of the
program and its mailboxes, and the kernel's memory for sockets.
"""


def waits(about, runs):
    parts = [WAITING, image("waits", "the longest wait of a writer among readers")]
    for section, title in WAITS.items():
        if section not in about["sections"]:
            continue
        header = ["clients"] + [f"{server} / dipc" for server in LOCKS]
        header += [f"{server}, {unit}" for unit in ("ms", "/s", "Jain") for server in ("dipc",) + LOCKS]
        rows = [[number(n)] + waits_at(runs, section, n) for n in about["sections"][section]["values"]]
        parts += [f"### {title}\n", table(header, rows), summary(about, runs, section)]
    return "\n".join(parts)


def waits_at(runs, section, n):
    longest, rate, jain = ([runs.median(section, server, n, "rw90", field) for server in ("dipc",) + LOCKS]
                           for field in ("longest_write_s", "requests_per_second", "jain"))
    longest = [None if wait is None else wait * 1000 for wait in longest]
    return ([number(ratio(wait, longest[0]), 1) for wait in longest[1:]]
            + [number(wait, 2) for wait in longest] + [number(value) for value in rate]
            + [number(value, 3) for value in jain])


def summary(about, runs, section):
    """A sentence with the number of points at which a writer waits longer than with dipc, for each server."""
    values = about["sections"][section]["values"]
    text = []
    for server in LOCKS:
        pairs = [[runs.median(section, name, n, "rw90", "longest_write_s") for name in ("dipc", server)]
                 for n in values]
        known = [(ours, theirs) for ours, theirs in pairs if ours is not None and theirs is not None]
        longer = sum(theirs > ours for ours, theirs in known)
        text.append(f"at {longer} of {len(known)} points with `{server}`")
    return "The longest wait of a writer is longer than with dipc " + ",\nand ".join(text) + ".\n"


WAITING = """\
All clients use one mailbox; 90 % of them only read, and 10 % only write. dipc is compared with
`bench/rwlock-server.c`, which has a thread for each connection and a `pthread_rwlock` with default
attributes. Such a lock prefers readers: while a reader holds it, more readers are admitted. Variant `rwlock`
sends the answer under the read lock, which is the usual design. Variant `rwlock-copy` copies the message
under the lock, and sends it after it has released the lock.

The first columns are the longest wait of a writer for its batch, as a multiple of the wait with dipc. The
other columns are that wait, the rate, and Jain's index of fairness: 1 if all clients have the same number of
requests, 1/n if one client has all. A server can have a high rate although its writers wait. The rates of
batches say little about the locks: dipc sends the answers of a batch in one system call, and the other server
sends them one by one.

A wait that is as long as the run, or longer, means that the writer was admitted only after the readers had
stopped.
"""


def hot(about, runs):
    rows = []
    for server in PEERS:
        one, many = (("hot", server, n, "rw50", "requests_per_second") for n in (1, 64))
        rows.append([server, number(median(runs.ratio(one, many)), 2), number(runs.median(*one)),
                     number(runs.median(*many))])
    overtakes = number(runs.total("dipc", "overtakes"))
    return (HOT + "\n" + table(["", "ratio", "one mailbox, /s", "64 mailboxes, /s"], rows)
            + f"\nOvertakes in all runs of dipc with `--fairness`: {overtakes or '–'}.\n")


HOT = """\
50 connections; half of the requests are writes. The ratio shows the cost of contention for one mailbox.
"""

COPIED = """
No mailbox waits for a client: a request with data begins when all of its data has arrived, and what a socket
does not take of an answer is copied. Messages of 16 KiB to 2 MiB are received from the socket into the
mailbox, and sent from it. Larger ones are copied by a worker: this costs more CPU time, but the next message
is received meanwhile. redis and memcached receive directly into the stored value.
"""

RATE = ("/s", lambda rate, n: number(rate))
MEGABYTES = ("MB/s", lambda rate, n: None if rate is None else number(rate * n / 1e6, 1))
CHAPTERS = (
    Chapter("Connections", ("connections",), by_mix("connections", "connections", RATE)),
    Chapter("Pipelining", ("pipeline",), by_mix("pipeline", "in a batch", RATE)),
    Chapter("Message size", ("size",), by_mix("size", "bytes", MEGABYTES, COPIED)),
    Chapter("Large messages", ("large", "large-one"), large),
    Chapter("Latency at a fixed rate", ("latency",), latency),
    Chapter("Memory of idle connections", ("idle",), idle),
    Chapter("Waits of writers among readers", tuple(WAITS), waits),
    Chapter("One hot mailbox", ("hot", "hot-fair"), hot),
)
