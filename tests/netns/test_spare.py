"""A gateway of the tests that starts with what an earlier one loaded (tests/spare.py) knows nothing of that one."""

from __future__ import annotations

from algate.bpf import abi, pins
from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.lab import Lab
from tests.netns.pinned import entries
from tests.netns.talk import Echo, Line
from tests.spare import programs

CONFIG = '[nat]\nport_parity = true\nfiltering = "endpoint-independent"\n'
ECHO = 7007


def test_the_next_one_is_as_new() -> None:
    with Lab() as lab, Echo(lab.server, ECHO), AlgateGateway(lab, config=CONFIG) as first:
        folder = pins.folder(first.run_dir) / abi.layout_hash()
        loaded = programs(folder)
        with Line(lab.client, lab.plan.servers[0], ECHO) as line:
            assert line.ask(b"x") == b"x"
        first.ask("kill", {"proto": "tcp"})
        assert first.ask("stats")["algate_sessions_created_total"] == 1
    assert not folder.exists(), "purged"
    with Lab() as lab, Echo(lab.server, ECHO), AlgateGateway(lab) as second:
        assert programs(pins.folder(second.run_dir) / abi.layout_hash()) == loaded
        assert second.ask("sessions") == second.ask("mappings") == []
        assert {(row["used"], row["held_down"]) for row in second.ask("ports")} == {(0, 0)}
        assert second.ask("stats")["algate_sessions_created_total"] == 0
        with Line(lab.client, lab.plan.servers[0], ECHO) as line:
            assert line.ask(b"x") == b"x"
        assert entries(second.run_dir)["sessions"] == 1
