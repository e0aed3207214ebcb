"""What is measured: sections of points, each a line of `dipc-cli bench` in which N takes several values."""

from typing import NamedTuple, Tuple

PEERS = ("dipc", "redis", "memcached")
WITH_BASELINE = PEERS + ("baseline",)
LOCKS = ("dipc", "rwlock", "rwlock-copy")


class Section(NamedTuple):
    """One kind of measurement; `servers` are keys of servers.SERVERS."""
    line: str
    values: Tuple[int, ...]
    servers: Tuple[str, ...]


SECTIONS = {
    "connections": Section("-t r,w -c N -d 100 --mailboxes 64", (1, 10, 50, 200, 1000, 5000, 15000), WITH_BASELINE),
    "pipeline": Section("-t r,w -c 50 -P N -d 100 --mailboxes 64", (1, 2, 4, 8, 16, 32, 64, 128), WITH_BASELINE),
    "size": Section("-t r,w -c 50 -d N --mailboxes 64",
                    (1, 16, 100, 1024, 4096, 16384, 65536, 262144, 1048576), WITH_BASELINE),
    "latency": Section("-t rw50 -c 50 -d 100 --mailboxes 64 --rate N", (20000,), PEERS),
    # The memory is what counts. The requests take four seconds, in which the others rest: some servers tidy up then.
    "idle": Section("-t r -c 1 -n 100 --rate 25 --idle N", (0, 1000, 5000, 10000, 15000), PEERS),
    "waits": Section("-t rw90 --fairness -c N -d 16384", (10, 50, 200, 500), LOCKS),
    "waits-batch": Section("-t rw90 --fairness -c N -P 16 -d 100", (10, 50, 200, 500), LOCKS),
    # The answers to a batch are more than a socket takes at once, so whoever sends has to wait for its client.
    "waits-large": Section("-t rw90 --fairness -c N -P 16 -d 262144", (10, 50, 200), LOCKS),
    "hot": Section("-t rw50 -c 50 -d 100 --mailboxes N", (1, 64), PEERS),
    "hot-fair": Section("-t rw50 --fairness -c N -d 100", (50,), ("dipc",)),
}

# The points that have a goal: measured more often, for they are judged.
GATED = {"connections": (1, 50, 1000, 15000), "pipeline": (16,), "size": (65536,), "hot": (1, 64)}


def command(section, seconds, system="SYSTEM", port="PORT", pid="PID", value="N"):
    """The words after `dipc-cli`; without values as the page shows them."""
    words = f"bench --system {system} -p {port} --pid {pid}".split()
    words += [str(value) if word == "N" else word for word in section.line.split()]
    if "-n" not in words:
        words += ["--seconds", f"{seconds:g}", "--warmup", f"{warmup(seconds):g}"]
    return words + ["--csv"]


def warmup(seconds):
    """As long as most connections need to have been served."""
    return round(seconds / 5, 3)


def gated(sections):
    """Only the points that have a goal."""
    return {name: section._replace(values=tuple(value for value in section.values if value in GATED[name]))
            for name, section in sections.items() if name in GATED}


def of_mix(section, mix):
    """The section with one of its mixes only."""
    return section._replace(line=section.line.replace("-t r,w", f"-t {mix}"))


def rotated(section, number):
    """The servers of a section, another one first each time."""
    first = number % len(section.servers)
    return section.servers[first:] + section.servers[:first]
