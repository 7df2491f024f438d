"""50 clients, 20 transfers each: all complete, and nothing stays in the kernel or in the helper."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.judge import InsideEnd
from algate.cli.lab.lab import Lab
from algate.cli.lab.servers import start_server
from algate.cli.lab.trial import forwards
from tests.netns import crowd
from tests.netns.pinned import entries
from tests.netns.talk import data, until
from tests.topology import no_netfilter

CLIENTS, TRANSFERS = 50, 20
LINGERING = {"closing", "time-wait", "reset", "fin-in", "fin-out"}
SHORT = "[timeouts]\ntcp_transitory = 5\n[nat]\nhold_down = 5\n"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """CI runs the client inside; `--all` runs both sides."""
    whole = bool(metafunc.config.getoption("run_all"))
    metafunc.parametrize("side", list(InsideEnd) if whole else [InsideEnd.CLIENT])


def test_fifty_clients(side: InsideEnd) -> None:
    with Lab() as lab, AlgateGateway(lab, forwards(lab), config=SHORT) as gateway:
        inside = side is InsideEnd.CLIENT
        server = start_server("vsftpd", lab.server if inside else lab.client)
        client = lab.client if inside else lab.server
        target = lab.plan.servers[0] if inside else lab.plan.public[0]
        where = [target, "21", server.login.user, server.login.password]
        argv = [sys.executable, crowd.__file__, *where, str(CLIENTS), str(TRANSFERS), "pub"]
        done = client.run(argv, timeout=150, cwd=Path(crowd.__file__).parents[2])
        assert done.stdout, done.stderr
        told = json.loads(done.stdout)
        assert told["errors"] == []
        assert told["done"] == CLIENTS * TRANSFERS
        within_ten_seconds(gateway)
        until(lambda: entries(gateway.run_dir)["sessions"] == 0, 30)
        until(lambda: [row for row in data(gateway, "mappings") if not row["static"]] == [], 30)
        assert set(entries(gateway.run_dir).values()) <= {0}, entries(gateway.run_dir)
        stats = gateway.ask("stats")
        outcomes = {name: stats[f'algate_expectations_total{{outcome="{name}"}}'] for name in ("made", "used")}
        assert 0 < outcomes["used"] <= outcomes["made"]
        assert stats["algate_sessions_created_total"] >= CLIENTS * (TRANSFERS + 1)
        no_netfilter(lab, gateway)


def within_ten_seconds(gateway: AlgateGateway) -> None:
    """Sessions are over or lingering; no expectation, decision or held byte is left; the engine has forgotten them."""

    left: list[object] = []

    def settled() -> bool:
        left[:] = [row for row in data(gateway, "sessions") if row["state"] not in LINGERING]
        now = entries(gateway.run_dir)
        left.extend(
            f"{now[name]} {name}" for name in ("expectations", "decisions", "replacements", "held") if now[name]
        )
        return not left

    with contextlib.suppress(AssertionError):
        until(settled, 10)
    assert not left
    assert data(gateway, "expectations") == []
    until(lambda: gateway.ask("status")["control_sessions"] == 0, 10)
