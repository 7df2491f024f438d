"""How large a packet may be on its way to the receiver of one direction.

The law of this file: sizes and moments; no frame, no effect. What the device there takes the kernel says with every
punt; what a router farther away takes is believed for ten minutes.
"""

from __future__ import annotations

from typing import Final

from algate.alg.plugin.contract import NEVER

from .corrections import distance

LARGEST: Final = 65535
LEAST_TOLD: Final = 552  # net.ipv4.route.min_pmtu of Linux: all that a forged error can bring about
TOLD_FOR: Final = 600.0  # s, RFC 1191 section 6.3
PLATEAUS: Final = (32000, 17914, 8166, 4352, 2002, 1492, 1006)  # RFC 1191 section 7.1, for routers that don't say
SPEAK_EVERY: Final = (
    0.1  # s between errors for one sender (RFC 1812 section 4.3.2.8); one does for all that is under way
)
HEED_WITHIN: Final = 0.15  # s: who still sends what is too big, by its first timer or later, hears no errors


class PathMtu:
    """Sizes in bytes. `mtu`: of a packet; `room`: for TCP options and payload in it; `link`: as last learnt. `settled`:
    there is nothing to be done about a segment that fits, if the link is as before."""

    __slots__ = (
        "_awaited",
        "_deaf",
        "_header",
        "_spoke",
        "_told",
        "_unheeded",
        "_until",
        "link",
        "mtu",
        "room",
        "settled",
    )

    def __init__(self, header: int = 20) -> None:
        """`header`: bytes of the IP header."""
        self._header = header + 20
        self.link = self._told = LARGEST
        self.settled = True
        self._until = NEVER
        self._spoke = 0.0
        self._unheeded = 0.0
        self._awaited = 0
        self._deaf = False
        self.mtu = LARGEST
        self.room = LARGEST - self._header

    def learn(self, mtu: int, now: float, given: int = 0) -> bool:
        """The way out takes so much; or, of a packet of `given` bytes, a router beyond. 0: that isn't known. True if it
        is less than was thought."""
        self._measure(now)
        before = self.mtu
        if given:
            mtu = mtu or next((size for size in PLATEAUS if size < given), LEAST_TOLD)
            self._told, self._until = min(self._told, max(mtu, LEAST_TOLD)), now + TOLD_FOR
        elif mtu:
            self.link = mtu
        self._measure(now)
        return self.mtu < before

    def _measure(self, now: float) -> None:
        if now >= self._until:
            self._told, self._until = LARGEST, NEVER
        self.settled = self._told == LARGEST and not self._unheeded
        self.mtu = min(self.link, self._told)
        self.room = self.mtu - self._header

    def speak(self, now: float) -> bool:
        """Whether the sender of something too big is to be told now, or was just told."""
        if self._spoke and now - self._spoke < SPEAK_EVERY:
            return False
        self._spoke = now
        return True

    def listens(self, seq: int, now: float) -> bool:
        """Whether the sender of a segment that is too big, at `seq`, may still be expected to send it smaller."""
        if not self._unheeded:
            self._unheeded, self._awaited = now, seq
            self.settled = False
        self._deaf |= now - self._unheeded >= HEED_WITHIN
        return not self._deaf

    def fitted(self, seq: int) -> None:
        """A segment came that fits. If it begins where the first that didn't began, its sender has heard."""
        if self._unheeded and distance(seq, self._awaited) <= 0:
            self._unheeded = 0.0
            self.settled = self._told == LARGEST
