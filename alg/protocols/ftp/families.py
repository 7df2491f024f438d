"""FTP between two IP families (RFC 6384): what a command becomes for the other family, and what its answer becomes.

The law of this file: the texts, and one session's state of the translation. Verdicts are client's and server's.

Of client and server one has IPv6 alone, the other IPv4. EPSV and PASV ask for the same thing in the two families, as do
EPRT and PORT. What the gateway answers by itself goes to the server as NOOP, whose answer is replaced: so each command
still has one reply, and no segment is inserted (RFC 6384 section 12).
"""

from __future__ import annotations

import re
from typing import Final

from algate.alg.protocols.base import Control, EndPoint, Side, embedded
from algate.alg.protocols.ftp import grammar
from algate.alg.protocols.ftp.dialogue import Kind
from algate.alg.protocols.ftp.grammar import Form
from algate.alg.protocols.lines import IAC, WILL

PASSIVE: Final = Form.PASSIVE
NOOP: Final = b"NOOP\r\n"
NO_NETWORK, NO_ALL, BOTH, NONE, NO_ARGUMENT, BAD_ARGUMENT = range(1, 7)
ANSWERS: Final = (
    b"",
    b"522 algate: the server has no other network protocol, use (2)\r\n",
    b"504 algate: the gateway translates EPSV, but can't keep to it for good.\r\n",
    b"216 EPSV EPRT\r\n",
    b"216 NONE\r\n",
    b"501 algate: say ALGS STATUS64, ENABLE64 or DISABLE64.\r\n",
    b"504 algate: say ALGS STATUS64, ENABLE64 or DISABLE64.\r\n",
)
REASONS: Final = {NO_NETWORK: "network-protocol", NO_ALL: "epsv-all"}  # of those that are refusals
_DISABLED: Final = 1  # `remember`: flags, and where the answer's number begins
_PLAIN: Final = 2
_ASKED: Final = 4
_ANSWER: Final = 3
_WONT: Final = 252
_DO: Final = 253
_DONT: Final = 254
EXTENDED: Final = b"Entering Extended Passive Mode"  # instead of the server's text, where it is longer and has room
_NAMED: Final = re.compile(rb"227( .*)(\([0-9]{1,5}(?:,[0-9]{1,5}){5})(\).{0,2})\r\n")  # as named.h finds it


