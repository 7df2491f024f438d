"""How large a packet may be on its way to the receiver of one direction.

The law of this file: sizes and moments; no frame, no effect. What the device there takes the kernel says with every
punt; what a router farther away takes is believed for ten minutes.
"""

from __future__ import annotations

LARGEST = 65535
LEAST_TOLD = 552  # net.ipv4.route.min_pmtu of Linux: all that a forged error can bring about
TOLD_FOR = 600.0  # s, RFC 1191 section 6.3
PLATEAUS = (32000, 17914, 8166, 4352, 2002, 1492, 1006)  # RFC 1191 section 7.1, for routers that don't say
SPEAK_EVERY = 0.1  # s between errors for one sender (RFC 1812 section 4.3.2.8); one is enough for all that is under way
NEVER = float("inf")
HEED_WITHIN = 0.15  # s: who still sends what is too big, by its first timer or later, hears no errors


class Path:
    """Sizes in bytes. `mtu`: of a packet; `room`: for TCP options and payload in it; `link`: as last learnt. `settled`:
    there is nothing to be done about a segment that fits, if the link is as before."""

    __slots__ = ("_deaf", "_header", "_spoke", "_told", "_unheeded", "_until", "link", "mtu", "room", "settled")

    def __init__(self, header: int = 20) -> None:
        """`header`: bytes of the IP header."""
        self._header = header + 20
        self.link = self._told = LARGEST
        self.settled = True
        self._until = NEVER
        self._spoke = 0.0
        self._unheeded = 0.0
        self._deaf = False
        self.mtu = LARGEST
        self.room = LARGEST - self._header

    def learn(self, mtu: int, now: float) -> bool:
        """What the way out takes; 0: not known. True if that is less than was thought."""
        if mtu:
            self.link = mtu
        return self._measure(now)

    def hear(self, mtu: int, given: int, now: float) -> bool:
        """A router takes no more than `mtu` of a packet of `given` bytes; 0: it doesn't say. True as above."""
        if not mtu:
            mtu = next((size for size in PLATEAUS if size < given), LEAST_TOLD)
        self._measure(now)
        self._told = min(self._told, max(mtu, LEAST_TOLD))
        self._until = now + TOLD_FOR
        return self._measure(now)

    def _measure(self, now: float) -> bool:
        if now >= self._until:
            self._told, self._until = LARGEST, NEVER
        self.settled = self._told == LARGEST and not self._unheeded
        before, self.mtu = self.mtu, min(self.link, self._told)
        self.room = self.mtu - self._header
        return self.mtu < before

    def speak(self, now: float) -> bool:
        """Whether the sender of something too big is to be told now, or was just told."""
        if self._spoke and now - self._spoke < SPEAK_EVERY:
            return False
        self._spoke = now
        return True

    def listens(self, now: float) -> bool:
        """Whether the sender of a segment that is too big may still be expected to send it smaller."""
        if not self._unheeded:
            self._unheeded = now
            self.settled = False
        self._deaf |= now - self._unheeded >= HEED_WITHIN
        return not self._deaf

    def heeded(self) -> None:
        """A segment came that fits."""
        self._unheeded = 0.0
        self.settled = self._told == LARGEST

