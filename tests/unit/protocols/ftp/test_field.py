"""The dialogues of tests/tried.py, either side inside: what was agreed to is rewritten and connects, nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from algate.alg.plugin.model import Side
from algate.alg.protocols.ftp import PLUGIN
from algate.alg.protocols.ftp.policy import FtpPolicy
from algate.alg.testing import Stage, control
from tests.tried import TRIED, Tried

CLIENT, SERVER = Side.CLIENT, Side.SERVER
INSIDE, OUTSIDE = "10,0,0,5", "198,51,100,2"
LOGIN = "< 220 hi| > USER u| < 230 in|"


class Play:
    """A dialogue spoken line by line; what each side may expect of it, after each line."""

    def __init__(self, inside: Side, policy: FtpPolicy | None = None) -> None:
        self.stage = Stage(PLUGIN, policy or FtpPolicy(), control(inside))
        self.inside = inside
        self.ports = iter(range(20_001, 30_000))
        self.port = 0

    def lines(self, text: str) -> Iterator[tuple[Side, str]]:
        for word in filter(None, map(str.strip, _lines(text))):
            yield (CLIENT if word[0] == ">" else SERVER), word[2:] if word[1:2] == " " else word[1:]

    def say(self, side: Side, line: str) -> None:
        own = INSIDE if side is self.inside else OUTSIDE
        if re.search(r"\{[cspx]\}", line):
            self.port = next(self.ports)
        six = f"{own},{self.port >> 8},{self.port & 255}"
        said = (
            line.replace("{c}", six).replace("{s}", six).replace("{p}", str(self.port)).replace("{x}", str(self.port))
        )
        self.stage.say(side, said.encode() + b"\r\n")

    def connects(self) -> set[int]:
        """Ports that the peer reaches, at once or because its connecting counts as agreement."""
        made = self.stage.expectations
        return {
            self.stage.reserved[tag][0].inside.port if one.expect.to is None else one.expect.to.port
            for tag, one in made.items()
            if one.open or one.expect.acts_after is not None
        }

    def run(self, text: str) -> None:
        named = 0
        for side, line in self.lines(text):
            self.say(side, line)
            if "{s}" in line or "{p}" in line:
                assert self.port in self.connects(), f"{line!r} does not open"
            elif "{x}" in line:
                assert self.port not in self.connects(), f"{line!r} opens"
            elif "{c}" in line:
                named = self.port
            elif line.startswith("200 a"):
                assert named in self.connects(), f"{line!r} does not open PORT {named}"
        assert not any(self.stage.undecided.values())
        assert INSIDE.encode() not in self.stage.heard[self.inside.other]


def _lines(text: str) -> list[str]:
    """Lines where a reply itself holds the mark that ends them."""
    return re.split(r"\|(?=\s*[<>] |$)", text)


@pytest.mark.parametrize("inside", list(Side), ids=["client inside", "server inside"])
@pytest.mark.parametrize("one", TRIED, ids=lambda one: one.source)
def test_a_reported_dialogue(inside: Side, one: Tried) -> None:
    Play(inside).run(one.text if one.greeting else LOGIN + one.text)


@pytest.mark.parametrize("one", TRIED, ids=lambda one: one.source)
def test_a_reported_dialogue_under_a_policy_that_reads_every_line(one: Tried) -> None:
    Play(CLIENT, FtpPolicy(deny=("SITE",))).run(one.text if one.greeting else LOGIN + one.text)
