"""The plots of the page, drawn by gnuplot as SVG. A server has the same colour in all plots."""

import shutil
import subprocess
import sys
from typing import Dict, List, NamedTuple, Tuple

from chapters import PEERS, WAITS
from goals import MIXES

# Colours for colour-blind readers (Okabe and Ito), and point types for printing in grey.
STYLE = {"dipc": ("#0072B2", 7), "redis": ("#D55E00", 5), "memcached": ("#009E73", 9),
         "baseline": ("#999999", 3), "rwlock": ("#666666", 11), "rwlock-copy": ("#CC79A7", 13)}
WIDTH, HEIGHT = 420, 320  # of a panel


class Panel(NamedTuple):
    """`lines`: for each server (x, y, min, max), or (x, y) without a spread. `log`: the logarithmic axes."""
    title: str
    x: str
    y: str
    log: str
    lines: List[Tuple[str, List[Tuple[float, ...]]]]
    more: str = ""

    def has_extent(self):
        """Whether there are at least two x values, and so a line to draw."""
        return len({row[0] for _, rows in self.lines for row in rows}) > 1


def draw(about, runs, folder):
    if shutil.which("gnuplot") is None:
        print("gnuplot is not installed: no plots", file=sys.stderr)
        return
    for name, panels in figures(about, runs, folder).items():
        panels = [panel for panel in panels if panel.has_extent()]
        if panels:
            script = figure(panels).encode()
            drawn = subprocess.run(["gnuplot"], input=script, stdout=subprocess.PIPE, check=True)
            (folder / f"{name}.svg").write_bytes(drawn.stdout)


def figures(about, runs, folder) -> Dict[str, List[Panel]]:
    """The panels of each plot, by name. Panels without measured values have no lines."""
    found = {}
    axes = (("connections", "connections"), ("pipeline", "requests in a batch"), ("size", "bytes"))
    for section, x in axes:
        for mix, name in MIXES.items():
            cpu = lines(about, runs, section, mix, "server_cpu_us")
            rate = lines(about, runs, section, mix, "requests_per_second", 1e-3)
            found[f"{section}-{mix}"] = [Panel(f"{name}: CPU time per request", x, "µs", "xy", cpu),
                                         Panel(f"{name}: requests per second", x, "thousands", "xy", rate)]
    percentiles = "set xtics ('0' 1, '90 %%' 10, '99 %%' 100, '99.9 %%' 1000, '99.99 %%' 10000)"
    found["latency"] = [Panel("Latency, a line for each round", "percentile", "ms", "xy",
                              distributions(about, folder), percentiles)]
    found["idle"] = [Panel("Memory of the server", "idle connections", "MB", "",
                           lines(about, runs, "idle", "r", "server_rss_kb", 1.024e-3), "set xtics 5000")]
    found["waits"] = [Panel(title, "clients", "longest wait of a writer, ms", "xy",
                            lines(about, runs, section, "rw90", "longest_write_s", 1e3))
                      for section, title in WAITS.items()]
    return found


def lines(about, runs, section, mix, field, factor=1.0):
    measured, found = about["sections"].get(section, {"servers": ()}), []
    for server in measured["servers"]:
        spreads = [(n, runs.spread(section, server, n, mix, field)) for n in measured["values"]]
        found.append((server, [(n,) + tuple(value * factor for value in spread)
                               for n, spread in spreads if spread]))
    return found


def distributions(about, folder):
    """Pairs of 1/(1 - percentile) and latency for each server and round; 100 % is omitted as infinite."""
    found = []
    for server in PEERS:
        for number in range(1, about["rounds"] + 1):
            file = folder / "latency" / f"{server}-{number}.hgrm"
            rows = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
            found.append((server, [(float(row[3]), float(row[0])) for row in rows
                                   if len(row) == 4 and row[0][0].isdigit()]))
    return found


def figure(panels):
    size = f"{WIDTH * len(panels)},{HEIGHT}"
    parts = [f"set terminal svg size {size} fixed background 'white' font 'sans-serif,11'",
             f"set multiplot layout 1,{len(panels)}", "set key above", "set grid", "set border 3",
             "set format x '%.0s%c'", "set format y '%g'", "set tics nomirror", "set mxtics 1",
             "set mytics 1"]
    return "\n".join(parts + [panel_script(panel) for panel in panels] + ["unset multiplot", ""])


def panel_script(panel):
    parts = [f"set title '{panel.title}'", f"set xlabel '{panel.x}'", f"set ylabel '{panel.y}'",
             "unset logscale"]
    parts += [f"set logscale {panel.log}"] if panel.log else ["set yrange [0:*]"]
    parts += [panel.more] if panel.more else []
    drawn, named = [], set()
    for number, (server, rows) in enumerate(line for line in panel.lines if line[1]):
        values = [" ".join(f"{value:g}" for value in row) for row in rows]
        parts += [f"$line{number} << EOD"] + values + ["EOD"]
        colour, point_type = STYLE[server]
        how = f"yerrorlines pt {point_type} ps 0.5" if len(rows[0]) == 4 else "lines"
        title = "notitle" if server in named else f"title '{server}'"
        drawn.append(f"$line{number} with {how} lc rgb '{colour}' lw 1.2 {title}")
        named.add(server)
    return "\n".join(parts + ["plot " + ", ".join(drawn)])
