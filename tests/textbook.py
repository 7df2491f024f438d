"""FTP through an address translator as in a textbook: whole lines, in order, one dialogue; the tests' oracle.

The law of this file: it imports nothing of algate, so that an error there can't repeat itself here. It trusts its
input: lines end with LF, replies answer commands in order. RFC 959 section 4, RFC 2428.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

REFUSED = b"502 algate: the gateway's policy does not allow this command.\r\n"


class Exchange(NamedTuple):
    """A command and all that the server says to it; `command` empty: the server's greeting."""

    command: bytes
    reply: bytes


class Told(NamedTuple):
    """What each end gets of an exchange."""

    to_server: bytes
    to_client: bytes


class Textbook:
    """Rewrites one dialogue. `agreed`: the connections that both sides agreed on, oldest first: whether the
    client named it, and its port as the other side knows it."""

    def __init__(
        self,
        client_inside: bool,
        inside: str,
        public: str,
        remote: str,
        port: Callable[[int], int] = lambda port: port,
        deny: Iterable[bytes] = (),
    ) -> None:
        self.client_inside = client_inside
        self.public = public.encode()
        self.client, self.server = (inside, remote) if client_inside else (remote, inside)
        self.port = port
        self.deny = frozenset(deny)
        self.agreed: list[tuple[bool, int]] = []
        self.opaque = False
        self._asked: deque[tuple[bytes, int]] = deque()
        self._many = b""

    def exchange(self, one: Exchange) -> Told:
        """A command and its replies, one after the other."""
        to_server = self.command(one.command) if one.command else b""
        if one.command and not to_server:
            return Told(b"", REFUSED)
        if self.opaque:
            return Told(to_server, one.reply)
        return Told(to_server, b"".join(self.reply(line) for line in one.reply.splitlines(True)))

    def command(self, line: bytes) -> bytes:
        """One line of the client, as the server gets it; empty if it never does."""
        words = line.split(maxsplit=1)
        if self.opaque or not words:
            return line
        verb = words[0].upper()
        if verb in self.deny:
            return b""
        named = 0
        if verb == b"PORT":
            line, named = self._exchanged(line, rb"^PORT (%s)\r?\n", _six, self.client, self.client_inside)
        elif verb == b"EPRT":
            line, named = self._exchanged(line, rb"^EPRT \|1\|(%s)\|\r?\n", _dots, self.client, self.client_inside)
        self._asked.append((verb, named))
        return line

    def reply(self, line: bytes) -> bytes:
        """One line of the server, as the client gets it."""
        code = line[:3]
        if self.opaque:
            return line
        if self._many:
            if line[:4] != self._many + b" ":
                return line
            self._many = b""
        elif line[3:4] == b"-":
            self._many = code
            return line
        if not code.isdigit() or code[:1] == b"1" or not self._asked:
            return line
        verb, named = self._asked.popleft()
        if verb in (b"PORT", b"EPRT") and code[:1] == b"2" and named:
            self.agreed.append((True, self._told(named, self.client_inside)))
        self.opaque = verb == b"AUTH" and code == b"234"
        if (verb, code) == (b"PASV", b"227"):
            line, named = self._exchanged(line, rb"(%s)", _six, self.server, not self.client_inside)
        elif (verb, code) == (b"EPSV", b"229"):
            line, named = self._exchanged(line, rb"\(\|\|\|(%s)\|\)", _bare, self.server, not self.client_inside)
        else:
            return line
        if named:
            self.agreed.append((False, self._told(named, not self.client_inside)))
        return line

    def _told(self, number: int, inside: bool) -> int:
        return self.port(number) if inside else number

    def _exchanged(
        self, line: bytes, around: bytes, form: Callable[[bytes, int], bytes], own: str, inside: bool
    ) -> tuple[bytes, int]:
        """The line, with public numbers if the speaker is inside, and the port that it named, 0 if none is allowed."""
        for match in re.finditer(rb"\d+", line):
            for number in {int(match[0]), _pair(line, match.start())} - {0}:
                found = re.search(around % re.escape(form(own.encode(), number)), line, re.IGNORECASE)
                if found and 1024 <= number <= 65535:
                    if not inside:
                        return line, number
                    new = form(self.public, self.port(number))
                    return line[: found.start(1)] + new + line[found.end(1) :], number
        return line, 0


