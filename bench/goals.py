"""The goals of dipc. Most limit the median over all rounds of a ratio to another server. The others limit a
ratio of two values of dipc, the memory of an idle connection, and the number of overtakes."""

from typing import NamedTuple, Optional, Union

import points
from records import Spread, median

OTHERS = ("redis", "memcached")
LARGE_OTHERS = tuple(server for server in points.LARGE_PEERS if server != "dipc")
SIZES = {65536: "64 KiB", 262144: "256 KiB", 1048576: "1 MiB"}
MIXES = {"r": "reads", "w": "writes"}


class Goal(NamedTuple):
    """A limit for a measured value.

    `measured`: the value, or the spread of the ratios of all rounds, whose median counts; None: not measured.
    `bound`: "at most" or "at least". `baseline`: the value of the baseline server; None: not applicable.
    """
    name: str
    measured: Union[None, float, Spread]
    bound: str
    limit: float
    baseline: Optional[float] = None

    def shown(self):
        value = median(self.measured) if isinstance(self.measured, Spread) else self.measured
        return "–" if value is None else f"{value:.4g}"

    def spread_shown(self):
        if not isinstance(self.measured, Spread):
            return ""
        return f"{self.measured.least:.3g} – {self.measured.most:.3g}"

    def baseline_shown(self):
        return "" if self.baseline is None else f"{self.baseline:.3g}"

    def verdict(self):
        """Compares the value as it is shown, after rounding, with the limit."""
        if self.measured is None:
            return "not measured"
        value = float(self.shown())
        reached = value <= self.limit if self.bound == "at most" else value >= self.limit
        return "reached" if reached else "not reached"

    def speedup_shown(self):
        """The factor by which dipc's time beyond the baseline has to shrink. Empty if the goal is
        reached, not measured, or without a baseline."""
        if self.baseline is None or self.verdict() != "not reached":
            return ""
        ratios = float(self.shown()), self.baseline, self.limit
        value, baseline, limit = (self.time(ratio) for ratio in ratios)
        return f"{(value - baseline) / (limit - baseline):.1f} ×" if limit > baseline else "none"

    def time(self, ratio):
        """The time of a request at this ratio, in an arbitrary unit."""
        return ratio if self.bound == "at most" else 1 / ratio


def goals(runs):
    return (per_request(runs) + pipelined(runs) + round_trip(runs) + large(runs) + tails(runs) + [idle(runs)]
            + hot(runs))


def per_request(runs):
    return [Goal(f"CPU time per request, {count:,} connections, {MIXES[mix]}: dipc / redis or memcached",
                 ratio_to_best(runs, "connections", count, mix, "server_cpu_us"), "at most", 0.85,
                 median(ratio_to_best(runs, "connections", count, mix, "server_cpu_us", ours="baseline")))
            for count in (50, 1000, 15000) for mix in MIXES]


def pipelined(runs):
    found = []
    for mix, name in MIXES.items():
        servers = ("dipc", "baseline", "redis")
        dipc, baseline, redis = (("pipeline", server, 16, mix, "server_cpu_us") for server in servers)
        found.append(Goal(f"CPU time per request, pipelined by 16, {name}: dipc / redis",
                          runs.ratio(dipc, redis), "at most", 0.55, median(runs.ratio(baseline, redis))))
    for mix, name in MIXES.items():
        found.append(Goal(f"Requests per second, pipelined by 16, {name}: dipc / redis",
                          *rates(runs, "pipeline", 16, mix, "redis", 1.5)))
    return found


def round_trip(runs):
    return [Goal(f"Round trip of a single connection, {MIXES[mix]}: dipc / redis or memcached",
                 ratio_to_best(runs, "connections", 1, mix, "p50_us"), "at most", 1.0) for mix in MIXES]


def large(runs):
    found = []
    for section, where in (("large", "64 mailboxes"), ("large-one", "one mailbox")):
        for n, size in SIZES.items():
            for mix, name in MIXES.items():
                cpu = ratio_to_best(runs, section, n, mix, "server_cpu_us", others=LARGE_OTHERS)
                rate = ratio_to_best(runs, section, n, mix, "requests_per_second", max, others=LARGE_OTHERS)
                what = f"{name} of {size}, {where}: dipc / best"
                found += [Goal(f"CPU time, {what}", cpu, "at most", 0.95),
                          Goal(f"Rate, {what}", rate, "at least", 1.1)]
    return found


def tails(runs):
    fields = {"p50": "p50_us", "p99": "p99_us", "p99.9": "p999_us"}
    return [Goal(f"{name} at {rate:,} requests per second: dipc / redis or memcached",
                 ratio_to_best(runs, "latency", rate, "rw50", field), "at most", 1.0)
            for rate in points.RATES for name, field in fields.items()]


def rates(runs, section, n, mix, server, goal):
    """The rates of dipc and of the baseline server, as ratios to the rate of `server`."""
    servers = ("dipc", "baseline", server)
    dipc, baseline, other = ((section, name, n, mix, "requests_per_second") for name in servers)
    return runs.ratio(dipc, other), "at least", goal, median(runs.ratio(baseline, other))


def idle(runs):
    return Goal("Memory of an idle connection, in bytes", idle_bytes(runs, "dipc"), "at most", 256)


def hot(runs):
    one, many = (("hot", "dipc", n, "rw50", "requests_per_second") for n in (1, 64))
    return [Goal("Requests per second, 50 % writes: one mailbox / 64 mailboxes", runs.ratio(one, many),
                 "at least", 0.8),
            Goal("Overtakes in all runs with --fairness", runs.total("dipc", "overtakes"), "at most", 0)]


def ratio_to_best(runs, section, n, mix, field, choose=min, ours="dipc", others=OTHERS):
    """The spread of the ratios of a value of `ours` to that of the best of the others."""
    known = {server: runs.median(section, server, n, mix, field) for server in others}
    known = {server: value for server, value in known.items() if value is not None}
    if not known:
        return None
    best = choose(known, key=known.get)
    return runs.ratio((section, ours, n, mix, field), (section, best, n, mix, field))


def idle_bytes(runs, server):
    """Memory per idle connection, from the difference between the most and no idle connections."""
    counts = sorted(n for section, name, n, _ in runs.points if (section, name) == ("idle", server))
    if len(counts) < 2 or counts[0] != 0:
        return None
    none, most = (runs.median("idle", server, n, "r", "server_rss_kb") for n in (0, counts[-1]))
    return None if none is None or most is None else (most - none) * 1024 / counts[-1]
