"""Passwords out of one direction of a TCP stream, segment by segment, without changing any length.

The law of this file: pure. What isn't known to be harmless is blanked: the rest of a line whose beginning wasn't seen,
a repetition of what wasn't seen the first time, or that says something else now. Which part of a line is secret is the
plug-in's to say (Words.secret).
"""

from __future__ import annotations

from collections.abc import Callable

BLANK = ord("*")
ENDS = b"\r\n"
KEPT = 1 << 17  # bytes of the stream for which a repetition is blanked as the first time
LINE_MOST = 8192  # a longer line is blanked from here on
TLS = 0x16  # the first byte of a TLS handshake (RFC 8446 section 5.1); no command begins so
HALF, WRAP = 1 << 31, 1 << 32

Secret = Callable[[bytes], int]


class Blanker:
    """One direction. `secret`: of a line's beginning, from which byte on it may hold a secret; its length: nowhere. It
    is asked again as a line grows, and what it once let pass must stay so."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._next: int | None = None  # sequence number
        self._line = bytearray()
        self._lost = False  # the present line's beginning wasn't seen
        self._opaque = False  # the stream is encrypted from here on
        self._raw, self._shown = bytearray(), bytearray()  # what was seen last, up to `_next`

    def begin(self, seq: int) -> None:
        """Its SYN: the stream begins behind it."""
        self._next, self._opaque = (seq + 1) % WRAP, False
        self._forget(lost=False)

    def _forget(self, lost: bool) -> None:
        """What was seen so far doesn't lead to what comes."""
        self._lost = lost
        self._line.clear()
        self._raw.clear()
        self._shown.clear()

    def segment(self, seq: int, data: bytes) -> bytes:
        """The payload as it may be shown."""
        if not data:
            return data
        if self._next is None:
            self._next, self._lost = seq, True
        ahead = (seq - self._next + HALF) % WRAP - HALF
        if ahead > 0:  # a gap: nobody knows in which line this is
            self._next = seq
            self._forget(lost=True)
            ahead = 0
        old, new = data[:-ahead] if ahead else b"", data[-ahead:] if ahead else data
        shown = self._repeated(old, -ahead) if old else b""
        return shown + self._fresh(new) if new else shown

    def _repeated(self, data: bytes, back: int) -> bytes:
        """Bytes from `back` before the end of what was seen."""
        start = len(self._raw) - back
        if self._opaque:
            return data
        if start < 0 or self._raw[start : start + len(data)] != data:
            return _blank(data)
        return bytes(self._shown[start : start + len(data)])

    def _fresh(self, data: bytes) -> bytes:
        assert self._next is not None
        shown = b"".join(self._piece(one) for one in data.splitlines(keepends=True)) if not self._opaque else data
        self._next = (self._next + len(data)) % WRAP
        self._raw += data
        self._shown += shown
        if len(self._raw) > 2 * KEPT:
            del self._raw[:-KEPT], self._shown[:-KEPT]
        return shown

    def _piece(self, piece: bytes) -> bytes:
        """A line, or a part of one."""
        if not self._line and not self._lost and piece[0] == TLS:
            self._opaque = True
        if self._opaque:
            return piece
        shown, room = piece, LINE_MOST - len(self._line)
        if self._lost or room <= 0:
            shown = _blank(piece)
        else:
            before = len(self._line)
            self._line += piece[:room]
            first = max(0, self._secret(bytes(self._line.rstrip(ENDS))) - before)
            shown = piece[:first] + _blank(piece[first:])
        if piece.endswith(b"\n"):
            self._line.clear()
            self._lost = False
        return shown


def _blank(data: bytes) -> bytes:
    """Asterisks; line ends stay, so that the stream can still be read."""
    return bytes(one if one in ENDS else BLANK for one in data)