class SixTextbook:
    """The same for an IPv6 client inside: through NAT64 (`public`: the IPv4 address of its session; RFC 6384), or
    through a filter (`public` empty), which changes nothing. A 227 or a 229 of the server is its own."""

    NO_ALL = b"504 algate: the gateway translates EPSV, but can't keep to it for good.\r\n"
    NO_NETWORK = b"522 algate: the server has no other network protocol, use (2)\r\n"

    def __init__(self, inside: str, public: str) -> None:
        self.inside, self.public = inside.encode(), public.encode()
        self.agreed: list[tuple[bool, int]] = []
        self.opaque = False

    def exchange(self, one: Exchange) -> Told:
        """A command and its replies; `reply` is what the server says to what it gets."""
        verb, _, argument = one.command.strip().upper().partition(b" ")
        if self.opaque or verb not in (b"EPSV", b"EPRT", b"ALGS", b"AUTH"):
            return Told(one.command, one.reply)
        if verb == b"AUTH":
            self.opaque = one.reply.startswith(b"234")
        if verb == b"EPRT":
            return self._names(one, argument)
        if verb == b"EPSV" and argument in (b"", b"2"):
            return self._asks(one)
        if not self.public or verb == b"AUTH":
            return Told(one.command, one.reply)
        answers = {b"ALL": self.NO_ALL} if verb == b"EPSV" else {b"STATUS64": b"216 EPSV EPRT\r\n"}
        return Told(b"NOOP\r\n", answers.get(argument, self.NO_NETWORK))

    def _names(self, one: Exchange, argument: bytes) -> Told:
        found = re.fullmatch(rb"\|2\|%s\|(\d+)\|" % re.escape(self.inside.upper()), argument)
        if not found or not 1024 <= int(found[1]) <= 65535:
            return Told(one.command, one.reply)
        if one.reply.startswith(b"200"):
            self.agreed.append((True, int(found[1])))
        number = int(found[1])
        line = b"PORT %s\r\n" % _six(self.public, number) if self.public else one.command
        return Told(line, one.reply)

    def _asks(self, one: Exchange) -> Told:
        six = re.search(rb"^227 .*\(\d+,\d+,\d+,\d+,(\d+),(\d+)\)", one.reply, re.M)
        bare = re.search(rb"^229 .*\(\|\|\|(\d+)\|\)", one.reply, re.M)
        number = int(six[1]) * 256 + int(six[2]) if six else int(bare[1]) if bare else 0
        if number:
            self.agreed.append((False, number))
        told = _in_place(one.reply, number) if six else one.reply
        return Told(b"PASV\r\n", told) if self.public else Told(one.command, one.reply)


def _in_place(reply: bytes, number: int) -> bytes:
    """A 229 as long as the 227 in its usual form, which ends the reply; else one of its own length."""
    text, named = b"Entering Extended Passive Mode", b"(|||%d|)" % number
    usual = re.search(rb"^227 (.*?)(\([0-9,]+\))(..?|)\r\n\Z", reply, re.M)
    if usual is None:
        return b"229 %s %s\r\n" % (text, named)
    room = len(usual[1]) + len(usual[2]) - len(named)
    if len(usual[1]) > len(text) or room <= len(text):
        text = usual[1]
    return b"229 %s%s%s\r\n" % (text.ljust(room), named, usual[3])


def _pair(line: bytes, at: int) -> int:
    found = re.match(rb"(\d+),(\d+)(?!,)", line[at:])
    return int(found[1]) * 256 + int(found[2]) if found else 0


def _six(ip: bytes, number: int) -> bytes:
    return b"%s,%d,%d" % (ip.replace(b".", b","), number >> 8, number & 255)


def _dots(ip: bytes, number: int) -> bytes:
    return b"%s|%d" % (ip, number)


def _bare(ip: bytes, number: int) -> bytes:
    return b"%d" % number
