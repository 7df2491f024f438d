"""The bench's search for a rate, its frames for test-runs, and what a round does."""

from __future__ import annotations

import pytest

from algate.cli.bench import capacity, frames
from algate.cli.bench.frames import Way
from algate.cli.bench.plan import GROUPS, MILLION, make_plan
from algate.cli.bench.record import Figure, Record
from algate.cli.bench.suite import MAKERS, STEPS
from algate.cli.bench.targets import Target, judge
from tests import packets
from tests.packets import GATEWAY_LAN_MAC, LAN_MAC, Flow

pytestmark = pytest.mark.unit
FLOW = Flow("10.0.0.2", 40_000, "198.51.100.7", 443)
WAY = Way(
    "10.0.0.2", 40_000, "198.51.100.7", 443,
    bytes.fromhex(LAN_MAC.replace(":", "")), bytes.fromhex(GATEWAY_LAN_MAC.replace(":", "")),
)  # fmt: skip


@pytest.mark.parametrize("truth", [15_000, 700_000, 1_300_000])
@pytest.mark.parametrize("guess", [700_000, 1_000_000])
def test_the_search_ends_close_below_the_truth(truth: int, guess: int) -> None:
    found = capacity.highest(lambda rate: rate <= truth, guess)
    assert found is not None
    assert 0.9 * truth < found <= truth


def test_one_loss_of_three_is_forgiven() -> None:
    asked: list[int] = []

    def probe(rate: int) -> bool:
        asked.append(rate)
        return len(asked) % 3 != 1

    found = capacity.highest(probe, 1_000_000)
    assert found is not None and found > 1_900_000


def test_a_gateway_that_loses_everything_has_no_rate() -> None:
    assert capacity.highest(lambda rate: False, 1_000_000) is None


def test_frames_are_as_scapy_makes_them() -> None:
    assert frames.udp(WAY, b"x" * 33) == packets.changed(packets.udp(FLOW, b"x" * 33), IP_flags="DF", IP_id=0)
    assert frames.tcp(WAY, b"load", frames.PSH_ACK, 1000, 2000) == packets.changed(
        packets.tcp(FLOW, b"load", "PA", seq=1000, ack=2000), IP_flags="DF", IP_id=0
    )
    quoted = frames.udp(WAY, b"x" * 33)
    assert frames.icmp_error(WAY, quoted) == packets.icmp_error(FLOW, quoted, 3, 1, size=None, flags="DF", id=0)


def test_every_group_can_be_made_and_counted() -> None:
    assert set(GROUPS) == set(MAKERS) == set(STEPS)


def test_a_quick_run_leaves_the_million_out_unless_asked() -> None:
    assert MILLION not in make_plan(1, [], True).groups
    assert make_plan(1, [MILLION], True).groups == (MILLION,)


def test_many_rounds_search_every_other_time() -> None:
    plan = make_plan(5, [], False)
    assert [plan.searches(number) for number in range(5)] == [True, False, True, False, True]
    assert sum(plan.searches(number) for number in range(5)) >= plan.wanted


def test_a_figure_that_takes_minutes_needs_one_round() -> None:
    record = Record(wanted=3)
    record.add(Figure("listing", "Listing", "s", once=True), "mine", 0, 70.0)
    assert record.summary("listing", "mine").usable


def test_another_gateway_s_ratio_is_told_beside() -> None:
    record = Record(wanted=1)
    for name, values in (("mine", (10.0, 20.0)), ("nft", (10.0, 40.0))):
        for key, value in zip(("one", "many"), values, strict=True):
            record.add(Figure(key, key, "ns"), name, 0, value)
    target = Target("t", ("many", "mine"), ("one", "mine"), 3, beside=(("many", "nft"), ("one", "nft")))
    (verdict,) = judge(record, [target])
    assert verdict.reached.median == 2
    assert verdict.beside is not None and verdict.beside.median == 4
