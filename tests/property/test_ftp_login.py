"""A log-in of which a conversation reads a part says the same as one read line by line (UNATTENDED_BEFORE)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv6Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algate.alg.plugin.model import READ_MOST, Control, Expect, Open, Reserve, Side, Unattended
from algate.alg.protocols.ftp import PLUGIN
from algate.alg.protocols.ftp.dialogue import Phase
from algate.alg.protocols.ftp.policy import FtpPolicy
from algate.alg.testing import control

_NO = (b"530 no", b"500 what", b"421 away")
_YES = (b"200 ok", b"250 ok", b"202 superfluous", b"215 UNIX")
_LOGIN = (b"331 more", b"332 account", b"230 in", b"232 in", *_YES, *_NO)
SAYS: dict[bytes, tuple[bytes, ...]] = {
    b"USER u": _LOGIN, b"PASS p": _LOGIN, b"ACCT a": _LOGIN, b"SYST": (*_YES, *_NO), b"NOOP": (*_YES, *_NO),
    b"CWD x": (*_YES, *_NO, b"350 rest"), b"LIST": _NO, b"PASV": _NO, b"QUIT": (b"221 bye", *_NO),
    b"REIN": (b"220 hi",),
}  # fmt: skip
UNGREETED = (b"120 soon", b"hi", b"331 go on")
GREETINGS = st.sampled_from((b"220 hi", b"530 full", *UNGREETED))
LOGIN = ((b"USER u", b"331 more"), (b"PASS p", b"230 in"))
ANY = st.sampled_from(sorted(SAYS)).flatmap(lambda one: st.tuples(st.just(one), st.sampled_from(SAYS[one])))
SAID = st.lists(ANY | st.sampled_from(LOGIN), max_size=6)
NAMED = ((b"PORT 10,0,0,5,19,137\r\n", Side.CLIENT), (b"200 ok\r\n", Side.SERVER))
NAMED6 = ((b"EPRT |2|2001:db8:1::5|5001|\r\n", Side.CLIENT), (b"200 ok\r\n", Side.SERVER))
BY_NAT64 = replace(control(inside="[2001:db8:1::5]:40000"), prefix=IPv6Network("64:ff9b::/96"))
ABOUT = st.sampled_from((control(), BY_NAT64))  # between two families lines are read by the same rules
COPIES_MOST = READ_MOST
OPENING = {Expect, Open, Reserve}


class Gate:
    """lines.h before one conversation: what passes unread is counted, what is copied waits to be read."""

    def __init__(self, about: Control) -> None:
        self.conversation = PLUGIN.open(about, FtpPolicy())
        self.named = NAMED if about.prefix is None else NAMED6
        self.said: Unattended | None = self.conversation.unattended()
        self.counts, self.unread = [0, 0], [0, 0]  # commands, final replies: since the statement; unread
        self.waiting: list[tuple[Side, bytes, list[int]]] = []
        self.opened = False
        self.passed = 0

    def line(self, side: Side, line: bytes) -> None:
        """A line comes: as line_kind() of lines.h."""
        said, reply = self.said, side is Side.SERVER
        lines = said.lines if said else None
        word = line[:4].rstrip()
        if said is None or lines is None or word not in (lines.replies if reply else lines.commands):
            self.read()
            self.conversation.feed(side, line, 0.0)
            self.restate()
            return
        unasked = reply and self.counts[1] >= self.counts[0] + said.unanswered
        if word not in lines.copied and not (unasked or said.read or self.opened):
            self.passed += 1
            self.count(side, line, self.unread)
        else:
            self.opened = self.opened or unasked or word in lines.copied - lines.told
            self.waiting.append((side, line, self.unread))
            self.unread = [0, 0]
        self.count(side, line, self.counts)
        if len(self.waiting) == COPIES_MOST:
            self.read()
            self.restate()

    @staticmethod
    def count(side: Side, line: bytes, counts: list[int]) -> None:
        if side is Side.CLIENT or line[:1] != b"1":
            counts[side] += 1

    def read(self) -> None:
        """The conversation reads what waits, and hears how much passed between."""
        for side, line, before in [*self.waiting, (Side.CLIENT, b"", self.unread)]:
            if any(before):
                self.conversation.skipped(*before)
            if line:
                self.conversation.feed(side, line, 0.0)
        self.waiting, self.unread = [], [0, 0]

    def restate(self) -> None:
        """The statement of now."""
        self.said, self.counts, self.opened = self.conversation.unattended(), [0, 0], False

    def end(self) -> tuple[Phase, list[list[type]]]:
        """How far it came, and whether a PORT opens anything now."""
        self.read()
        phase = self.conversation.phase
        told = [self.conversation.feed(side, line, 0.0) for line, side in self.named]
        return phase, [[type(one) for one in some] for some in told]


def spoken(greeting: bytes, said: list[tuple[bytes, bytes]], ahead: list[bool]) -> Iterator[tuple[Side, bytes]]:
    """The lines as they pass: replies in the order of their commands, which may be ahead of them."""
    yield Side.SERVER, greeting
    replies: list[bytes] = []
    for (command, reply), more in zip(said, ahead, strict=False):
        yield Side.CLIENT, command
        replies.append(reply)
        while replies and not more:
            yield Side.SERVER, replies.pop(0)
    for reply in replies:
        yield Side.SERVER, reply


@settings(max_examples=300, deadline=None)
@given(ABOUT, GREETINGS, SAID, st.lists(st.booleans(), min_size=6, max_size=6), st.lists(st.booleans(), min_size=13))
def test_nobody_can_tell(
    about: Control, greeting: bytes, said: list[tuple[bytes, bytes]], ahead: list[bool], wakes: list[bool]
) -> None:
    whole, partly = Gate(about), Gate(about)
    for (side, line), wake in zip(spoken(greeting, said, ahead), wakes, strict=False):
        whole.said = None
        for one in (whole, partly):
            one.line(side, line + b"\r\n")
        if whole.conversation.phase > Phase.LOGIN:
            break
        if wake:
            partly.read()
            partly.restate()
    found, wanted = partly.end(), whole.end()
    # of a server that never greets, less may be believed than by who reads all, or that it is over, so that nothing
    # opens; never more
    over = found[0] is Phase.CLOSING and not OPENING & {one for some in found[1] for one in some}
    assert found == wanted or (greeting in UNGREETED and (found[0] <= wanted[0] or over))


@pytest.mark.parametrize("about", [control(), BY_NAT64], ids=["one family", "NAT64"])
def test_of_an_ordinary_log_in_the_name_and_what_ends_it_are_read(about: Control) -> None:
    gate = Gate(about)
    for number, line in enumerate((b"220 hi", b"USER u", b"331 more", b"PASS p", b"202 superfluous")):
        gate.line(Side.CLIENT if number % 2 else Side.SERVER, line + b"\r\n")
    assert gate.passed == 2 and len(gate.waiting) == 3
    gate.read()
    assert gate.conversation.phase is Phase.READY
