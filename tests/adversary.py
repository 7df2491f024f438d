"""An FTP client that waits for answers, a server that leaves out, doubles, delays, reorders and invents them, and what
may be open after it; the oracle of the pairing tests.

The law of this file: nothing of algate is imported. The script knows the truth, what each reply was meant for; the
gateway only sees lines. RFC 959 section 5.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum


class Mischief(Enum):
    """What becomes of the final reply to one command."""

    HONEST = "as it should be"
    DROPPED = "never said: the client gives up and goes on"
    DOUBLED = "said twice"
    AGAIN = "said once more when the client has said its next command"
    LATE = "said only when the client, tired of waiting, has said its next command"
    SWAPPED = "said behind the reply to the next command"
    LED = "something unasked is said before it"


@dataclass(frozen=True)
class Step:
    """A command with its final reply, preliminary replies before it. `port`: the port of a PORT, or of a 227 or 229.

    `stray`: what LED says.
    """

    command: bytes
    reply: bytes
    before: bytes = b""
    port: int = 0
    mischief: Mischief = Mischief.HONEST
    stray: bytes = b"226 Again.\r\n"

    @property
    def names(self) -> bool:
        return self.command[:4] in (b"PORT", b"EPRT")

    @property
    def asks(self) -> bool:
        return self.command[:4] in (b"PASV", b"EPSV", b"P@SW", b"p@sw") and b"ALL" not in self.command


@dataclass
class Truth:
    """What the script knows of a moment. `named`: by the port of a PORT, how many lines with 200 came since.
    `refused`: ports of PORTs that the server has said no to; `agreed`: yes."""

    asked: int = 0  # PASV and EPSV so far
    named: dict[int, int] = field(default_factory=dict)
    agreed: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)


Said = tuple[bool, bytes, "Step | None"]  # whether the client says it, what, and the step whose final reply it is


def told(steps: Iterable[Step]) -> Iterator[Said]:
    """The lines in the order in which a gateway hears them."""
    owed: list[Step] = []  # said behind the next command's own reply
    late: list[Step] = []  # said as soon as the next command was
    again = b""
    for step in steps:
        yield True, step.command, None
        for one in late:
            yield False, one.reply, one
        late = []
        if again:
            yield False, again, None
        again = step.reply if step.mischief is Mischief.AGAIN else b""
        if step.mischief is Mischief.LED:
            yield False, step.stray, None
        if step.before:
            yield False, step.before, None
        if step.mischief is Mischief.LATE:
            late = [step]
            continue
        if step.mischief is Mischief.SWAPPED:
            owed.append(step)
            continue
        if step.mischief is not Mischief.DROPPED:
            yield False, step.reply, step
        for one in owed:
            yield False, one.reply, one
        owed = []
        if step.mischief is Mischief.DOUBLED:
            yield False, step.reply, None
    for one in (*late, *owed):
        yield False, one.reply, one


def learn(truth: Truth, said: Said, step: Step | None) -> None:
    """What a line adds to the truth. `step`: whose command it is, if it is one."""
    by_client, line, answered = said
    if by_client and step is not None:
        truth.asked += step.asks
        if step.names:
            truth.named[step.port] = 0
    elif not by_client:
        for port in truth.named:
            truth.named[port] += line.startswith(b"200")
        if answered is not None and answered.names:
            (truth.agreed if line.startswith(b"200") else truth.refused).add(answered.port)
