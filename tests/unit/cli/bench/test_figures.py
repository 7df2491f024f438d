"""The bench's arithmetic: medians, ratios, what it refuses to report, and how it draws."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import pytest

from algate.cli.bench.chart import bar, number, svg_chart, text_chart
from algate.cli.bench.contenders import example_config
from algate.cli.bench.driven import read_driven
from algate.cli.bench.ftp import ENOUGH
from algate.cli.bench.ftp_helper import add_bound
from algate.cli.bench.ftp_servers import TICK, cpu_of_stat
from algate.cli.bench.histogram import quantile
from algate.cli.bench.meter import cpu_time, device_of, softirq_of_stat
from algate.cli.bench.plan import GROUPS, HA, Plan, make_plan
from algate.cli.bench.record import MORE, Figure, Record
from algate.cli.bench.spread import percentile, ratio, scatter, summarise
from algate.cli.bench.targets import NOT_MEASURED, PASS, SHORT, TARGETS, Target, judge
from algate.cli.commands.bench import table

pytestmark = pytest.mark.unit
COST = Figure("net.out.1", "Cost", "ns")
SPEED = Figure("bulk.up.1", "Speed", "Gb/s", MORE)


def record(**samples: list[float]) -> Record:
    made = Record(wanted=2)
    for name, values in samples.items():
        for place, value in enumerate(values):
            made.add(COST, name, place, value)
    return made


def test_a_summary_is_median_and_range() -> None:
    summary = summarise([10.0, 12.0, 11.0])
    assert (summary.median, summary.least, summary.most, summary.rounds, summary.refusal) == (11, 10, 12, 3, "")


def test_scattered_rounds_are_refused_and_say_so() -> None:
    summary = summarise([1.0, 10.0, 2.0, 9.0, 5.0])
    assert not summary.usable
    assert "scatter by 140%" in summary.refusal


def test_one_wild_round_of_five_is_not_scatter() -> None:
    assert summarise([10.0, 10.0, 10.0, 10.0, 500.0]).usable
    assert scatter([10.0, 10.0, 10.0, 10.0, 500.0]) == 0


def test_too_few_good_rounds_are_refused_with_the_last_reason() -> None:
    summary = summarise([10.0], void=["64 of 1000 frames lost"], wanted=2)
    assert not summary.usable
    assert "1 of 2 rounds void: 64 of 1000 frames lost" in summary.refusal
    assert math.isnan(summarise([], void=["gone"]).median)


def test_a_ratio_compares_rounds_that_both_have() -> None:
    found = ratio({0: 10.0, 1: 30.0, 2: 7.0}, {0: 20.0, 1: 60.0, 3: 1.0})
    assert (found.median, found.rounds) == (0.5, 2)
    assert not ratio({0: 1.0}, {1: 1.0}).usable


def test_a_ratio_with_a_refused_side_is_refused() -> None:
    made = record(mine=[1.0, 1.0], theirs=[1.0])
    made.refuse(COST, "theirs", "3 frames lost")
    found = made.ratio(("net.out.1", "mine"), ("net.out.1", "theirs"))
    assert not found.usable
    assert "theirs" in found.refusal and "3 frames lost" in found.refusal


@pytest.mark.parametrize(("part", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_percentiles_by_nearest_rank(part: float, value: int) -> None:
    assert percentile([float(n) for n in range(1, 101)], part) == value


def test_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


@pytest.mark.parametrize(
    ("mine", "limit", "at_least", "word"),
    [
        ([5.0, 5.0], 0.5, False, PASS),
        ([6.0, 6.0], 0.5, False, SHORT),
        ([6.0, 6.0], 0.5, True, PASS),
        ([6.0], 1, False, NOT_MEASURED),
    ],
)
def test_targets(mine: list[float], limit: float, at_least: bool, word: str) -> None:
    made = record(mine=mine, theirs=[10.0, 10.0])
    target = Target("a target", ("net.out.1", "mine"), ("net.out.1", "theirs"), limit, at_least)
    (verdict,) = judge(made, [target])
    assert verdict.word == word
    assert verdict.wanted == f"{'≥' if at_least else '≤'} {limit:g}×"


def test_an_absolute_target() -> None:
    made = record(mine=[1.5, 1.5])
    (verdict,) = judge(made, [Target("start", ("net.out.1", "mine"), None, 2)])
    assert (verdict.word, verdict.wanted) == (PASS, "≤ 2")


def test_targets_as_a_table_for_a_page() -> None:
    made = Record(2)
    key = "pasv.p99"
    made.figures[key] = Figure(key, "PASV exchange, p99", "µs")
    for number_, (mine, theirs) in enumerate(((31.0, 20.0), (34.0, 20.0), (36.0, 20.0))):
        made.add(made.figures[key], "algate-tc", number_, mine)
        made.add(made.figures[key], "nft", number_, theirs)
    assert list(table(made, judge(made))) == [
        "| target | wanted | reached | |",
        "| --- | --- | --- | --- |",
        "| p99 of a PASV exchange: TC vs kernel helper | ≤ 2× | 1.70 (1.55–1.80) | pass |",
    ]


def test_bars_are_exact_to_an_eighth() -> None:
    assert bar(1, 4) == "████"
    assert bar(0.5, 4) == "██"
    assert bar(1 / 32, 4) == "▏"
    assert bar(0, 4) == ""
    assert bar(7, 4) == "████"


@pytest.mark.parametrize(("value", "text"), [(1234.6, "1,235"), (123.4, "123"), (12.34, "12.3"), (0.456, "0.46")])
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_the_text_chart_says_what_is_refused() -> None:
    made = record(nft=[100.0, 120.0], mine=[50.0, 50.0])
    made.refuse(COST, "lossy", "5 of 9 frames lost")
    lines = list(text_chart(made, 8))
    assert lines[0] == "Cost, ns (less is better)"
    assert lines[1].split() == ["nft", "████████", "110", "100", "–", "120"]
    assert lines[2].split() == ["mine", "███▋", "50.0", "50.0", "–", "50.0"]
    assert "refused" in lines[3] and "5 of 9 frames lost" in lines[3]


def test_the_svg_is_well_formed_and_escapes() -> None:
    made = record(nft=[100.0, 120.0])
    made.add(SPEED, "a<b", 0, 1.0)
    made.add(SPEED, "a<b", 1, 1.0)
    made.refuse(SPEED, "lossy", "<5 & more")
    root = ElementTree.fromstring(svg_chart(made, "title & more"))
    texts = [node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "a<b" in texts
    assert any("<5 & more" in text for text in texts)
    assert len(list(root.iter("{http://www.w3.org/2000/svg}rect"))) == 3, "a background and two bars"


def test_json_has_no_number_for_a_refused_figure() -> None:
    made = record(mine=[1.0])
    data = made.as_dict()["net.out.1"]["gateways"]["mine"]
    assert data["median"] is None and data["rounds"] == [1.0] and data["refused"]


def test_each_gateway_begins_a_round_once() -> None:
    assert [Plan.turn("abc", number)[0] for number in range(3)] == ["a", "b", "c"]
    assert sorted(Plan.turn("abc", 2)) == ["a", "b", "c"]


def test_plans() -> None:
    assert set(GROUPS) - set(make_plan(5, [], False).groups) == {"six", HA}
    assert set(GROUPS) - set(make_plan(1, [], True).groups) == {"million", HA}
    assert make_plan(5, ["six"], False).groups == ("six",)
    assert make_plan(5, [], False).wanted == 3
    assert 1_000_000 not in make_plan(1, [], True).sessions


def test_no_host_of_the_bench_is_kept_from_the_last_ports() -> None:
    """Or 752 of 64,000 sessions aren't made."""
    assert "\nhost_share = 1.0 " in example_config()


