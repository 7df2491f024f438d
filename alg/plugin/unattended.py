"""Lines that pass without the helper: what a plug-in says of them, and the kernel's account of them.

The law of this file: pure values. `bpf/include/lines.h` is the other half; the bits of the account are those of abi.h.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

_PUNTS, _COUNT, _BYTES = 0xFFFF, 0xFF, 0xFFFF
_COMMANDS_MOST, _BYTES_MOST = 200, 61_000  # between accounts: those of lines.h, and one line more


class Lines:
    """First words of lines that don't matter: commands' verbs in capitals (three or four letters) and replies' codes.

    A line may pass by itself only if it continues its stream, is whole, in plain characters and alone in its segment; a
    reply besides only if it answers a command that passed so, or one of the `unanswered` of the moment (Unattended).
    `number` is what the kernel knows them by: the same words have the same number in every helper.
    """

    __slots__ = ("commands", "number", "replies")

    def __init__(self, commands: frozenset[bytes], replies: frozenset[bytes]) -> None:
        self.commands = commands
        self.replies = replies
        words = b";".join(b",".join(sorted(some)) for some in (commands, replies))
        self.number = int.from_bytes(hashlib.sha256(words).digest()[:4], "little") or 1


class Unattended(NamedTuple):
    """`lines` that don't matter from here on. `unanswered`: final replies still to come, none of which matters."""

    lines: Lines
    unanswered: int = 0


def is_older(word: int, than: int) -> bool:
    """Whether an account was given before the other: samples of two processors' rings don't come in order, and a look
    into the map tells what samples that still wait don't know."""
    punts = (word - than) & _PUNTS
    if punts:
        return punts > _PUNTS // 2
    told = passed(than, word)
    return told.commands > _COMMANDS_MOST or max(told.size) > _BYTES_MOST


class Passed(NamedTuple):
    """What passed between two accounts: commands, final replies, and bytes by direction."""

    commands: int
    replies: int
    size: tuple[int, int]


def passed(before: int, after: int) -> Passed:
    """The difference of two values of track.lines. Counts are modular: at most 200 commands lie between accounts."""
    return Passed(
        ((after >> 16) - (before >> 16)) & _COUNT,
        ((after >> 24) - (before >> 24)) & _COUNT,
        (((after >> 32) - (before >> 32)) & _BYTES, ((after >> 48) - (before >> 48)) & _BYTES),
    )
