"""Whether a name server of this host makes IPv6 addresses of IPv4 ones, as clients behind NAT64 need it (RFC 7050).

The law of this file: one question to each name server, with a short wait; it changes nothing.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path

from algate.alg.admin import control
from algate.alg.findings import CheckRow

RESOLV = Path("/etc/resolv.conf")
MOST, SECONDS = 3, 1.0  # name servers asked, as a resolver does (resolv.conf(5)); wait for each
PORT = 53
NAME = b"\x08ipv4only\x04arpa\x00"  # has IPv4 addresses alone
AAAA, IN, RECURSE = 28, 1, 0x0100
FIX = 'unbound: module-config: "dns64 validator iterator", dns64-prefix: {prefix}'


def check(run_dir: Path) -> CheckRow:
    """For `doctor`."""
    try:
        status = control.request(run_dir, "status", seconds=control.SOON)
    except control.ControlError:
        return CheckRow("dns64", True, "no daemon to ask")
    known = status.get("ipv6") if isinstance(status, dict) else None
    prefix = known.get("nat64") if isinstance(known, dict) else None
    return judged(None if prefix is None else IPv6Network(prefix), servers())


def servers(text: str | None = None) -> list[str]:
    """The name servers of resolv.conf, or of its `text`."""
    if text is None:
        try:
            text = RESOLV.read_text(errors="replace")
        except OSError:
            return []
    words = (line.split() for line in text.splitlines())
    return [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"][:MOST]


def judged(
    prefix: IPv6Network | None, asked: Sequence[str], ask: Callable[[str], list[IPv6Address] | None] | None = None
) -> CheckRow:
    """What these name servers mean for clients behind NAT64 with that prefix."""
    if prefix is None:
        return CheckRow("dns64", True, "not needed without NAT64")
    found = {one: (ask or addresses)(one) for one in asked}
    fix = FIX.format(prefix=prefix)
    for one, made in found.items():
        if made and all(address in prefix for address in made):
            return CheckRow("dns64", True, f"{one} makes addresses of {prefix}")
        if made:
            return CheckRow("dns64", False, f"{one} makes {made[0]}, which isn't of {prefix}", fix)
    among = f" among {', '.join(asked)}" if asked else ""
    mute = ", ".join(one for one, made in found.items() if made is None)
    silent = f" ({mute}: no answer)" if mute else ""
    return CheckRow("dns64", True, f"no DNS64{among}{silent}: clients that know names alone need one", fix)


def addresses(server: str) -> list[IPv6Address] | None:
    """What a name server says are the IPv6 addresses of a name that has none; None if it doesn't answer."""
    number = secrets.token_bytes(2)
    question = number + struct.pack("!HHHHH", RECURSE, 1, 0, 0, 0) + NAME + struct.pack("!HH", AAAA, IN)
    with contextlib.suppress(OSError, ValueError):
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(SECONDS)
            sock.connect((server, PORT))
            sock.send(question)
            answer = sock.recv(4096)
        if answer[:2] == number:
            return list(read(answer))
    return None


def read(answer: bytes) -> Iterator[IPv6Address]:
    """The AAAA records of an answer to that question; a malformed one ends where it is."""
    if len(answer) < 12:
        return
    at = 12 + len(NAME) + 4
    for _ in range(struct.unpack_from("!H", answer, 6)[0]):
        while at < len(answer) and answer[at] and answer[at] < 0xC0:
            at += 1 + answer[at]
        at += 2 if at < len(answer) and answer[at] >= 0xC0 else 1
        if at + 10 > len(answer):
            return
        kind, size = struct.unpack_from("!H6xH", answer, at)
        body = answer[at + 10 : at + 10 + size]
        if kind == AAAA and len(body) == 16:
            yield IPv6Address(body)
        at += 10 + size
