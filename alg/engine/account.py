"""The account of lines that pass without waiting for the helper: what the kernel counts, and what a session has taken.

The law of this file: one word of the kernel's (track.lines) and the arithmetic on it; no byte, no effect, no plug-in.
Which lines may pass so is a plug-in's to say (plugin/model.py); `bpf/include/lines.h` counts them, those of which it
sends a copy, and the punts between. The bits are those of abi.h.
"""

from __future__ import annotations

from typing import Final, final

from algate.alg.plugin.fixed import Fixed
from algate.alg.plugin.model import Unattended

PUNT_BITS: Final = 16  # the lowest bits of the word: how many punts came
PUNTS: Final = 0xFFFF
COMMANDS: Final = 16  # where the counts begin
REPLIES: Final = 23
COPIES: Final = 30
BYTES: Final = 36
_COUNT: Final = 0x7F
_COPIES: Final = 0x3F
_BYTES: Final = 0x3FFF
COPIED: Final = _COPIES << COPIES
_BYTE_BITS: Final = 14
_COMMANDS_MOST: Final = 100  # between accounts: those of lines.h, and one line more
_BYTES_MOST: Final = 15_300
_MISSING_MOST: Final = 1.0  # s after which a punt that should have come is lost


@final
class Passed(Fixed):
    """What passed between two accounts: commands, final replies, and bytes by direction."""

    __match_args__: Final = ("commands", "replies", "size")

    def __init__(self, commands: int, replies: int, size: tuple[int, int]) -> None:
        self.commands: Final = commands
        self.replies: Final = replies
        self.size: Final = size


def passed(before: int, after: int) -> Passed:
    """The difference of two words. Counts are modular: at most 100 commands lie between accounts."""
    return Passed(
        ((after >> COMMANDS) - (before >> COMMANDS)) & _COUNT,
        ((after >> REPLIES) - (before >> REPLIES)) & _COUNT,
        (
            ((after >> BYTES) - (before >> BYTES)) & _BYTES,
            ((after >> BYTES + _BYTE_BITS) - (before >> BYTES + _BYTE_BITS)) & _BYTES,
        ),
    )


def copies(before: int, after: int) -> int:
    """How many copies lie between two words, negative if `after` is the older."""
    ahead = ((after >> COPIES) - (before >> COPIES)) & _COPIES
    return ahead if ahead <= _COPIES // 2 else ahead - _COPIES - 1


def counted(word: int, direction: int, size: int, command: bool, reply: bool, more: int = 1) -> int:
    """`word` with one line more, of which there is a copy; `more` -1: with that line less."""
    if command:
        word = _more(word, COMMANDS, _COUNT, more)
    if reply:
        word = _more(word, REPLIES, _COUNT, more)
    return _more(_more(word, COPIES, _COPIES, more), BYTES + _BYTE_BITS * direction, _BYTES, more * size)


def _more(word: int, at: int, mask: int, by: int) -> int:
    """`word` with one of its counts changed."""
    return word & ~(mask << at) | ((word >> at) + by & mask) << at


def is_older(word: int, than: int) -> bool:
    """Whether an account was given before the other: samples of two processors' rings don't come in order, and a look
    into the map tells what samples that still wait don't know."""
    punts = (word - than) & PUNTS
    if punts:
        return punts > PUNTS // 2
    return (
        ((word >> COMMANDS) - (than >> COMMANDS)) & _COUNT > _COMMANDS_MOST
        or ((word >> BYTES) - (than >> BYTES)) & _BYTES > _BYTES_MOST
        or ((word >> BYTES + _BYTE_BITS) - (than >> BYTES + _BYTE_BITS)) & _BYTES > _BYTES_MOST
    )


class Account:
    """One session's. `word`: as last taken, with the count of the latest punt that came. `missing`: punts before that
    one that haven't come: in another CPU's ring, or lost. `unattended`: what may pass by the latest adjust record; it
    is set by whoever writes the next one."""

    __slots__ = ("_missing_since", "_resumed", "missing", "unattended", "word")

    def __init__(self) -> None:
        self.word = 0
        self.missing = 0
        self.unattended: Unattended | None = None
        self._missing_since = 0.0
        self._resumed = False  # how many were punted before is unknown

    def resume(self, word: int) -> None:
        """Go on from what another helper had taken."""
        self.word, self._resumed = word, True

    def punted(self, word: int, now: float) -> bool:
        """A punt came that carries `word`. False if later ones came before it: then its account is an old one."""
        ahead = 1 if self._resumed else (word - self.word) & PUNTS
        self._resumed = False
        if now - self._missing_since > _MISSING_MOST:
            self.missing = 0
        if ahead == 0 or ahead > PUNTS // 2:
            self.missing = max(0, self.missing - 1)
            return False
        if ahead > 1:
            self.missing += ahead - 1
            self._missing_since = now
        self.word = self.word & ~PUNTS | word & PUNTS
        return True

    def overtaken(self, word: int) -> bool:
        """Whether later punts came before the one that carries `word`."""
        ahead = 1 if self._resumed else (word - self.word) & PUNTS
        return ahead == 0 or ahead > PUNTS // 2

    def lacks(self, word: int) -> int:
        """How many copies were sent before that word was read and haven't been judged; negative: it is an old word."""
        return copies(self.word, word)

    def take(self, word: int) -> Passed | None:
        """Take account of what passed; None if nothing, or if a copy of it hasn't been judged. `word`: of now or
        of a sample that waited. Its count of punts is left out: those under way void a statement made now."""
        return None if copies(self.word, word) else self.take_all(word)

    def take_all(self, word: int) -> Passed | None:
        """As `take`, copies or not."""
        if is_older(word, self.word):
            return None
        before, self.word = self.word, word & ~PUNTS | self.word & PUNTS
        return passed(before, word) if before >> PUNT_BITS != word >> PUNT_BITS else None
