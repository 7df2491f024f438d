"""The four ways in which FTP names a data connection: reading them from a line and writing them into one.

The law of this file: text to values and back, for one line without its terminator. It knows no dialogue and no policy,
raises on no bytes whatever, and accepts nothing that two readers could read differently.

PORT and 227: RFC 959 section 4.1.2 and 4.2 (h1,h2,h3,h4,p1,p2). EPRT and 229: RFC 2428 sections 2 and 3.
"""

from __future__ import annotations

import re
from enum import Enum, StrEnum
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final, final

from algate.alg.plugin.fixed import Fixed
from algate.alg.protocols.base import Address, EndPoint, address, written


class Form(StrEnum):
    """The line's kind; the value is how it starts."""

    PORT = "PORT"
    EPRT = "EPRT"
    PASSIVE = "227"
    EXTENDED = "229"


class Fault(Enum):
    """Why a line names no data connection. The values are reason names."""

    NO_ADDRESS = "no-address"  # a 227 that says something else, as some servers' at QUIT
    BAD_SYNTAX = "bad-syntax"
    BAD_NUMBER = "bad-number"
    PORT_ZERO = "port-zero"
    WRONG_FAMILY = "wrong-family"


@final
class Named(Fixed):
    """A data connection as the line names it. `ip` None: the speaker's own (229). text[start:stop]: what to rewrite."""

    __match_args__: Final = ("form", "ip", "port", "start", "stop", "delimiter")

    def __init__(self, form: Form, ip: Address | None, port: int, start: int, stop: int, delimiter: str = "|") -> None:
        self.form: Final = form
        self.ip: Final = ip
        self.port: Final = port
        self.start: Final = start
        self.stop: Final = stop
        self.delimiter: Final = delimiter


_SIX: Final = rb"(%b),([0-9]{1,3}),([0-9]{1,3})" % b",".join([rb"[0-9]{1,3}"] * 4)
_USUAL_PORT: Final = re.compile(rb"[ \t]*PORT[ \t]+(%b)[ \t]*" % _SIX, re.IGNORECASE)
_PORT: Final = re.compile(rb"[ \t]*PORT[ \t]+([0-9,]+)[ \t]*", re.IGNORECASE)
_EPRT: Final = re.compile(rb"[ \t]*EPRT[ \t]+(([!-/:-~])([0-9]+)\2([^ \t]*?)\2([0-9]+)\2)[ \t]*", re.IGNORECASE)
_NUMBERS: Final = re.compile(rb"[0-9]+(?:,+[0-9]+)*")
_USUAL: Final = re.compile(rb"227[^0-9,]*(%b)[^0-9,]*" % _SIX)  # a 227 without other digits
_SPACED: Final = re.compile(rb"[0-9]+(?:[ \t]*,[ \t]*[0-9]+)*")  # only in 227: clients use scanf, which skips blanks
_EXTENDED: Final = re.compile(rb"\(([!-/:-~])\1\1([0-9]+)\1\)")
_V6_TEXT: Final = re.compile(r"[0-9A-Fa-f:]+")
_V6_MOST: Final = 39  # characters: eight groups of four digits


def read(form: Form, text: bytes, version: int = 4) -> Named | Fault:
    """Read what a line of that form names. `version` is the IP version of the control session."""
    return _READERS[form](text, version)


def write(named: Named, to: EndPoint) -> bytes:
    """What to put in place of text[start:stop] so that the line names `to`."""
    return numbers(named.form, to, named.delimiter)


def numbers(form: Form, to: EndPoint, delimiter: str = "|") -> bytes:
    """The part of a line that names `to`.

    Raises ValueError for an IPv6 address in a form that can't carry one.
    """
    if form is Form.EXTENDED:
        return str(to.port).encode()
    if form is Form.EPRT:
        family = 1 if to.ip.version == 4 else 2
        return f"{family}{delimiter}{to.ip}{delimiter}{to.port}".encode()
    if to.ip.version != 4:
        raise ValueError(f"{form} can't name {to.ip}: RFC 959 has no IPv6")
    return f"{written(to.ip).replace('.', ',')},{to.port >> 8},{to.port & 255}".encode()


def line(form: Form, to: EndPoint, delimiter: str = "|") -> bytes:
    """The whole line in its usual words, without a terminator."""
    part = numbers(form, to, delimiter)
    edge = delimiter.encode()
    if form is Form.PORT:
        return b"PORT " + part
    if form is Form.EPRT:
        return b"EPRT " + edge + part + edge
    if form is Form.PASSIVE:
        return b"227 Entering Passive Mode (" + part + b")."
    return b"229 Entering Extended Passive Mode (" + edge * 3 + part + edge + b")"


def _read_port(text: bytes, version: int) -> Named | Fault:
    usual = _USUAL_PORT.fullmatch(text)
    if usual is not None:
        return _numbered(Form.PORT, usual[2], usual[3], usual[4], usual.start(1), usual.end(1), version)
    match = _PORT.fullmatch(text)
    if match is None or match[1].count(b",") != 5:
        return Fault.BAD_SYNTAX
    return _six(Form.PORT, match[1], match.start(1), version)


