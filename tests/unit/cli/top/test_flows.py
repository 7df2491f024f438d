"""The view of sessions: rates, the tree, its orders and filters, true counts of old and new daemons."""

from __future__ import annotations

from dataclasses import replace

import pytest

from algate.alg.gateway import hosts as gateway_hosts
from algate.alg.gateway import ranking
from algate.alg.rows import SessionRow
from algate.cli.top import drops, flows
from algate.cli.top.choices import TopChoices
from algate.cli.top.flows import TopFlow, tree
from algate.cli.top.history import NO_RATE, History, Rate, TopSnapshot
from tests.fake_daemon import SESSIONS, snapshot
from tests.top_states import (
    crowd,
    history,
    lines_of,
)


def test_rates_look_back_over_a_few_snapshots() -> None:
    made = history(0, 1, 2)
    assert made.rate('algate_packets_total{direction="out"}') == 100
    assert made.rate("algate_no_such_metric") == 0
    assert made.session_rate(made.now.sessions[1]) == Rate(1_000, 1_000_000)
    assert history(0).rate("algate_punts_total") == 0
    assert history(*range(50)).rate("algate_punts_total") == 2


def test_a_restarted_daemon_gives_no_negative_rate() -> None:
    made = history(5, 6, 0)
    assert made.rate("algate_punts_total") == 0
    made.add(TopSnapshot.read(snapshot(1)))
    assert made.rate("algate_punts_total") == 2


def test_a_new_session_has_the_rate_of_its_life_and_an_old_one_none_that_nobody_measured() -> None:
    made = history(0, 1)
    row = SessionRow("ff", "tcp", "new", "10.0.0.9:1", "192.0.2.1:2", None, 1, 1, 2000, 400, 2.0, 1.0)
    assert made.session_rate(row) == Rate(1000, 200)
    assert made.session_rate(replace(row, age=3600.0)) == NO_RATE


def test_a_control_session_has_its_own_under_it() -> None:
    assert lines_of(history(0, 1)) == ["0:a1", "1:a2", "1:e1", "1:e2", "0:b1", "0:c1", "0:d1"]
    last = [flow.last for flow in tree(history(0, 1), TopChoices().here)]
    assert last == [False, False, False, True, False, False, False]


def test_an_orphan_stands_by_itself() -> None:
    data = snapshot(0)
    data["sessions"] = data["sessions"][1:]
    made = History()
    made.add(TopSnapshot.read(data))
    assert set(lines_of(made)) == {"0:a2", "0:e1", "0:e2", "0:b1", "0:c1", "0:d1"}


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("rate", "a1"), ("rate-out", "a1"), ("rate-in", "a1"), ("bytes", "a1"), ("out", "a1"), ("in", "a1"),
        ("packets", "a1"), ("age", "a1"), ("expires", "d1"), ("inside", "a1"), ("outside", "c1"), ("mapped", "a1"),
        ("state", "a1"), ("flow", "a1"), ("id", "a1"),
    ],
)  # fmt: skip
def test_every_column_sorts_and_places_a_group_by_its_foremost(sort: str, first: str) -> None:
    assert lines_of(history(0, 1), sort=sort)[0] == f"0:{first}"
    there, back = lines_of(history(0, 1), sort=sort), lines_of(history(0, 1), sort=sort, reverse=True)
    assert sorted(there) == sorted(back)
    assert there != back
    assert set(flows.VIEW.sorts) <= set(ranking.SORTS), "the daemon finds the first ones by the same columns"
    assert {"rate", "sessions", "ports", "new", "refused", "oldest"} <= set(gateway_hosts.SORTS)


def test_a_filter_keeps_whole_groups() -> None:
    assert lines_of(history(0, 1), "state=pending") == ["0:a1", "1:a2", "1:e1", "1:e2"]
    assert lines_of(history(0), "proto=udp") == ["0:b1"]
    assert lines_of(history(0), "nothing-like-it") == []
    assert lines_of(history(0), "192.0.2.53 udp") == ["0:b1"]
    assert lines_of(history(0), "192.0.2.5") == [], "a whole address means that host"
    assert lines_of(history(0), "192.0.2.53:53") == ["0:b1"]


def test_a_snapshot_of_another_version_is_read_as_far_as_it_goes() -> None:
    made = History()
    made.add(TopSnapshot.read({"stats": {"algate_sessions": "many"}, "sessions": None, "look": {"later": 1}}))
    assert list(drops.drops(made)) == []
    assert lines_of(made) == []


def test_sessions_are_counted_as_the_daemon_counts_them() -> None:
    """`algate_sessions` has a label: without a look, what is known is the status, or the states together."""
    made = History()
    made.add(TopSnapshot.read({"stats": {'algate_sessions{state="new"}': 3, 'algate_sessions{state="active"}': 4}}))
    assert made.sessions() == 7
    made.add(TopSnapshot.read({"status": {"sessions": 9}, "stats": {'algate_sessions{state="new"}': 3}}))
    assert made.sessions() == 9
    assert crowd(total=153_000, matching=153_000).sessions() == 153_000


def test_the_mark_of_a_line_is_what_it_is() -> None:
    assert [flows.kind(TopFlow(SESSIONS[0])), flows.kind(TopFlow(SESSIONS[1], 1, True))] == ["ftp", "└ tcp"]
