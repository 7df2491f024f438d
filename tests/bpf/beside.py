"""`python -m tests.bpf.beside OTHER [TURNS]`: what each path costs here, beside another checkout, by test-run in turns.

The law of this file: each tree measures itself, in a process of its own, by its own `algate bench --only testrun`;
figures that both have are compared, by the medians of all turns. A median differs by some per cent from one run of a
tree to the next: what the bench's own program says (`xdp-forward`, alike in both trees) shows by how much.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

HERE = Path(__file__).parents[2]
PARTS = {"alg": "alg", "bpf": "bpf", "cli": "cli", "client": "alg/client"}  # packages within algate: where they are
Place = tuple[str, str]  # figure, gateway


def measure(tree: Path, folder: Path) -> dict[Place, float]:
    """One round of a tree's own bench: ns by figure and gateway. CalledProcessError if it fails."""
    package = folder / "algate"
    package.mkdir(exist_ok=True)
    for part, place in PARTS.items():
        (package / part).unlink(missing_ok=True)
        (package / part).symlink_to(tree / place)
    command = [sys.executable, "-c", "from algate.cli.app import main; main()", "bench", "--only", "testrun"]
    done = subprocess.run(
        [*command, "--rounds", "1", "--json", "--output", str(folder)],
        env=os.environ | {"PYTHONPATH": str(folder)}, cwd=folder, check=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    figures = json.loads(done.stdout[done.stdout.index("{") :])["figures"]
    return {
        (key, name): float(one["median"])
        for key, figure in figures.items()
        if key.startswith("testrun.")
        for name, one in figure["gateways"].items()
        if one["median"] is not None
    }


def compare(there: list[dict[Place, float]], here: list[dict[Place, float]]) -> list[tuple[Place, float, float]]:
    """(figure and gateway, the other tree's median, this one's) of what every run of both has."""
    common = set.intersection(*(set(one) for one in (*there, *here)))
    return [(place, median(one[place] for one in there), median(one[place] for one in here))
            for place in here[0] if place in common]  # fmt: skip


def main() -> int:
    """Print a table."""
    if len(sys.argv) not in (2, 3) or not (Path(sys.argv[1]) / "bpf").is_dir():
        print("usage: python -m tests.bpf.beside OTHER [TURNS]        OTHER: a checkout of algate")
        return 2
    other, turns = Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 3
    there: list[dict[Place, float]] = []
    here: list[dict[Place, float]] = []
    with tempfile.TemporaryDirectory(prefix="ag-beside-") as folder:
        for turn in range(turns):
            for tree, found in ((other, there), (HERE, here))[:: 1 if turn % 2 else -1]:
                found.append(measure(tree, Path(folder)))
    print(f"{'path':24}{'gateway':14}{'there':>8}{'here':>8}{'ratio':>8}")
    for (key, name), before, after in compare(there, here):
        print(f"{key.removeprefix('testrun.'):24}{name:14}{before:8.0f}{after:8.0f}{after / before:8.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
