"""How FTP servers split command lines, each in the most careless way: what any of them obeys, the gateway must see.

The law of this file: it doesn't depend on algate; every function turns a byte stream into the verbs that such a server
would obey. They differ on purpose.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Reader = Callable[[bytes], list[bytes]]
_TELNET = re.compile(rb"\xff(?:(\xff)|[\xfb-\xfe].|[\xf0-\xfa])", re.DOTALL)
_PAIRS = re.compile(rb"\xff(?:(\xff)|.)", re.DOTALL)


def plain(stream: bytes) -> list[bytes]:
    """LF ends a line, a blank ends the verb."""
    return [line.split(b" ")[0].rstrip(b"\r").upper() for line in stream.split(b"\n")]


def unicoded(stream: bytes) -> list[bytes]:
    """Python's own upper case of decoded text."""
    lines = stream.decode("utf-8", "replace").split("\n")
    return [line.split(" ")[0].rstrip("\r").upper().encode("ascii", "replace") for line in lines]


def spaced(stream: bytes) -> list[bytes]:
    """C's isspace() before and after the verb."""
    return [words[0].upper() for line in stream.split(b"\n") if (words := line.split())]


def telnet(stream: bytes) -> list[bytes]:
    """RFC 854's commands taken out first, then as `spaced`."""
    return spaced(_TELNET.sub(rb"\1", stream))


def shallow_telnet(stream: bytes) -> list[bytes]:
    """Every Telnet command is taken to be two bytes, whatever its kind."""
    return spaced(_PAIRS.sub(rb"\1", stream))


def any_end(stream: bytes) -> list[bytes]:
    """CR, LF and NUL each end a line."""
    return [words[0].upper() for line in re.split(rb"[\r\n\0]", stream) if (words := line.split())]


def c_string(stream: bytes) -> list[bytes]:
    """NUL ends a line's readable part, or is skipped."""
    return spaced(re.sub(rb"\0[^\n]*", b"", stream)) + spaced(stream.replace(b"\0", b""))


READERS: tuple[Reader, ...] = (plain, unicoded, spaced, telnet, shallow_telnet, any_end, c_string)
