"""What becomes of packets when the engine beside the standby fails: killed, cut off, slow, or with its disk full.

The law of this file: the leading gateway is whole all the time, so nothing may be lost; it has to say what is wrong.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from algate.cli.bench.record import Figure, Record
from algate.cli.lab import pair_trial
from algate.cli.lab.crowd import Crowd
from algate.cli.lab.lab import LabPlan
from algate.cli.lab.pair import PORT, Node, PairLab, engine
from algate.cli.lab.servers import start_server

PAIR = "algate"
SESSIONS = 20  # control sessions
LEAST, MOST = 0.5, 20.0  # s: of a fault, and until it is told or is over
ROOM = 4 << 20  # bytes of the disk that gets full


def lost_figure(fault: str) -> Figure:
    return Figure(
        f"ha.fault.{fault}.lost", f"Engine {fault}: packets lost, of 500 a second", "packets", once=True, loose=True
    )


def next_figure(fault: str) -> Figure:
    return Figure(
        f"ha.fault.{fault}.next", f"Engine {fault}: FTP control sessions whose next commands work", "%", once=True
    )


def wait_figure(fault: str) -> Figure:
    return Figure(
        f"ha.fault.{fault}.wait", f"Engine {fault}: longest wait for an FTP command", "s", once=True, loose=True
    )


def told_figure(fault: str) -> Figure:
    return Figure(
        f"ha.fault.{fault}.told", f"Engine {fault}: told by `algate ha status` after", "s", once=True, loose=True
    )


class PairFaults:
    """One pair for all faults, one after the other; `seconds`: how long each lasts at least."""

    def __init__(self, record: Record, seconds: float) -> None:
        self.record, self.seconds = record, seconds

    def steps(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """What is done."""
        yield "faults of the engine", self._all

    def _all(self) -> None:
        with PairLab(LabPlan(public=("198.51.100.200",))) as lab, ExitStack() as stack:
            one, other = pair_trial.start(lab)
            for node in (other, one):
                stack.callback(node.stop)
            server = start_server("vsftpd", lab.server)
            crowd = stack.enter_context(Crowd(lab.client, lab.server, lab.plan.servers[0]))
            for name, act in FAULTS.items():
                if name in BEFORE:
                    BEFORE[name](other)
                one.until(lambda: one.status()["state"] == "in step")
                self._one(name, partial(act, other), one, crowd, server.port)

    def _one(self, name: str, act: Callable[[], Callable[[], None]], node: Node, crowd: Crowd, port: int) -> None:
        """`act` makes the fault, and returns what mends it."""
        ping, talk = crowd.near("ping"), crowd.near("control", port)
        talk.do("connect", SESSIONS)
        for end in (ping, talk):
            end.do("begin")
        time.sleep(LEAST)
        began, told = time.monotonic(), None
        mend = act()
        try:
            while time.monotonic() - began < (self.seconds if told is not None else MOST):
                if told is None and node.status()["state"] != "in step":
                    told = time.monotonic() - began
                time.sleep(0.01)
        finally:
            mend()
        node.until(lambda: node.status()["state"] == "in step")
        time.sleep(LEAST)
        self.record.add(lost_figure(name), PAIR, 0, ping.do("end")["lost"])
        found = talk.do("end")
        self.record.add(next_figure(name), PAIR, 0, 100 * found["next"] / SESSIONS)
        self.record.add(wait_figure(name), PAIR, 0, found["slowest"])
        if told is None:
            self.record.refuse(told_figure(name), PAIR, "it wasn't told")
        else:
            self.record.add(told_figure(name), PAIR, 0, told)


def killed(node: Node) -> Callable[[], None]:
    """Ended, and started anew, empty."""
    assert node.engine is not None
    node.engine.kill()
    return lambda: _begin(node)


def _begin(node: Node) -> None:
    node.engine = engine(node.host)


def partitioned(node: Node) -> Callable[[], None]:
    """Nothing gets to it, and nothing says so; keepalived's link is another matter."""
    rule = f"iifname ha0 tcp dport {PORT} drop"
    rules = f"table ip cut {{ chain in {{ type filter hook input priority filter; {rule}\n }}\n}}\n"
    node.host.run(["nft", "-f", "-"], text=rules, check=True)
    return lambda: _must(node, ["nft", "delete", "table", "ip", "cut"])


def slow(node: Node) -> Callable[[], None]:
    """It reads, and answers no write until this is over: longer than a commit may take."""
    _must(node, ["redis-cli", "-h", node.host.address, "CLIENT", "PAUSE", "600000", "WRITE"])
    return lambda: _must(node, ["redis-cli", "-h", node.host.address, "CLIENT", "UNPAUSE"])


def on_a_small_disk(node: Node) -> None:
    """Anew, writing down what it has."""
    folder = node.lab.folder / f"disk-{node.name}"
    folder.mkdir(exist_ok=True)
    node.lab.undo(["umount", str(folder)])
    _must(node, ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "algate", str(folder)])
    killed(node)
    node.engine = engine(node.host, "--dir", str(folder), "--appendonly", "yes")


def full(node: Node) -> Callable[[], None]:
    """There is no room for what it writes down, which it notices when it next has to, within a second."""
    more = node.lab.folder / f"disk-{node.name}" / "more"
    found = os.statvfs(more.parent)
    with more.open("wb") as file:
        file.write(bytes(found.f_bavail * found.f_frsize))
    return more.unlink


def _must(node: Node, argv: list[str]) -> None:
    node.host.run(argv, check=True)


BEFORE: dict[str, Callable[[Node], None]] = {"disk full": on_a_small_disk}
FAULTS: dict[str, Callable[[Node], Callable[[], None]]] = {
    "killed": killed, "partitioned": partitioned, "slow": slow, "disk full": full,
}  # fmt: skip
