"""Every value of every run, in a folder: runs.csv, about.json, and latency/SERVER-ROUND.hgrm."""

import collections
import csv
import json
import shutil
import statistics
from typing import NamedTuple


class Spread(NamedTuple):
    """Of one value over all rounds."""
    median: float
    least: float
    most: float


def clear(folder):
    shutil.rmtree(folder / "latency", ignore_errors=True)
    (folder / "latency").mkdir(parents=True)


def save(folder, about, rows):
    names = list(dict.fromkeys(name for row in rows for name in row))
    with open(folder / "runs.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (folder / "about.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load(folder):
    """What the page says besides the values, and the values."""
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        with open(folder / "runs.csv", newline="", encoding="utf-8") as file:
            return about, Runs(csv.DictReader(file))
    except OSError as error:
        raise SystemExit(f"nothing was recorded: {error}") from error


class Runs:
    """The rows, by what was measured."""

    def __init__(self, rows):
        self.points = collections.defaultdict(list)
        for row in rows:
            self.points[row["section"], row["server"], int(row["n"]), row["mix"]].append(row)

    def spread(self, section, server, n, mix, field):
        """None: no run has this value."""
        rows = self.points.get((section, server, n, mix), [])
        values = [float(row[field]) for row in rows if row.get(field)]
        return Spread(statistics.median(values), min(values), max(values)) if values else None

    def median(self, section, server, n, mix, field):
        spread = self.spread(section, server, n, mix, field)
        return spread.median if spread else None

    def total(self, server, field):
        """Of all runs of a server that have this value; None: none has."""
        rows = [row for (_, name, _, _), rows in self.points.items() if name == server for row in rows]
        values = [float(row[field]) for row in rows if row.get(field)]
        return sum(values) if values else None

    def missing(self, about):
        """How many runs have no result, of how many."""
        wanted = here = 0
        for name, section in about["sections"].items():
            mixes = section["line"].split("-t ")[1].split(" ")[0].split(",")
            for key in ((name, server, n, mix) for server in section["servers"] for n in section["values"]
                        for mix in mixes):
                wanted += about["rounds"]
                here += len(self.points.get(key, []))
        return wanted - here, wanted


def ratio(value, other):
    """None when one of them is not known."""
    return value / other if value is not None and other else None


def better(values, choose):
    """`choose`: min or max, of those that are known."""
    known = [value for value in values if value is not None]
    return choose(known) if known else None
