"""A pair whose hosts have port blocks: after a death the other node has the same blocks, and they are sound."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from algate.alg.gateway import portblocks
from algate.bpf import abi, pins
from algate.bpf.pinned import Pinned
from algate.cli.lab.gateways import algate
from algate.cli.lab.judge import Mode
from algate.cli.lab.lab import LabPlan
from algate.cli.lab.pair import Node, PairLab
from algate.cli.lab.pair_trial import start
from algate.cli.lab.servers import FtpServer
from tests.netns.talk import CONTENT, Echo, Line, Talker

ECHO = 7007


class BlockNode(Node):
    def __init__(self, lab: PairLab, name: str, config: str = "") -> None:
        super().__init__(lab, name, config)
        self.file.write_text(self.file.read_text().replace("[nat]\n", "[nat]\nport_block = 64\n"))

    def blocks(self) -> set[tuple[int, str]]:
        with Pinned(pins.folder(self.run_dir) / abi.layout_hash()) as maps:
            held = [one for keys, values, _ in maps.chunks("port_blocks") for one in portblocks.blocks(keys, values)]
        return {(one.first, str(one.inside)) for one in held}

    def sound(self) -> None:
        done = self.host.run([*algate(), "check", "--live", "--run-dir", str(self.run_dir)])
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def lab() -> Iterator[PairLab]:
    made = PairLab(LabPlan(public=("198.51.100.200",)))
    with made:
        yield made


def test_blocks_go_on(lab: PairLab, server: FtpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("algate.cli.lab.pair_trial.Node", BlockNode)
    one, other = start(lab)
    assert isinstance(one, BlockNode) and isinstance(other, BlockNode)
    address = lab.plan.servers[0]
    with ExitStack() as stack:
        for node in (one, other):
            stack.callback(node.stop)
        stack.enter_context(Echo(lab.server, ECHO))
        lines = [stack.enter_context(Line(lab.client, address, ECHO)) for _ in range(80)]  # more than one block
        talker = stack.enter_context(Talker(lab.client, address, server.login))
        assert talker.fetch("pub/file", Mode.PORT) == CONTENT
        other.until(lambda: other.status()["sessions"] >= 81 and other.status()["state"] == "in step")
        held = one.blocks()
        assert len(held) == 2
        one.die()
        other.until(lambda: other.status()["role"] == "leads")
        assert all(line.ask(b"go on") == b"go on" for line in lines)
        assert talker.fetch("pub/file", Mode.PORT) == CONTENT
        assert held <= other.blocks()
        other.sound()
