"""Lines of a byte stream: what a line protocol sees of one direction.

The law of this file: it finds where lines end and what in them can't be trusted, and knows no command of any
protocol. It never raises on any bytes and keeps two flags between calls; unfinished bytes stay with the caller.

A line ends at LF, with or without CR before it (RFC 959 section 5.3.1 asks for CR LF; servers take both).
CR NUL is a carriage return as data (RFC 854), any other NUL or lone CR is a flaw. Telnet commands (RFC 854 section
"TELNET COMMAND STRUCTURE") are left out of `text`, their bytes stay where they are. A line of more than `limit` bytes
and a line with a NUL aren't kept until they end: they are handed out in parts as they come.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, final

from algate.alg.plugin.fixed import Fixed

IAC: Final = 255
SB: Final = 250
WILL: Final = 251
DONT: Final = 254
_ODD: Final = re.compile(rb"[\x00\xff]|\r(?!\n)")
_NUL: Final = re.compile(rb"(?<!\r)\x00")
_BARE_CR: Final = re.compile(rb"\r(?![\n\x00])")


class Flaw(Enum):
    """Why nothing may be concluded from a line's words. The values are reason names."""

    NUL = "nul-byte"
    TOO_LONG = "line-too-long"
    BARE_CR = "bare-cr"
    BARE_LF = "bare-lf"
    TELNET = "ambiguous-telnet"
    UNFINISHED = "unfinished-line"
    REST = "rest-of-line"


@final
class Line(Fixed):
    """One line, or a part of one that is too long.

    `raw` includes the terminator; `text` has neither it nor Telnet commands. `origin` maps each index of `text` to one
    of `raw` and is None where they are the same. `open_ended`: more of the same line follows.
    """

    __match_args__: Final = ("raw", "text", "flaw", "origin", "open_ended")

    def __init__(
        self, raw: bytes, text: bytes, flaw: Flaw | None = None, origin: tuple[int, ...] | None = None,
        open_ended: bool = False,
    ) -> None:  # fmt: skip
        self.raw: Final = raw
        self.text: Final = text
        self.flaw: Final = flaw
        self.origin: Final = origin
        self.open_ended: Final = open_ended

    def replaced(self, start: int, stop: int, new: bytes) -> bytes | None:
        """`raw` with text[start:stop] exchanged; None if Telnet commands stand within that span."""
        if self.origin is not None:
            first, last = self.origin[start], self.origin[stop - 1]
            if last - first != stop - 1 - start:
                return None
            start, stop = first, last + 1
        return self.raw[:start] + new + self.raw[stop:]


class LineReader:
    """Cuts one direction into lines. `next` looks, `accept` moves on: a line that has to wait is looked at again.
    `plain`: what comes next begins a line, for every reader."""

    __slots__ = ("_limit", "_skipping", "_strict", "_tainted", "plain")

    def __init__(self, limit: int, *, strict: bool = False) -> None:
        """`limit`: bytes of a line with its terminator. `strict`: a bare LF is a flaw (it still ends the line)."""
        self._limit = limit
        self._strict = strict
        self._skipping = False  # within a line whose start was given out already
        self._tainted = False  # the line before left open where this one starts for a Telnet-aware reader
        self.plain = True

    def next(self, data: bytes, start: int, end: bool) -> Line | None:
        """The line at `start`, or None if it isn't finished. `end`: nothing comes after `data`."""
        raw = data
        if start or not self.plain or len(data) > self._limit or not _is_usual(data):
            stop = data.find(b"\n", start) + 1
            raw = data[start:stop] if stop else data[start:]
            if not raw:
                return None
            if self._skipping:
                return Line(raw, b"", Flaw.REST, open_ended=not stop)
            if len(raw) > self._limit or not stop:
                return self._unkept(raw, bool(stop), end)
            if _ODD.search(raw) or self._tainted:
                return self._odd(raw)
        if raw[-2:] == b"\r\n":
            return Line(raw, raw[:-2])
        return Line(raw, raw[:-1], Flaw.BARE_LF if self._strict else None)

    def accept(self, line: Line) -> None:
        """The line got its verdict: go on behind it."""
        if line.flaw is not None or self._tainted:
            self._skipping = line.open_ended
            self._tainted = line.flaw is Flaw.TELNET and line.raw[-1:] == b"\n" and _leaves_open(line.raw)
            self.plain = not self._skipping and not self._tainted

    def _unkept(self, raw: bytes, finished: bool, end: bool) -> Line | None:
        """A line that is too long, or that isn't finished: only a flaw that no later byte can mend gives it out."""
        nul = _NUL.search(raw, 0, self._limit)
        if nul:
            return Line(raw, _plain(raw[: nul.start()]), Flaw.NUL, open_ended=not finished)
        if len(raw) > self._limit:
            return Line(raw, _plain(raw[: self._limit]), Flaw.TOO_LONG, open_ended=not finished)
        return Line(raw, _plain(raw), Flaw.UNFINISHED) if end else None

    def _odd(self, raw: bytes) -> Line:
        """A finished line with NUL, a lone CR or Telnet commands in it, or behind an ambiguous one."""
        nul = _NUL.search(raw)
        if nul:
            return Line(raw, _plain(raw[: nul.start()]), Flaw.NUL)
        body = raw[:-2] if raw[-2:] == b"\r\n" else raw[:-1]
        text, origin, clear = _without_telnet(body)
        if not clear or self._tainted:
            return Line(raw, text, Flaw.TELNET, origin)
        if _BARE_CR.search(raw):
            return Line(raw, text, Flaw.BARE_CR, origin)
        bare_lf = self._strict and raw[-2:] != b"\r\n"
        return Line(raw, text, Flaw.BARE_LF if bare_lf else None, origin)


def _is_usual(data: bytes) -> bool:
    """Whether it is one whole line with nothing odd in it: by the bytes themselves, a sixth of what `_ODD` takes."""
    text = data[:-2]
    return data[-2:] == b"\r\n" and not (10 in text or 13 in text or 0 in text or IAC in text)


def _plain(body: bytes) -> bytes:
    return _without_telnet(body)[0] if IAC in body else body


def _without_telnet(body: bytes) -> tuple[bytes, tuple[int, ...] | None, bool]:
    """The text without Telnet commands, where its bytes stand in `body`, and whether all readers would agree.

    They don't where the command is cut by the line's end (an option byte may be LF itself) or is a subnegotiation.
    """
    if IAC not in body:
        return body, None, True
    origin: list[int] = []
    at, clear = 0, True
    while at < len(body):
        if body[at] != IAC:
            origin.append(at)
            at += 1
            continue
        command = body[at + 1] if at + 1 < len(body) else None
        if command == IAC:
            origin.append(at + 1)
        length = 3 if command is not None and WILL <= command <= DONT else 2
        clear = clear and command is not None and command != SB and at + length <= len(body)
        at += length
    return bytes(body[index] for index in origin), tuple(origin), clear


def _leaves_open(raw: bytes) -> bool:
    """Whether a reader that knows Telnet might not see the end of this line."""
    return not _without_telnet(raw.rstrip(b"\r\n"))[2]
