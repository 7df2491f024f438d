"""The kernel's account of lines that passed without the helper: one word, `track.lines`.

The law of this file: pure values. `bpf/include/lines.h` is the other half; the bits of the account are those of abi.h.
What a plug-in says of such lines is in `plugin/model.py`.
"""

from __future__ import annotations

from typing import NamedTuple

_PUNTS, _COUNT, _BYTES = 0xFFFF, 0xFF, 0xFFFF
_COMMANDS_MOST, _BYTES_MOST = 200, 61_000  # between accounts: those of lines.h, and one line more


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
