"""The daemon ends in the middle of dialogues, by any signal, and another takes over."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.lab import Lab
from algate.cli.lab.trial import forwards
from tests.faults.bed import Incident
from tests.faults.fault import fault
from tests.faults.halves import GREETING, LOGIN, Halved, serving
from tests.netns.talk import until

HEARTBEAT = 1.0  # s of silence after which the helper counts as dead here
PIECES = 0.3  # s between two pieces of a line: it was acknowledged by then
READY = GREETING + LOGIN


@pytest.fixture(scope="module", params=["closed", "open"])
def gateway(request: pytest.FixtureRequest) -> Iterator[AlgateGateway]:
    config = f'[alg]\nfail = "{request.param}"\nhelper_timeout = {HEARTBEAT}\n'
    with Lab() as lab, AlgateGateway(lab, forwards(lab), config=config) as made:
        yield made


def stop(gateway: AlgateGateway, number: signal.Signals) -> None:
    assert gateway.process is not None
    os.kill(gateway.process.pid, number)
    until(lambda: gateway.process and not gateway.process.alive())


def named(address: str, port: int) -> bytes:
    return f"{address.replace('.', ',')},{port >> 8},{port & 255}".encode()


def wanted(client: str, server: str) -> Iterator[tuple[Sequence[bytes], bytes]]:
    """(what was said before, the line to be cut): commands and replies, rewritten or not, behind a shift or not."""
    port, shifted = b"PORT %s\r\n" % named(client, 40001), [b"PORT %s\r\n" % named(client, 40002), b"200 ok\r\n"]
    yield (), b"220 hi there\r\n"
    yield GREETING, b"USER anonymous\r\n"
    for before in ([*READY], [*READY, *shifted]):
        for line in (b"TYPE I\r\n", b"RETR file\r\n", port, b"AUTH TLS\r\n"):
            yield before, line
        yield [*before, b"PASV\r\n"], b"227 Entering Passive Mode (%s).\r\n" % named(server, 40003)
        yield [*before, b"FEAT\r\n"], b"211-So\r\n EPSV\r\n211 End\r\n"
        yield [*before, port], b"200 PORT is pending\r\n"


def cuts(line: bytes) -> Iterator[list[bytes]]:
    """After 2 bytes, in the middle, before the LF; and in four pieces."""
    for at in (2, len(line) // 2, len(line) - 1):
        yield [line[:at], line[at:]]
    yield [line[:2], line[2:4], line[4:6], line[6:]]


def halves(lab: Lab) -> Iterator[Halved]:
    """All of it, with either side inside."""
    plan = lab.plan
    for host, at, target in ((lab.client, lab.server, plan.servers[0]), (lab.server, lab.client, plan.public[0])):
        listener = serving(at)
        for before, line in wanted(host.address, at.address):
            for pieces in cuts(line):
                yield Halved(host, target, listener, before, pieces)
        listener.close()


HALF = "half a line across a restart: {name}, fail = {gateway}, the rest {rest}"
ALONE, AFTERWARDS = "without a helper", "afterwards"


@fault(HALF)
@pytest.mark.parametrize(("name", "rest"), [("SIGKILL", ALONE)])
def test_half_a_line(gateway: AlgateGateway, incident: Incident, name: str, rest: str) -> None:
    """What was acknowledged for its receiver reaches it, in order and once, and the dialogue goes on."""
    restarted(gateway, incident, name, rest)


@fault(HALF, long=True)
@pytest.mark.parametrize(("name", "rest"), [("SIGTERM", ALONE), ("SIGTERM", AFTERWARDS), ("SIGKILL", AFTERWARDS)])
def test_half_a_line_in_other_ways(gateway: AlgateGateway, incident: Incident, name: str, rest: str) -> None:
    restarted(gateway, incident, name, rest)


AWAY = 14.0  # s: a sender repeats 12.6 s after the first time, and then 25.4 s


HEAR, IGNORE = "that hear of it", "that ignore ICMP"
DEAF = """table ip deaf {
  chain c { type filter hook input priority 0; policy accept;
    icmp type destination-unreachable drop
  }
}
"""


@fault(f"no helper for {AWAY:g} s in the middle of dialogues of ends {{ends}}, fail = {{gateway}}", long=True)
@pytest.mark.parametrize("ends", [HEAR, IGNORE])
def test_nobody_waits_longer_than_the_outage(gateway: AlgateGateway, incident: Incident, ends: str) -> None:
    """What was said meanwhile is repeated at the take-over, not when its sender's backed-off timer runs out."""
    with dialogues(gateway.lab) as made, ExitStack() as undo:
        for host in (gateway.lab.client, gateway.lab.server) if ends == IGNORE else ():
            host.run(["nft", "-f", "-"], text=DEAF, check=True)
            undo.callback(host.run, ["nft", "delete", "table", "ip", "deaf"])
        incident.inject(lambda: stop(gateway, signal.SIGKILL))
        time.sleep(1.5 * HEARTBEAT)
        for one in made:
            one.step()
        time.sleep(AWAY)
        gateway.start()
        ready = time.monotonic()
        slowest = max(one.finish(ready) for one in made)
        incident.mended(lambda: True)
        incident.row.lost = f"0 of {len(made)}; the last answer {slowest:.2f} s after the take-over"
        assert slowest < (4.0 if ends == HEAR else AWAY + 4.0), "waited for a backed-off timer"


