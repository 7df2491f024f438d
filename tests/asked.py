"""README's table of what questions about a full table cost, from one run of the bench:

    sudo algate bench --only million --rounds 1 --output DIR && .venv/bin/python -m tests.asked DIR/bench.json

The law of this file: a record in, text out; nothing is measured here.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"
ALGATE, CONNTRACK = "algate-tc", "nft"
# What is asked, the figure of algate, and that of conntrack.
ROWS = (
    ("all (`sessions --tsv`, `-L`)", "tsv", "all"),
    ("how many (`sessions --count`, `-C`)", "count", "count"),
    ("one host's 20,000 (`sessions --tsv --inside HOST`, `-L -s HOST`)", "host", "host"),
    ("any 20 (`sessions --limit 20`)", "limit", ""),
    ("the 20 largest (`sessions --sort bytes --limit 20`)", "best", ""),
    ("by host (`sessions --by host`)", "by", ""),
    ("each host's rates (`hosts`, waits for a second)", "hosts", ""),
)
BLOCK = re.compile(r"(<!-- asked -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def text(record: Mapping[str, Any]) -> str:
    """What stands between the marks. KeyError if the run didn't ask all of it."""
    figures = record["figures"]

    def value(name: str, gateway: str = ALGATE) -> float:
        return float(figures[name]["gateways"][gateway]["median"])

    def cell(question: str, gateway: str) -> str:
        if not question:
            return "no"
        name = f"listing.{question}"
        return f"{seconds(value(name, gateway))} ({seconds(value(f'{name}.cpu', gateway))})"

    lines = [f"| {title} | {cell(mine, ALGATE)} | {cell(theirs, CONNTRACK)} |" for title, mine, theirs in ROWS]
    there = value("listing.there")
    machine = f"{record['machine']['cpus']} CPUs, load {record['machine']['load'][0]:.1f}"
    return "\n".join((
        f"Seconds with {there:,.0f} sessions of 50 inside hosts in the table, from one run of",
        f"`sudo algate bench --only million --rounds 1` ({machine}); in brackets",
        "the CPU of both ends, which other work on the machine changes less. 0.08 s of each are Python's start.",
        "", "| question | algate | `conntrack` |", "| --- | --- | --- |", *lines, "",
        f"No step of a listing holds the daemon's loop for more than {value('listing.step'):.1f} ms of CPU, no step of"
        f" a sweep for more than {value('sweep.step'):.1f}.",
        f"`top` takes {value('listing.top'):.1f} % of a core, the daemon {value('idle'):.1f} % while nobody asks;"
        f" `--tsv` gives {value('listing.rows'):,.0f} rows a second.",
        "",
    ))  # fmt: skip


def seconds(value: float) -> str:
    """With as many digits as mean something."""
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def main(path: str) -> None:
    """Write README.md."""
    written, number = BLOCK.subn(
        lambda found: found[1] + text(json.loads(Path(path).read_text())) + found[3], README.read_text()
    )
    assert number == 1, "README.md has no <!-- asked --> ... <!-- end -->"
    README.write_text(written)


if __name__ == "__main__":
    main(sys.argv[1])
