"""A pcapng file (draft-ietf-opsawg-pcapng): sections, interfaces, packets with comments, what was lost.

The law of this file: pure. It makes blocks and gives them to `write`; no clock, no file, no socket. Nothing is kept, so
a capture of any length costs no memory.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

ETHERNET, RAW_IP = 1, 101  # LINKTYPE_ETHERNET, LINKTYPE_RAW
SNAP = 262144  # bytes of a frame, at most; the largest GSO frame is far smaller
SECTION, INTERFACE, STATISTICS, PACKET = 0x0A0D0D0A, 1, 5, 6
MAGIC = 0x1A2B3C4D
END, COMMENT = 0, 1
APPLICATION, IF_NAME, IF_DESCRIPTION, IF_RESOLUTION, FLAGS = 4, 2, 3, 9, 2
IF_RECEIVED, IF_DROPPED = 4, 5
NANOSECONDS = 9  # if_tsresol: 10^-9 s
INBOUND, OUTBOUND = 1, 2  # epb_flags
COMMENT_MOST = 4000  # bytes of one comment

Option = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Interface:
    """One device of the capture. `link`: ETHERNET or RAW_IP."""

    name: str
    description: str
    link: int = ETHERNET


class PcapngWriter:
    """Writes a section with these interfaces, which are known by their place from then on."""

    def __init__(
        self, write: Callable[[bytes], object], interfaces: Sequence[Interface], application: str, comment: str = ""
    ) -> None:
        self._write = write
        header = struct.pack("<IHHq", MAGIC, 1, 0, -1)  # the section's length isn't known
        said = [(COMMENT, _text(comment))] if comment else []
        self._block(SECTION, header, [*said, (APPLICATION, _text(application))])
        for one in interfaces:
            options = [(IF_NAME, _text(one.name)), (IF_DESCRIPTION, _text(one.description))]
            self._block(
                INTERFACE, struct.pack("<HHI", one.link, 0, SNAP), [*options, (IF_RESOLUTION, bytes([NANOSECONDS]))]
            )

    def packet(
        self, interface: int, at: int, frame: bytes, outbound: bool, comments: Iterable[str] = (), size: int = 0
    ) -> None:
        """One frame. `at`: ns since the epoch; `size`: its bytes on the wire, if they aren't all here."""
        fixed = struct.pack("<IIIII", interface, at >> 32, at & 0xFFFFFFFF, len(frame), size or len(frame))
        options = [(COMMENT, _text(one)) for one in comments]
        options.append((FLAGS, struct.pack("<I", OUTBOUND if outbound else INBOUND)))
        self._block(PACKET, fixed + _padded(frame), options)

    def statistics(self, interface: int, at: int, received: int, dropped: int, comment: str = "") -> None:
        """What a device brought, and of it what was lost on the way here."""
        options = [(COMMENT, _text(comment))] if comment else []
        options += [(IF_RECEIVED, struct.pack("<Q", received)), (IF_DROPPED, struct.pack("<Q", dropped))]
        self._block(STATISTICS, struct.pack("<III", interface, at >> 32, at & 0xFFFFFFFF), options)

    def _block(self, kind: int, body: bytes, options: Iterable[Option]) -> None:
        more = b"".join(struct.pack("<HH", code, len(value)) + _padded(value) for code, value in options)
        size = 12 + len(body) + len(more) + 4
        self._write(struct.pack("<II", kind, size) + body + more + struct.pack("<HH", END, 0) + struct.pack("<I", size))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _text(text: str) -> bytes:
    """UTF-8, cut between characters."""
    return text.encode(errors="replace")[:COMMENT_MOST].decode(errors="ignore").encode()