KILLS = 5


@fault(f"{KILLS} starts, each killed once it is ready, in the middle of dialogues, fail = {{gateway}}", long=True)
def test_a_crash_loop(gateway: AlgateGateway, incident: Incident) -> None:
    """A line said in the first outage arrives when a helper lives long enough."""
    with dialogues(gateway.lab) as made:
        incident.inject(lambda: stop(gateway, signal.SIGKILL))
        began = time.monotonic()
        time.sleep(1.5 * HEARTBEAT)
        for one in made:
            one.step()
        for _ in range(KILLS):
            gateway.start()
            stop(gateway, signal.SIGKILL)
        gateway.start()
        ready = time.monotonic()
        slowest = max(one.finish(ready) for one in made)
        incident.mended(lambda: True)
        incident.row.lost = (
            f"0 of {len(made)}; outage {ready - began:.2f} s, the last answer {slowest:.2f} s after the last start"
        )
        assert slowest < 4.0, "waited for a backed-off timer"


@contextmanager
def dialogues(lab: Lab) -> Iterator[list[Halved]]:
    """A command and a reply about to be said, with either side inside."""
    plan = lab.plan
    inside, outside = serving(lab.server), serving(lab.client)
    said = [([*READY], b"NOOP\r\n"), ([*READY, b"NOOP\r\n"], b"200 ok\r\n")]
    made = [Halved(lab.client, plan.servers[0], inside, before, [line]) for before, line in said]
    made += [Halved(lab.server, plan.public[0], outside, before, [line]) for before, line in said]
    try:
        yield made
    finally:
        inside.close()
        outside.close()
        for one in made:
            one.close()


@fault("kill -9, and a start at once")
def test_killed_and_started(gateway: AlgateGateway, incident: Incident) -> None:
    """Programs are kept: no verifier, so the first PORT is answered after a moment."""
    plan, lab = gateway.lab.plan, gateway.lab
    listener = serving(lab.server)
    made = Halved(lab.client, plan.servers[0], listener, READY, [b"PORT %s\r\n" % named(plan.clients[0], 40009)])
    listener.close()
    try:
        incident.inject(lambda: stop(gateway, signal.SIGKILL))
        began = time.monotonic()
        gateway.start()
        ready = time.monotonic() - began
        incident.mended(lambda: True)
        parts = gateway.log.rpartition("ready after ")[2].splitlines()[0]
        answered = made.finish(began)
        incident.row.lost = (
            f"0 of 1; PORT answered {answered:.2f} s after the kill; ready {ready:.2f} s after it: {parts}"
        )
        assert "and all programs" in gateway.log
    finally:
        made.close()


def restarted(gateway: AlgateGateway, incident: Incident, name: str, rest: str) -> None:
    """End the helper between two pieces of each line."""
    made = list(halves(gateway.lab))
    try:
        for one in made:
            one.step()
        time.sleep(PIECES)
        incident.inject(lambda: stop(gateway, signal.Signals[name]))
        if rest == ALONE:
            time.sleep(1.5 * HEARTBEAT)
            for one in made:
                one.step()
        gateway.start()
        ready = time.monotonic()
        incident.row.seen = f"took over {len(made)} control sessions"
        assert "took over" in gateway.log
        slowest = max(one.finish(ready) for one in made)
        incident.mended(lambda: True)
        incident.row.lost = f"0 of {len(made)}; the last whole line {slowest:.2f} s after the take-over"
    finally:
        for one in made:
            one.close()
