r"""DCC offers: which lines of IRC make one, and where address and port are in it.

The law of this file: bytes of one line in, values out; no state, no verdict. Strict about position, lenient about
spelling, since the gateway writes what leaves, in the one form that every reader knows.

Position: the trailing parameter of a PRIVMSG or NOTICE to one target (RFC 2812 section 3.3) must *begin* with \x01DCC.
A client can be made to repeat what others say to it (PING and its answer, CTCP PING and ECHO, a bot that quotes), but
then its own words come before that. Message tags (IRCv3) and a prefix may come before the command.

Spelling: `DCC kind argument address port` and whatever follows. All kinds have that form (SEND, CHAT, MOVE, TSEND,
SCHAT, SSEND, XMIT, VOICE, ...) and mean "I listen there", except RESUME and ACCEPT, which name no address and are read
by `agreed`, and REJECT. The argument is a word, something in quotes, or a file name with blanks and no quotes. An
address is a 32-bit number, decimal (with or without leading zeros) or hexadecimal, or dotted, or an IPv4-mapped one; or
an IPv6 one as text.
The last \x01 may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from itertools import pairwise
from typing import Final, NamedTuple

LINE_MAX: Final = 512  # bytes with CR LF, RFC 2812 section 2.3; tags don't count
TAGS_MAX: Final = 8191  # bytes of message tags with their "@" and blank, IRCv3 message-tags
_MARK: Final = b"\x01DCC "
_TAGS: Final = re.compile(rb"@[^ ]* +")
_BEFORE = re.compile(rb"(?:@[^ ]* +)?(?::[^ ]* +)?")
_HEAD: Final = re.compile(rb"(?i:PRIVMSG|NOTICE) +[^ :,\x01][^ ,\x01]* +:")
_MESSAGE: Final = re.compile(rb"\x01DCC +([A-Z]+) +([^\x01]+)", re.IGNORECASE)
_QUOTED: Final = re.compile(rb'"[^"]*(?:"(?! )[^"]*)*" +')
_WORD: Final = re.compile(rb"[^ ]+")
_NUMBER: Final = re.compile(rb"[0-9]{1,19}")
_AGREED: Final = re.compile(rb"(?P<port>[0-9]{1,19}) +[0-9]{1,19}(?: +[0-9]{1,19})? *")
_ADDRESS: Final = re.compile(rb"[0-9][0-9a-fx.]*|[0-9a-f]*:[0-9a-f:.]*", re.IGNORECASE)
_AGREEING: Final = (b"RESUME", b"ACCEPT")
_NO_OFFER: Final = (*_AGREEING, b"REJECT")


class Offer(NamedTuple):
    """DCC SEND, CHAT and the like. `ip` None: not an address. `start`, `stop`: place of address and port."""

    kind: str
    ip: IPv4Address | IPv6Address | None
    port: int
    start: int
    stop: int


class Agreed(NamedTuple):
    """DCC RESUME or ACCEPT, about the offer of that port. `start`, `stop`: place of the port in the line."""

    kind: str
    port: int
    start: int
    stop: int


def is_dcc(text: bytes) -> bool:
    """Whether anything in the line looks like DCC, anywhere."""
    return _MARK in text.upper()


def tags(text: bytes) -> int:
    """How many bytes of the line are message tags."""
    found = _TAGS.match(text)
    return found.end() if found else 0


def command(text: bytes) -> bytes:
    """The line without tags and prefix."""
    found = _BEFORE.match(text)
    return text[found.end() :] if found else text


def offers(text: bytes, own: Collection[IPv4Address | IPv6Address]) -> list[Offer]:
    """What a line offers, in order: old clients put several messages into one line. `text`: without the line's end.

    `own`: the addresses that the speaker may call itself. They decide where an unquoted file name with numbers ends.
    """
    found = [_offer(text, message, own) for message in _messages(text) if message[1].upper() not in _NO_OFFER]
    return [one for one in found if one is not None]


def agreed(text: bytes, known: Collection[int]) -> Agreed | None:
    """RESUME or ACCEPT, the only one in its line. `known`: ports that it may mean; they decide as `own` does above."""
    messages = _messages(text)
    if len(messages) != 1 or messages[0][1].upper() not in _AGREEING:
        return None
    kind, first = messages[0][1].upper().decode(), None
    for word in _words(text, messages[0])[1:]:
        match = _AGREED.fullmatch(text, word.start(), messages[0].end())
        if match:
            found = Agreed(kind, int(match["port"]), match.start("port"), match.end("port"))
            if found.port in known:
                return found
            first = first or found
    return first


def address(word: bytes) -> IPv4Address | IPv6Address | None:
    """An address in any spelling that clients use; an IPv4-mapped one is the IPv4 one."""
    try:
        if _NUMBER.fullmatch(word):
            return IPv4Address(int(word))
        if word[:2].lower() == b"0x":
            return IPv4Address(int(word, 16))
        if b":" in word:
            six = IPv6Address(word.decode())
            return six if six.ipv4_mapped is None else six.ipv4_mapped
        return IPv4Address(word.decode())
    except (AddressValueError, ValueError):
        return None


def may_become(text: bytes) -> bool:
    """Whether an unfinished line may still become DCC; if not, its bytes needn't wait for the rest."""
    rest = command(text)
    if (rest[:1] == b"@" and rest == text) or (rest[:1] == b":" and b" " not in rest):
        return True
    word, space, rest = rest.partition(b" ")
    if not space:
        return any(one.startswith(word.upper()) for one in (b"PRIVMSG", b"NOTICE"))
    if word.upper() not in (b"PRIVMSG", b"NOTICE"):
        return False
    _, colon, trailing = rest.partition(b" :")
    return not colon or _MARK.startswith(trailing[: len(_MARK)].upper())


def _messages(text: bytes) -> list[re.Match[bytes]]:
    """DCC messages in the right place: the first words of the trailing parameter, and more messages right after."""
    before = _BEFORE.match(text)
    head = _HEAD.match(text, before.end() if before else 0)
    if head is None or _MESSAGE.match(text, head.end()) is None:
        return []
    return list(_MESSAGE.finditer(text, head.end()))


def _words(text: bytes, message: re.Match[bytes]) -> list[re.Match[bytes]]:
    """The words after the kind; an argument in quotes is one word."""
    start, stop = message.span(2)
    quoted = _QUOTED.match(text, start, stop)
    first = [quoted] if quoted else []
    return first + list(_WORD.finditer(text, quoted.end() if quoted else start, stop))


def _offer(text: bytes, message: re.Match[bytes], own: Collection[IPv4Address | IPv6Address]) -> Offer | None:
    """The first pair of address and port after the argument; rather one that names the speaker, if any does."""
    words = _words(text, message)
    first = None
    for where, port in pairwise(words[1:]):
        if not _ADDRESS.fullmatch(where[0]) or not _NUMBER.fullmatch(port[0]):
            continue
        found = Offer(message[1].upper().decode(), address(where[0]), int(port[0]), where.start(), port.end())
        if found.ip in own:
            return found
        first = first or found
    return first
