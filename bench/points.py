"""The measurements. A section is a command line of `dipc-cli bench`, and its points are the values for N."""

from typing import NamedTuple, Tuple

PEERS = ("dipc", "redis", "memcached")
WITH_BASELINE = PEERS + ("baseline",)
LARGE_SIZES = (65536, 262144, 1048576)
LARGE_PEERS = PEERS + ("redis-2", "memcached-1")
LOCKS = ("dipc", "rwlock", "rwlock-copy")
RATES = (5000, 20000, 60000)
PLOTTED_RATE = 20000


class Section(NamedTuple):
    """One kind of measurement. `servers`: keys of servers.SERVERS."""
    line: str
    values: Tuple[int, ...]
    servers: Tuple[str, ...]


SECTIONS = {
    "connections": Section("-t r,w -c N -d 100 --mailboxes 64",
                           (1, 10, 50, 200, 1000, 5000, 15000), WITH_BASELINE),
    "pipeline": Section("-t r,w -c 50 -P N -d 100 --mailboxes 64",
                        (1, 2, 4, 8, 16, 32, 64, 128), WITH_BASELINE),
    "size": Section("-t r,w -c 50 -d N --mailboxes 64",
                    (1, 16, 100, 1024, 4096, 16384, 65536, 262144, 1048576), WITH_BASELINE),
    "large": Section("-t r,w -c 50 -d N --mailboxes 64", LARGE_SIZES, LARGE_PEERS),
    "large-one": Section("-t r,w -c 50 -d N --mailboxes 1", LARGE_SIZES, LARGE_PEERS),
    # The last rate is about 80 % of the highest one of the machine of docs/performance.md.
    "latency": Section("-t rw50 -c 50 -d 100 --mailboxes 64 --rate N", RATES, PEERS),
    # Measures memory. The requests take four seconds, in which some servers free memory of idle connections.
    "idle": Section("-t r -c 1 -n 100 --rate 25 --idle N", (0, 1000, 5000, 10000, 15000), PEERS),
    "waits": Section("-t rw90 --fairness -c N -d 16384", (10, 50, 200, 500), LOCKS),
    "waits-batch": Section("-t rw90 --fairness -c N -P 16 -d 100", (10, 50, 200, 500), LOCKS),
    # The answers to a batch exceed a socket's buffer: the server has to wait for the client while it sends.
    "waits-large": Section("-t rw90 --fairness -c N -P 16 -d 262144", (10, 50, 200), LOCKS),
    "hot": Section("-t rw50 -c 50 -d 100 --mailboxes N", (1, 64), PEERS),
    "hot-fair": Section("-t rw50 --fairness -c N -d 100", (50,), ("dipc",)),
}

# The gated points: those with a goal. They are measured in more rounds.
GATED = {"connections": (1, 50, 1000, 15000), "pipeline": (16,), "size": (65536,), "large": LARGE_SIZES,
         "large-one": LARGE_SIZES, "latency": RATES, "hot": (1, 64)}


def command(section, seconds, system="SYSTEM", port="PORT", pid="PID", value="N"):
    """The arguments of `dipc-cli`. Without values: with placeholders, for the page."""
    words = f"bench --system {system} -p {port} --pid {pid}".split()
    words += [str(value) if word == "N" else word for word in section.line.split()]
    if "-n" not in words:
        words += ["--seconds", f"{seconds:g}", "--warmup", f"{warmup(seconds):g}"]
    return words + ["--csv"]


def warmup(seconds):
    """The duration of the warm-up. Most connections are served within it."""
    return round(seconds / 5, 3)


def gated(sections):
    """The sections with their gated points only."""
    return {name: section._replace(values=tuple(value for value in section.values if value in GATED[name]))
            for name, section in sections.items() if name in GATED}


# The points of the first table, which `bench/peers --quick` measures.
QUICK = {"connections": (1, 50), "pipeline": (16,), "large": (65536, 1048576), "latency": (PLOTTED_RATE,),
         "waits": (50,), "hot": (1,)}


def quick():
    """The sections with the points of the first table only, without the servers that it does not show."""
    shown = PEERS + ("rwlock",)
    return {name: SECTIONS[name]._replace(
                values=values, servers=tuple(server for server in SECTIONS[name].servers if server in shown))
            for name, values in QUICK.items()}


def of_mix(section, mix):
    """The section with only one of its mixes."""
    return section._replace(line=section.line.replace("-t r,w", f"-t {mix}"))


def rotated(section, number):
    """The servers of a section, rotated by `number`."""
    first = number % len(section.servers)
    return section.servers[first:] + section.servers[:first]
