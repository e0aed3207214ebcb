"""Describes a measurement for the page: the machine, the programs and the settings."""

import datetime
import os
import platform
import re
import subprocess

import points
from servers import PROCESSORS, SERVERS


def describe(sections, programs, rounds, seconds):
    servers = [name for name in SERVERS if any(name in section.servers for section in sections.values())]
    return {
        "date": datetime.date.today().isoformat(),
        "kernel": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        "processor": processor(),
        "processors": PROCESSORS,
        "congestion": congestion(),
        "rounds": rounds[0],
        "rounds_gated": max(rounds),
        "gated": {name: section.values for name, section in points.gated(sections).items()},
        "seconds": seconds,
        "versions": {
            "dipc": version([str(programs / "dipc"), "--version"]) + commit(),
            "redis": version(["redis-server", "--version"]),
            "memcached": version(["memcached", "--version"]),
        },
        "servers": {name: SERVERS[name]._asdict() for name in servers},
        "sections": {name: section._asdict() for name, section in sections.items()},
    }


def version(words):
    return re.search(r"\d+\.\d+\.\d+", subprocess.check_output(words, universal_newlines=True)).group()


def commit():
    """The git commit of the programs, if they are built from a git repository."""
    sources = ("Cargo.toml", "Cargo.lock", "src", "cli/Cargo.toml", "cli/src")
    head, changes = git("rev-parse", "--short", "HEAD"), git("status", "--porcelain", *sources)
    return f" ({head}{', changed' if changes else ''})" if head else ""


def congestion():
    """The system's default algorithm of congestion control."""
    with open("/proc/sys/net/ipv4/tcp_congestion_control", encoding="utf-8") as control:
        return control.read().strip()


def git(*words):
    checkout = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    ran = subprocess.run(["git", "-C", checkout] + list(words), stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, universal_newlines=True, check=False)
    return ran.stdout.strip()


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        names = [line.split(": ", 1)[1].strip() for line in info if line.startswith("model name")]
    return names[0] if names else "unknown"
