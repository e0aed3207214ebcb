"""Stores all values in a folder: runs.csv, profile.csv, about.json, and latency/SERVER-ROUND.hgrm."""

import collections
import csv
import itertools
import json
import shutil
import statistics
from typing import NamedTuple


class Spread(NamedTuple):
    """The spread of a value over all rounds."""
    median: float
    least: float
    most: float


def spread(values):
    """The spread of the values. None: there are no values."""
    values = list(values)
    return Spread(statistics.median(values), min(values), max(values)) if values else None


def median(found):
    """The median of a spread, if there is one."""
    return found.median if found else None


def clear(folder):
    shutil.rmtree(folder / "latency", ignore_errors=True)
    (folder / "latency").mkdir(parents=True)


def save(folder, about, rows):
    write(folder / "runs.csv", rows)
    text = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
    (folder / "about.json").write_text(text, encoding="utf-8")


def save_profile(folder, rows):
    write(folder / "profile.csv", rows)


def write(path, rows):
    names = list(dict.fromkeys(name for row in rows for name in row))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def load(folder):
    """The description of the measurement, its values, and the rows of the profile, if there is one."""
    about, rows = load_rows(folder)
    profile = folder / "profile.csv"
    return about, Runs(rows), read(profile) if profile.exists() else []


def load_rows(folder):
    try:
        return json.loads((folder / "about.json").read_text(encoding="utf-8")), read(folder / "runs.csv")
    except OSError as error:
        raise SystemExit(f"nothing was recorded: {error}") from error


class Runs:
    """The rows of all runs, by section, server, N and mix."""

    def __init__(self, rows):
        self.points = collections.defaultdict(list)
        for row in rows:
            self.points[row["section"], row["server"], int(row["n"]), row["mix"]].append(row)

    def values(self, section, server, n, mix, field):
        """The values of a field by round."""
        rows = self.points.get((section, server, n, mix), [])
        return {int(row["round"]): float(row[field]) for row in rows if row.get(field)}

    def spread(self, *key):
        return spread(self.values(*key).values())

    def median(self, *key):
        return median(self.spread(*key))

    def ratio(self, ours, theirs):
        """The spread of the ratios of two values within each round. A slow round affects both alike."""
        ours, theirs = self.values(*ours), self.values(*theirs)
        return spread(value / theirs[number] for number, value in ours.items() if theirs.get(number))

    def total(self, server, field):
        """The sum of a field over all runs of a server. None: no run has it."""
        rows = [row for (_, name, _, _), rows in self.points.items() if name == server for row in rows]
        values = [float(row[field]) for row in rows if row.get(field)]
        return sum(values) if values else None

    def missing(self, about):
        """The number of runs without a result, and the number of all runs."""
        expected = recorded = 0
        for name, section in about["sections"].items():
            mixes = section["line"].split("-t ")[1].split(" ")[0].split(",")
            for server, n, mix in itertools.product(section["servers"], section["values"], mixes):
                expected += about["rounds_gated" if n in about["gated"].get(name, ()) else "rounds"]
                recorded += len(self.points.get((name, server, n, mix), []))
        return expected - recorded, expected


def ratio(value, other):
    """The ratio of two values. None: one of them is unknown, or `other` is 0."""
    return value / other if value is not None and other else None
