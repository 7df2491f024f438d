r"""DCC offers: which lines of IRC make one, and where address and port stand in it.

The law of this file: bytes of one line in, values out; no state, no verdict. Strict about position: the offer must be
the whole trailing parameter of a PRIVMSG or NOTICE (RFC 2812 section 3.3), quoted by \x01 (CTCP), spelt in one way.
Whatever two readers could read differently is no offer.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from typing import NamedTuple

LINE_MAX = 512  # bytes with CR LF, RFC 2812 section 2.3
_MARK = b"\x01DCC "
_HEAD = rb"(?:PRIVMSG|NOTICE) [^ :,\x00-\x1f][^ ,\x00-\x1f]* :"
_FILE = rb'(?:"[^"\x00-\x1f]+"|[^" \x00-\x1f]+)'
_NUMBER = rb"(?:0|[1-9][0-9]{0,18})"
_OFFER = re.compile(
    rb"(?i:%(head)s)\x01DCC (?:(?P<kind>SEND) %(file)s|(?P<chat>CHAT) chat) (?P<ip>[^ \x01]+) (?P<port>%(number)s)"
    rb"(?: %(number)s)?(?P<token> %(number)s)?\x01" % {b"head": _HEAD, b"file": _FILE, b"number": _NUMBER}
)
_AGREED = re.compile(
    rb"(?i:%(head)s)\x01DCC (?P<kind>RESUME|ACCEPT) %(file)s (?P<port>%(number)s) %(number)s\x01"
    % {b"head": _HEAD, b"file": _FILE, b"number": _NUMBER}
)
_PREFIX = re.compile(rb":[^ \x00-\x1f]+ ")
_DECIMAL = re.compile(_NUMBER)


class Offer(NamedTuple):
    """DCC SEND or CHAT. `ip` None: not in the decimal form. `start`, `stop`: of address and port in the line."""

    kind: str
    ip: IPv4Address | None
    port: int
    start: int
    stop: int


class Agreed(NamedTuple):
    """DCC RESUME or ACCEPT: about the offer of that port. `start`, `stop`: of the port in the line."""

    kind: str
    port: int
    start: int
    stop: int


def is_dcc(text: bytes) -> bool:
    """Whether anything in the line looks like DCC at all, in whatever place."""
    return _MARK in text.upper()


def offer(text: bytes) -> Offer | None:
    """An offer that a client makes: no prefix, nothing before or behind. `text`: the line without its end."""
    match = _OFFER.fullmatch(text)
    if match is None:
        return None
    value = int(match["ip"]) if _DECIMAL.fullmatch(match["ip"]) else None
    ip = IPv4Address(value) if value is not None and value < 1 << 32 else None
    kind = (match["kind"] or match["chat"]).decode()
    return Offer(kind, ip, int(match["port"]), match.start("ip"), match.end("port"))


def agreed(text: bytes, prefixed: bool) -> Agreed | None:
    """RESUME or ACCEPT. `prefixed`: said by the server, who puts the speaker before it."""
    prefix = _PREFIX.match(text) if prefixed else None
    if prefixed and prefix is None:
        return None
    match = _AGREED.fullmatch(text, prefix.end() if prefix else 0)
    if match is None:
        return None
    return Agreed(match["kind"].decode(), int(match["port"]), match.start("port"), match.end("port"))


def may_become(text: bytes, prefixed: bool) -> bool:
    """Whether an unfinished line may still turn out to be DCC: if not, its bytes need not wait for its end."""
    if prefixed:
        if not text.startswith(b":"):
            return not text
        text = text.partition(b" ")[2]
    command, space, rest = text.partition(b" ")
    if not space:
        return any(word.startswith(command.upper()) for word in (b"PRIVMSG", b"NOTICE"))
    _, colon, trailing = rest.partition(b" :")
    if command.upper() not in (b"PRIVMSG", b"NOTICE"):
        return False
    return not colon or _MARK.startswith(trailing[: len(_MARK)].upper())
