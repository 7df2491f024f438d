"""Everything that a control session holds ends within a second of its end, however it ended."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pytest

from algate.alg.admin import live
from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.lab import Lab
from tests.netns import multitude
from tests.netns.pinned import entries
from tests.netns.talk import data

MANY, FEW = 1000, 20
PORT = 21
AT_MOST = 1.0  # s after the end
SLACK = 1.0  # s that the machine may be busy with others
IDLE = 4  # s


@contextmanager
def sessions(lab: Lab, number: int) -> Iterator[tuple[IO[str], IO[str]]]:
    """The client's stdin and stdout, once all have offered a port."""
    programs = []
    try:
        for host, *argv in (
            (lab.server, "server", str(PORT)),
            (lab.client, "client", lab.plan.servers[0], str(PORT), str(number), lab.client.address),
        ):
            argv = [sys.executable, multitude.__file__, *argv]
            one = subprocess.Popen(
                host.command(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
            programs.append(one)
            assert one.stdout is not None and one.stdin is not None
            assert one.stdout.readline() == "ready\n"
        assert one.stdin is not None and one.stdout is not None
        yield one.stdin, one.stdout
    finally:
        for one in programs:
            one.kill()
            one.wait(10)


def left(gateway: AlgateGateway) -> dict[str, int]:
    """What is still held."""
    now = entries(gateway.run_dir)
    held = {name: now[name] for name in ("expectations", "held")}
    reserved = len(gateway.ask("helper-state")["ports"])
    return {name: number for name, number in {**held, "reserved": reserved}.items() if number}


def settled_after(gateway: AlgateGateway, since: float, most: float) -> float:
    """Seconds until nothing is held."""
    while left(gateway):
        assert time.monotonic() - since < most, left(gateway)
        time.sleep(0.02)
    return time.monotonic() - since


def test_a_thousand_half_of_them_without_quit() -> None:
    with Lab() as lab, AlgateGateway(lab) as gateway, sessions(lab, MANY) as (say, hear):
        assert entries(gateway.run_dir)["expectations"] == MANY
        say.write("quit close\n")
        say.flush()
        assert hear.readline() == "ended\n"
        took = settled_after(gateway, time.monotonic(), AT_MOST + SLACK)
        print(f"{MANY} control sessions ended: nothing held after {took:.2f} s")
        assert data(gateway, "expectations") == []
        states = {row["state"] for row in data(gateway, "sessions")}
        assert states <= {"time-wait", "closing", "reset"}, states
        assert live.check(gateway.run_dir) == []


@pytest.mark.parametrize("how", ["reset", "kill", "gone"])
def test_however_it_ended(how: str) -> None:
    config = f"[timeouts]\ntcp_established = {IDLE}\n" if how == "gone" else ""
    with Lab() as lab, AlgateGateway(lab, config=config) as gateway, sessions(lab, FEW) as (say, hear):
        assert entries(gateway.run_dir)["expectations"] == FEW
        began = time.monotonic()
        if how == "kill":
            gateway.ask("kill", {"proto": "tcp"})
        elif how == "gone":
            began += IDLE
        else:
            say.write(f"{how} {how}\n")
            say.flush()
            assert hear.readline() == "ended\n"
        settled_after(gateway, began, AT_MOST + SLACK)
        assert live.check(gateway.run_dir) == []