class FtpTranslation:
    """One session's. `answers`: those owed for each NOOP sent, oldest first; nearly always none or one. `plain`: an
    AUTH was accepted, so nothing is translated or answered any more."""

    __slots__ = ("_asked", "_control", "_form", "_left", "_six", "answers", "enabled", "plain")

    def __init__(self, control: Control, remembered: int) -> None:
        """`remembered`: by an earlier helper. What passed that nobody read may be an EPSV; a PASV never passes so."""
        self._control = control
        self._six = control.family(Side.CLIENT) == 6  # the client; `_form`: how the server announces a data connection
        self._form = PASSIVE if control.family(Side.SERVER) == 4 else Form.EXTENDED
        self._asked: list[int] = []  # numbers of commands that went on in the other family's form
        self._left = bool(remembered & _ASKED) or control.unread  # one of them was said to an earlier helper
        self.enabled = not remembered & _DISABLED
        self.plain = bool(remembered & _PLAIN)
        answer = remembered >> _ANSWER
        self.answers = [answer] if 0 < answer < len(ANSWERS) else []

    def remember(self) -> int:
        """What the next helper's must know, in seven bits."""
        asked = _ASKED if self._asked or self._left else 0
        flags = (0 if self.enabled else _DISABLED) | (_PLAIN if self.plain else 0) | asked
        return flags | (self.answers[0] if self.answers else 0) << _ANSWER

    @property
    def on(self) -> bool:
        """Whether commands are translated."""
        return self.enabled and not self.plain

    @property
    def steady(self) -> bool:
        """Whether lines may pass that nobody has read: then only the usual state is remembered."""
        return self.on and not self.answers

    # -- commands ----------------------------------------------------------------------------------------------------

    def instead(self, verb: bytes, argument: bytes) -> int:
        """The number of the answer to a command that isn't for the server; 0: it is."""
        if self.plain or not self._six:
            return 0
        word = argument.strip().upper()
        if verb == b"EPSV":
            return 0 if not self.enabled or word in (b"", b"2") else NO_ALL if word == b"ALL" else NO_NETWORK
        if verb != b"ALGS":
            return 0
        if word in (b"ENABLE64", b"DISABLE64"):
            self.enabled = word == b"ENABLE64"
        elif word != b"STATUS64":
            return BAD_ARGUMENT if word else NO_ARGUMENT
        return BOTH if self.enabled else NONE

    def asks(self, kind: Kind, argument: bytes, number: int) -> bytes:
        """The line that asks the server for what this one asks; b"": this one. `number`: the command's."""
        if not self.on:
            return b""
        if self._six:
            if kind is not Kind.EPSV:
                return b""
            self._asked.append(number)
            return b"PASV\r\n"
        if kind is Kind.PASV:
            self._asked.append(number)
            return b"EPSV\r\n"
        return b"EPSV\r\n" if argument.strip() == b"1" else b""

    def names(self, to: EndPoint) -> bytes:
        """The line by which the client names `to`, for a server of the other family; b"": there is none."""
        if not self.on:
            return b""
        if self._form is PASSIVE:
            return grammar.line(Form.PORT, to) + b"\r\n"
        seen = embedded(self._control.prefix, to.ip)
        return grammar.line(Form.EPRT, EndPoint(seen, to.port)) + b"\r\n" if seen is not None else b""

    # -- replies -------------------------------------------------------------------------------------------------------

    def was_asked(self, form: Form, kind: Kind | None, number: int) -> bool:
        """Whether a 227 or 229 answers a command that went on in the other family's form."""
        if form is not self._form:
            return False
        return number in self._asked or (self._left and kind in (Kind.UNSEEN, Kind.LEFT))

    def missed(self) -> None:
        """Lines passed that nobody will read: an EPSV may be one of them."""
        self._left = True

    def tells(self, to: EndPoint, raw: bytes) -> bytes:
        """The reply that tells the client of `to`, in its own family's form, instead of the line `raw`: in its place if
        it has the usual form, as the kernel does by itself (`bpf/include/retell.h`)."""
        usual = _NAMED.fullmatch(raw) if self._form is PASSIVE else None
        if usual is not None:
            named, opens = b"(|||%d|" % to.port, 3 + len(usual[1])
            at = opens + len(usual[2]) - len(named)
            text = b" " + EXTENDED if opens <= 4 + len(EXTENDED) < at else usual[1]
            return b"229" + text.ljust(at - 3) + named + usual[3] + b"\r\n"
        form = Form.EXTENDED if self._form is PASSIVE else PASSIVE
        return grammar.line(form, to) + b"\r\n"

    def mutes(self, kind: Kind | None, code: bytes) -> bool:
        """Whether the reply that begins with this line, of several, becomes another one. `kind`: of what it answers."""
        if kind is Kind.INSTEAD:
            return code != b"421"
        asked = kind in (Kind.EPSV, Kind.PASV) and bool(self._asked)
        return (asked or (self._left and kind in (Kind.UNSEEN, Kind.LEFT))) and code == self._form.value.encode()

    def answered(self, kind: Kind | None, number: int) -> bytes:
        """That command was answered; the reply to be told instead, if it was a NOOP of the gateway's."""
        if kind is Kind.UNSEEN or kind is Kind.LEFT:
            self._left = False
        if self._asked and number >= 0:
            self._asked = [one for one in self._asked if one > number]
        return ANSWERS[self.answers.pop(0)] if kind is Kind.INSTEAD and self.answers else b""


# -- Telnet options: RFC 1123 section 4.1.2.12 has every one of them refused -------------------------------------------


def negotiation(data: bytes, start: int) -> bytes | None:
    """The answer to the option negotiation at `start`, b"" if it needs none; None: there isn't a whole one."""
    if start + 3 > len(data) or data[start] != IAC or not WILL <= data[start + 1] <= _DONT:
        return None
    option = data[start + 2]
    return {WILL: bytes((IAC, _DONT, option)), _DO: bytes((IAC, _WONT, option))}.get(data[start + 1], b"")


def without_negotiation(raw: bytes) -> tuple[bytes, int, bytes]:
    """A line without option negotiation, where in it the last one ended, and the answers."""
    kept, answers = bytearray(), bytearray()
    at = last = 0
    while at < len(raw):
        answer = negotiation(raw, at)
        if answer is not None:
            answers += answer
            at = last = at + 3
            continue
        size = 2 if raw[at] == IAC else 1
        kept += raw[at : at + size]
        at += size
    return bytes(kept), last, bytes(answers)