def _read_passive(text: bytes, version: int) -> Named | Fault:
    """The only group of six numbers, wherever it is in the server's text. Of two groups, some readers take the first,
    others the last, so neither is accepted."""
    usual = _USUAL.fullmatch(text)
    if usual is not None:
        return _numbered(Form.PASSIVE, usual[2], usual[3], usual[4], usual.start(1), usual.end(1), version)
    groups = [match for match in _NUMBERS.finditer(text, 3) if match[0].count(b",") == 5]
    groups = groups or [match for match in _SPACED.finditer(text, 3) if match[0].count(b",") == 5]
    if not groups:
        return Fault.BAD_SYNTAX if b"," in text else Fault.NO_ADDRESS
    if len(groups) > 1:
        return Fault.BAD_SYNTAX
    return _six(Form.PASSIVE, groups[0][0], groups[0].start(), version)


def _six(form: Form, group: bytes, start: int, version: int) -> Named | Fault:
    """h1,h2,h3,h4,p1,p2 in decimal, leading zeros allowed: at most three digits each, so that nothing can wrap."""
    fields = [field.strip() for field in group.split(b",")]
    if b"" in fields:
        return Fault.BAD_SYNTAX
    if max(map(len, fields)) > 3:
        return Fault.BAD_NUMBER
    return _numbered(form, b",".join(fields[:4]), fields[4], fields[5], start, start + len(group), version)


def _numbered(form: Form, host: bytes, high: bytes, low: bytes, start: int, stop: int, version: int) -> Named | Fault:
    """What six numbers name that stand from start to stop."""
    ip, upper, lower = _host(host), int(high), int(low)
    if ip is None or upper > 255 or lower > 255:
        return Fault.BAD_NUMBER
    if version != 4:
        return Fault.WRONG_FAMILY
    port = upper << 8 | lower
    return Named(form, ip, port, start, stop) if port else Fault.PORT_ZERO


@lru_cache(4096)
def _host(numbers: bytes) -> Address | None:
    """The address of four numbers, None if one is too large: each host says its own again and again."""
    fields = numbers.split(b",")
    values = [int(field) for field in fields]
    return address(bytes(values)) if max(values) <= 255 else None


def _read_eprt(text: bytes, version: int) -> Named | Fault:
    match = _EPRT.fullmatch(text)
    if match is None or match[2] in match[4]:
        return Fault.BAD_SYNTAX
    family, host, port = match[3], match[4], _port(match[5])
    if family not in (b"1", b"2") or (family == b"1") != (version == 4):
        return Fault.WRONG_FAMILY
    ip = _address(host, version)
    if isinstance(ip, Fault):
        return ip
    if isinstance(port, Fault):
        return port
    # The part to rewrite excludes both outer delimiters.
    return Named(Form.EPRT, ip, port, match.start(3), match.end(5), match[2].decode("ascii"))


def _read_extended(text: bytes, version: int) -> Named | Fault:
    matches = list(_EXTENDED.finditer(text, 3))
    if len(matches) != 1:
        return Fault.BAD_SYNTAX if matches or b"(" in text else Fault.NO_ADDRESS
    port = _port(matches[0][2])
    if isinstance(port, Fault):
        return port
    return Named(Form.EXTENDED, None, port, matches[0].start(2), matches[0].end(2), matches[0][1].decode("ascii"))


def _port(digits: bytes) -> int | Fault:
    if len(digits) > 5 or int(digits) > 65535:
        return Fault.BAD_NUMBER
    return int(digits) or Fault.PORT_ZERO


def _address(text: bytes, version: int) -> Address | Fault:
    """An address in EPRT's text form. IPv4 is decimal even with leading zeros; mapped or scoped IPv6 is refused."""
    if version == 4:
        fields = text.split(b".")
        if len(fields) != 4 or not all(field.isdigit() for field in fields):
            return Fault.BAD_SYNTAX
        if max(map(len, fields)) > 3 or max(map(int, fields)) > 255:
            return Fault.BAD_NUMBER
        return address(bytes(map(int, fields)))
    return (_host6(text) if len(text) <= _V6_MOST else None) or Fault.BAD_SYNTAX


@lru_cache(4096)
def _host6(text: bytes) -> Address | None:
    """The same of IPv6."""
    try:
        plain = text.decode("ascii")
        ip = IPv6Address(plain) if _V6_TEXT.fullmatch(plain) else None
    except ValueError:
        return None
    return address(ip.packed) if ip is not None and ip.ipv4_mapped is None else None


_READERS: Final = {
    Form.PORT: _read_port,
    Form.EPRT: _read_eprt,
    Form.PASSIVE: _read_passive,
    Form.EXTENDED: _read_extended,
}
