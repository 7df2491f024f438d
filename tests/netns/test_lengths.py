"""Replacements that make a line longer, shorter or keep its length; the rest of the connection stays right."""

from __future__ import annotations

import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.judge import InsideEnd, Mode, judge
from algate.cli.lab.lab import Lab, LabPlan
from algate.cli.lab.trial import TrialStage, forwards
from algate.cli.lab.wire import trace
from tests.netns.talk import Talker, talking
from tests.topology import no_netfilter

CONTENT = bytes(range(256)) * 40
COMMANDS = 50
TEST_NET_1 = {"wan": "192.0.2.0/24", "next_hop": "192.0.2.1"}
PLANS = {  # the port normally stays the same, and the address differs
    "grows": LabPlan(inside="10.7.0.0/24", clients=("10.7.0.2",), public=("198.51.100.222",)),
    "shrinks": LabPlan(inside="192.168.177.0/24", clients=("192.168.177.222",), public=("192.0.2.2",), **TEST_NET_1),  # type: ignore[arg-type]
    "keeps": LabPlan(inside="10.77.0.0/24", clients=("10.77.0.22",), public=("192.0.2.22",), **TEST_NET_1),  # type: ignore[arg-type]
}
MODES = {InsideEnd.CLIENT: (Mode.PORT, Mode.EPRT, Mode.PORT), InsideEnd.SERVER: (Mode.PASV, Mode.PASV, Mode.PASV)}


@pytest.mark.parametrize("change", list(PLANS))
def test_three_replacements_and_fifty_commands(change: str) -> None:
    """From both sides of the gateway, judged on both links."""
    with Lab(PLANS[change]) as lab, AlgateGateway(lab, forwards(lab)) as gateway:
        for side in InsideEnd:
            with TrialStage(lab, side, "vsftpd") as stage:
                (stage.server.pub / "file").write_bytes(CONTENT)
                stage.inside.take(0.0), stage.outside.take(0.0)
                with talking(stage.client_host, stage.target, stage.server.login) as talker:
                    for mode in MODES[side]:
                        assert talker.fetch("pub/file", mode) == CONTENT
                    dialogue(talker)
                check(stage, change, lab.plan.inside)
        no_netfilter(lab, gateway)


def dialogue(talker: Talker) -> None:
    """Lines of many lengths, so that a wrong shift shows as a broken line, a stall or a reset."""
    for number in range(COMMANDS // 2):
        assert talker.say(f"MKD pub/{'d' * number}{number}").startswith("257")
        assert talker.say("SIZE pub/file") == f"213 {len(CONTENT)}"


def check(stage: TrialStage, change: str, private: str) -> None:
    """Both links show the same except for the announcements, whose lengths changed as wanted."""
    scene = stage.scene
    assert scene.private == private
    verdict = judge(scene, trace(stage.inside.take()), trace(stage.outside.take()))
    assert verdict.problems == []
    assert len(verdict.findings) == 3
    for finding in verdict.findings:
        difference = len(finding.outside_line) - len(finding.inside_line)
        assert (difference > 0, difference < 0) == (change == "grows", change == "shrinks"), finding
