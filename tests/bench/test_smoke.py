"""`algate bench` works: it measures every gateway it names, loses nothing unsaid and leaves nothing behind.

How fast anything is, no test says: that is what the bench itself is for.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from algate.client import schema

pytestmark = pytest.mark.bench
ROOT = Path(__file__).parents[2]
# The bench itself, whose gateways start with what an earlier one loaded: how long a start takes isn't judged here.
BENCH = """
from algate.cli.app import main
from tests.spare import lending
with lending():
    main()
"""
GATEWAYS = {"algate-tc", "algate-xdp", "algate-told", "nft", "xdp-forward", "xdp-drop", "route"}
GATEWAYS |= {"algate-filter6", "algate-nat64", "algate-nat64-xdp", "nft6", "tayga"}
FIGURES = {
    "total.out.1000", "net.in.1000", "newcost.udp", "newcost.tcp", "bulk.up.1", "plain.down.1", "latency.udp.p99",
    "start.cached", "testrun.udp.out", "testrun.new.tcp", "testrun.seqadj.sack", "testrun.expected", "ports.full",
    "ftp.minimal.pasv.8", "ftp.minimal.port.8", "pasv.p99",
    "net6.out.1000", "net6.in.1000", "newcost6.udp", "newcost6.tcp", "ftp6.minimal.epsv.8",
    "punt.p50", "helper.capacity",
}  # fmt: skip


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, Path]:
    """bench.json, what was printed, and where it was written, of one quick run (about 70 s)."""
    folder = tmp_path_factory.mktemp("bench")
    argv = [sys.executable, "-c", BENCH, "bench", "--quick", "--output", str(folder)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((folder / "bench.json").read_text()), done.stdout, folder


def test_every_gateway_and_figure_is_there(quick: tuple[dict[str, Any], str, Path]) -> None:
    record, printed, _ = quick
    jsonschema.validate(record, schema("bench"), cls=jsonschema.Draft202012Validator)
    assert set(record["figures"]) >= FIGURES
    assert {name for figure in record["figures"].values() for name in figure["gateways"]} == GATEWAYS
    assert "Cost per packet above XDP_DROP" in printed
    assert "[nat]" in record["configuration"] and 'lan = ["lan0"]' in record["configuration"]


def test_what_has_no_number_says_why(quick: tuple[dict[str, Any], str, Path]) -> None:
    record, _, _ = quick
    for key, figure in record["figures"].items():
        for name, value in figure["gateways"].items():
            assert (value["median"] is None) == bool(value["refused"]), (key, name)


def test_targets_are_judged(quick: tuple[dict[str, Any], str, Path]) -> None:
    record, printed, _ = quick
    words = {one["verdict"] for one in record["targets"]}
    assert words <= {"pass", "falls short", "not measured"} and words & {"pass", "falls short"}
    assert "XDP vs nft" in printed


def test_a_chart_is_drawn_and_nothing_stays(quick: tuple[dict[str, Any], str, Path]) -> None:
    _, _, folder = quick
    assert "<svg" in (folder / "bench.svg").read_text()
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert "-bench" not in left
