"""Drops and events: every reason with its cure, those of a plug-in that nobody knows too."""

from __future__ import annotations

from algate.alg.rows import EventRow
from algate.cli.top import drops
from algate.cli.top.all import VIEWS
from algate.cli.top.choices import TopChoices
from algate.cli.top.history import History, TopSnapshot
from tests.fake_daemon import CONTROL, snapshot
from tests.top_states import (
    frame,
    history,
)


def test_a_plug_in_that_nobody_knows_has_its_drops_and_events() -> None:
    data = snapshot(0, view="drops")
    data["events"] = [EventRow(1.0, "acme-refused", CONTROL, "acme", "HELO x", "acme-own-reason").as_dict()]
    data["stats"]['algate_engine_events_total{reason="acme-odd"}'] = 5
    data["stats"]['algate_drops_total{reason="of-a-later-version"}'] = 6
    made = History()
    made.add(TopSnapshot.read(data))
    rows = {row.reason: row for row in drops.drops(made)}
    assert (rows["acme-own-reason"].kind, rows["acme-own-reason"].total) == ("acme", 1)
    assert (rows["acme-odd"].kind, rows["of-a-later-version"].kind) == ("helper", "drop")
    shown = "\n".join(line.plain for line in frame(160, 24, TopChoices("events"), made=made).lines)
    assert all(one in shown for one in ("acme-refused", "acme-own-reason", "HELO x"))


def test_every_drop_has_its_cure() -> None:
    rows = {row.reason: row for row in drops.drops(history(0, 1, 2))}
    assert (
        rows["unsolicited"].cure
        == "scans of the internet are dropped so; a server inside needs a [[forward]] (IPv6: an [[allow_in]])"
    )
    assert rows["unsolicited"].text.startswith("from outside")
    assert (rows["punt-held"].kind, rows["unsolicited"].kind) == ("held", "drop")
    busiest = VIEWS["drops"].rows(history(0, 1, 2), TopChoices("drops").here)
    assert [row.reason for row in busiest][:3] == ["unsolicited", "no-session", "punt-held"]