def test_rounds_of_a_loose_figure_may_scatter() -> None:
    assert summarise([-1.0, 10.0, 2.0, 9.0, 5.0], loose=True).median == 5.0


def test_every_server_is_sampled_long_enough_and_judged() -> None:
    plan = make_plan(5, ["ftp"], False)
    assert plan.ftp_seconds >= 2 and ENOUGH >= 200 and plan.clients == (1, 8, 64)
    titles = [target.title for target in TARGETS]
    assert all(any(server in title for title in titles) for server in plan.servers)
    assert len(titles) == len(set(titles))


def test_cpu_of_a_process_counts_its_ended_children() -> None:
    assert cpu_of_stat("7 (a ) b) S 1 7 7 0 -1 0 0 0 0 0 100 20 3 4 20 0") == pytest.approx(127 / TICK)
    assert softirq_of_stat("cpu  1 2 3 4 5 60 70 8\ncpu0 0\n") == pytest.approx(130 / TICK)


def test_a_bound_beyond_the_last_is_refused_not_written() -> None:
    made = Record()
    for bound in (None, math.inf):
        add_bound(made, COST, "mine", 0, bound)
    assert made.void["net.out.1", "mine"] and not made.by_round("net.out.1", "mine")
    add_bound(made, COST, "mine", 0, 0.25)
    assert made.by_round("net.out.1", "mine") == {0: 250.0}


@pytest.mark.parametrize("rounds", [1, 4, 5, 6, 7, 8])
def test_what_is_sampled_in_some_rounds_is_sampled_in_enough(rounds: int) -> None:
    plan = make_plan(rounds, ["ftp"], False)
    assert sum(map(plan.thorough, range(rounds))) >= plan.wanted


def test_poll_threads_by_name() -> None:
    assert device_of("napi/lan0-8193\n") == "lan0"
    assert device_of("ksoftirqd/0\n") is None
    assert cpu_time("123456 78 9\n") == 123456


def test_what_the_clients_did() -> None:
    driven = read_driven("12 2.001 1 0.25\n300 100 200 \n9 8 \n")
    assert (driven.count, driven.seconds, driven.failures, driven.cpu) == (12, 2.001, 1, 0.25)
    assert (driven.times, driven.sessions) == ((100, 200, 300), (8, 9))
    assert read_driven("0 2.001 0 0.25\n\n\n").sessions == ()
    with pytest.raises(ValueError, match="unpack"):
        read_driven("killed")


def test_a_quantile_is_of_what_came_between_two_readings() -> None:
    def stats(**counts: float) -> dict[str, float]:
        return {
            f'turn_bucket{{le="{bound}"}}': counts[name]
            for bound, name in (("0.001", "a"), ("0.01", "b"), ("+Inf", "c"))
        }

    before, after = stats(a=90, b=90, c=90), stats(a=100, b=189, c=190)
    assert quantile(before, after, "turn", 0.1) == 0.001
    assert quantile(before, after, "turn", 0.99) == 0.01
    assert quantile(before, after, "turn", 1.0) == math.inf
    assert quantile(after, after, "turn", 0.5) is None and quantile({}, {}, "turn", 0.5) is None
