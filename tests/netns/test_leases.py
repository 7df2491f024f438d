"""Two active gateways share one address and lease its ports: one is stopped and woken, one dies, and its hosts go on
through the other.

The routers are this test's: each client's default route is the inside one, rules for destination ports the outside one.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from algate.cli.lab.gateways import algate
from algate.cli.lab.host import PATIENCE, Host
from algate.cli.lab.lab import LAN_DEVICE, WAN_DEVICE, LabPlan, ip
from algate.cli.lab.pair import LINK, OWN, PORT, Node, PairLab, engine
from algate.client import Client
from tests.netns.talk import Echo, Line

ECHO = 7007
SOON = 1.5  # s: a SYN that is lost comes again after 1
PUBLIC = "198.51.100.200"
LOTS, SECONDS, HOLD = 4, 2, 4
KEYS = f'ports = "1024-9215"\nport_block = 64\nport_block_idle = 2\nhold_down = {HOLD}\n'


class SharingNode(Node):
    """A gateway of several; it needs no keepalived and no engine beside it."""

    def __init__(self, lab: PairLab, name: str, nat: str, more: str) -> None:
        super().__init__(lab, name)
        self.file.write_text(
            f'[gateway]\nlan = ["{LAN_DEVICE}"]\nwan = "{WAN_DEVICE}"\n[nat]\naddresses = ["{PUBLIC}"]\n{nat}'
            f'[metrics]\nlisten = ""\n{more}'
        )
        self.inside = f"{lab.plan.inside.rsplit('.', 1)[0]}.2{OWN[name]}"
        self.outside = f"{lab.plan.wan.rsplit('.', 1)[0]}.{OWN[name]}"

    def ports(self) -> set[str]:
        return set(self.status().get("ports", ()))

    def mapped(self) -> set[int]:
        return {int(one["mapped"].rpartition(":")[2]) for one in Client(self.run_dir).ask("sessions") if one["mapped"]}

    def route(self, client: Host) -> None:
        """The inside router: that client goes by this gateway."""
        ip(f"route replace default via {self.inside}", client.netns)


def lead_back(lab: PairLab, nodes: list[SharingNode]) -> None:
    """The outside router: what each gateway has leads to it."""
    lab.server.run(["ip", "rule", "flush"])
    lines = ["rule add pref 32766 lookup main"]
    for table, node in enumerate(nodes, 101):
        lines += [f"route replace {PUBLIC} via {node.outside} table {table}"]
        lines += [
            f"rule add pref {table} to {PUBLIC} ipproto tcp dport {ports} lookup {table}" for ports in node.ports()
        ]
    ip("\n".join(lines), lab.server.netns)


@pytest.fixture
def lab() -> Iterator[PairLab]:
    made = PairLab(LabPlan(public=(PUBLIC,), clients=("10.77.0.2", "10.77.0.3")))
    with made:
        yield made


@pytest.fixture
def pair(lab: PairLab) -> Iterator[list[SharingNode]]:
    engine(lab.hosts["witness"])
    nodes = []
    for name, called in (("gw", "left"), ("gw2", "right")):
        lease = f'[lease]\nnode = "{called}"\nengine = "{LINK["witness"]}:{PORT}"\nlots = {LOTS}\nseconds = {SECONDS}\n'
        lease += "[timeouts]\ntcp_closing = 1\ntcp_reset = 1\n"
        nodes.append(SharingNode(lab, name, KEYS, lease))
    for one in nodes:
        one.begin()
    for one in nodes:
        one.until(lambda one=one: len(one.ports()) == LOTS // 2)
    yield nodes
    for one in nodes:
        one.stop()
    lab.hosts["witness"].stop_all()


def begins(client: Host, address: str) -> bool:
    """Whether a new session gets an answer."""
    with client.socket() as made:
        made.settimeout(SOON)
        try:
            made.connect((address, ECHO))
            made.sendall(b"new")
            return made.recv(3) == b"new"
        except OSError:
            return False


def test_a_gateway_that_sleeps_or_dies_hands_its_ports_over(lab: PairLab, pair: list[SharingNode]) -> None:
    left, right = pair
    address, (first, second) = lab.plan.servers[0], lab.clients
    with ExitStack() as stack:
        stack.enter_context(Echo(lab.server, ECHO))
        left.route(first)
        right.route(second)
        lead_back(lab, pair)
        lines = [stack.enter_context(Line(host, address, ECHO)) for host in (first,) * 20 + (second,) * 20]
        assert all(line.ask(b"share") == b"share" for line in lines)
        assert not left.ports() & right.ports() and len(left.ports() | right.ports()) == LOTS
        assert not left.mapped() & right.mapped() and len(left.mapped()) == 20
        port = min(left.mapped())
        *_, row = Client(right.run_dir).ask("whose", {"public": f"{PUBLIC}:{port}"})["holders"]
        assert (row["inside"], row["source"], row["until"]) == ("gateway left", "lease", None)

        # Its daemon is stopped: what there is goes on, nothing new begins; later nothing passes, and the other has all.
        assert left.process is not None
        of_left = left.ports()
        os.killpg(left.process.pid, signal.SIGSTOP)
        time.sleep(SECONDS + 0.1)
        assert lines[0].ask(b"goes on") == b"goes on"
        assert not begins(first, address)
        assert lines[0].ask(b"goes on") == b"goes on"
        right.until(lambda: len(right.ports()) == LOTS)
        assert of_left < right.ports()
        right.route(first)
        lead_back(lab, [right])
        assert begins(first, address) and lines[-1].ask(b"goes on") == b"goes on"
        taken = right.mapped()
        os.killpg(left.process.pid, signal.SIGCONT)
        left.until(lambda: left.status()["state"] == "in step")
        assert not left.mapped() & taken  # what may be another's has ended
        left.until(left.ports)
        assert not left.ports() & right.ports()

        # Power: its hosts begin anew through the other, which has all ports once the lease and hold-down are over.
        left.route(first)
        lead_back(lab, pair)
        assert begins(first, address)
        left.die()
        began = time.monotonic()
        right.route(first)
        assert begins(first, address)
        print(f"first new session after {time.monotonic() - began:.2f} s")
        right.until(lambda: len(right.ports()) == LOTS)
        assert SECONDS + HOLD - 1 < time.monotonic() - began < (SECONDS + HOLD + 3) * PATIENCE
        print(f"its ports after {time.monotonic() - began:.2f} s")
        lead_back(lab, [right])
        assert all(line.ask(b"end") == b"end" for line in lines[20:])
        told = lab.hosts["gw2"].run([*algate(), "ha", "leases", "--run-dir", str(right.run_dir)]).stdout
        assert "left, from" in told and "right, from" in told
