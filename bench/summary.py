"""The first table of the page: what a user would do with another system, and what it costs with dipc."""

from typing import NamedTuple, Tuple

from chapters import number, shown, table
from records import median

BOTH = ("redis", "memcached")
NAMES = {"redis": "redis", "memcached": "memcached", "rwlock": "a server with a `pthread_rwlock`"}


class Task(NamedTuple):
    """A measured point. `unit` and `factor` are those of the shown values."""
    what: str
    section: str
    n: int
    mix: str
    field: str
    unit: str
    others: Tuple[str, ...] = BOTH
    factor: float = 1


TASKS = (
    Task("read 100 bytes, 50 clients: CPU time", "connections", 50, "r", "server_cpu_us", "µs"),
    Task("write 100 bytes, 50 clients: CPU time", "connections", 50, "w", "server_cpu_us", "µs"),
    Task("write 100 bytes, 15,000 clients: CPU time", "connections", 15000, "w", "server_cpu_us", "µs"),
    Task("read 100 bytes, 16 in a batch: CPU time", "pipeline", 16, "r", "server_cpu_us", "µs"),
    Task("read 64 KiB: CPU time", "large", 65536, "r", "server_cpu_us", "µs"),
    Task("write 64 KiB: CPU time", "large", 65536, "w", "server_cpu_us", "µs"),
    Task("read 1 MiB: CPU time", "large", 1048576, "r", "server_cpu_us", "µs"),
    Task("write 1 MiB: CPU time", "large", 1048576, "w", "server_cpu_us", "µs"),
    Task("one client: half of its round trips take at most", "connections", 1, "r", "p50_us", "µs"),
    Task("20,000 requests/s: 99 % take at most", "latency", 20000, "rw50", "p99_us", "µs"),
    Task("50 % writes of one mailbox: requests/s", "hot", 1, "rw50", "requests_per_second", "k/s",
         factor=1e-3),
    Task("50 clients of one mailbox, 10 % write: the longest wait of a writer", "waits", 50, "rw90",
         "longest_write_s", "ms", ("rwlock",), 1e3),
)

TEXT = """\
What you would use instead of dipc, and what both cost. The last columns are the median of the ratios of all
rounds, and their range. Below 1, dipc needs less time; only for requests per second, more is better.
"""


def write(runs):
    rows = [row for task in TASKS for row in rows_of(task, runs)]
    return "" if not rows else "## At a glance\n\n" + TEXT + "\n" + table(
        ["what you do", "instead of dipc", "it needs", "dipc needs", "dipc / it", "range"], rows)


def rows_of(task, runs):
    """A row for each other server that was measured."""
    def point(server):
        return task.section, server, task.n, task.mix, task.field

    ours = runs.median(*point("dipc"))
    for server in task.others:
        theirs = runs.median(*point(server))
        if ours is None or theirs is None:
            continue
        spread = runs.ratio(point("dipc"), point(server))
        yield [task.what, NAMES[server], with_unit(theirs, task), with_unit(ours, task),
               number(median(spread), 2), shown(spread)]


def with_unit(value, task):
    value *= task.factor
    return f"{number(value, 0 if value >= 100 else 1 if value >= 10 else 2)} {task.unit}"
