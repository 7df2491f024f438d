"""A few hundred FTP sessions on a clean link: no segment is dropped that its sender has to repeat (invariant 13).

Counted, not timed: by the helper (what it refused), by the kernel (drop reasons), and by both ends' own TCP, whose
retransmission timer is what a user would have waited for.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from algate.cli.bench.driven import read_driven
from algate.cli.bench.ftp_servers import make_room
from algate.cli.bench.native import build
from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.host import Host
from algate.cli.lab.lab import Lab
from algate.cli.lab.servers import start_server
from algate.cli.lab.trial import forwards

MINIMAL = "minimal"
SERVERS = (MINIMAL, "vsftpd", "pyftpdlib")
REFUSED = ("stale-timestamp", "rst-out-of-window", "out-of-window", "bad-checksum")
SECONDS = 3
SPARED = 100  # sessions of which one may meet a timeout: a busy machine stands still for 0.2 s now and then


@pytest.fixture(scope="module")
def lab() -> Iterator[tuple[Lab, AlgateGateway]]:
    with Lab() as made, AlgateGateway(made, forwards(made)) as gateway:
        for host in (made.client, made.server):
            make_room(host)
        yield made, gateway


def timeouts(host: Host) -> int:
    """Retransmission timers of a host's TCP that ran out."""
    lines = host.run(["cat", "/proc/net/netstat"]).stdout.splitlines()
    names, values = lines[0].split(), lines[1].split()
    assert names[0] == "TcpExt:"
    return int(values[names.index("TCPTimeouts")])


def counted(lab: Lab, gateway: AlgateGateway) -> Counter[str]:
    """What was refused or dropped so far, by reason, and the timeouts of the ends."""
    found = Counter({"timeouts": timeouts(lab.client) + timeouts(lab.server)})
    for name, value in gateway.ask("stats").items():
        metric, _, label = name.partition('{reason="')
        reason = label.rstrip('"}')
        if (metric == "algate_engine_events_total" and reason in REFUSED) or metric == "algate_drops_total":
            found[reason] += int(value)
    return found


def lasted(gateway: AlgateGateway) -> float:
    """Control sessions that are in the histogram of their durations."""
    return float(gateway.ask("stats")["algate_control_session_seconds_count"])


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether it does within 10 s: the helper looks for ended sessions every second."""
    end = time.monotonic() + 10
    while not holds() and time.monotonic() < end:
        time.sleep(0.1)
    return holds()


@pytest.mark.parametrize("mode", ["port", "pasv"])
@pytest.mark.parametrize("server", SERVERS)
def test_no_timer_has_to_heal_anything(lab: tuple[Lab, AlgateGateway], server: str, mode: str) -> None:
    made, gateway = lab
    drive, serve = (build(made.folder, name) for name in ("ftp_drive", "ftp_serve"))
    if server == MINIMAL:
        process = made.server.spawn("ftp_serve", [str(serve), "21"])
        assert made.server.wait_port(21, alive=process.alive)
    else:
        process = start_server(server, made.server).process
    try:
        before, told = counted(made, gateway), lasted(gateway)
        argv = [str(drive), made.plan.servers[0], "21", "1", str(SECONDS), mode]
        done = made.client.run(argv, timeout=SECONDS + 30)
        driven = read_driven(done.stdout)
        after = counted(made, gateway)
    finally:
        process.stop()
    after.subtract(before)
    after["timeouts"] = max(0, after["timeouts"] - driven.count // SPARED)
    assert driven.failures == 0 and driven.count >= 20, done.stdout
    assert eventually(lambda: lasted(gateway) - told >= 0.9 * driven.count), "how long each took is in the metrics"
    assert {reason: number for reason, number in after.items() if number} == {}, f"in {driven.count} sessions"
