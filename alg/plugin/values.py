"""Single values as spelled in a configuration file or an option: text or TOML value in, typed value out.

The law of this file: readers. A reader takes any object and returns a typed value, or raises RefusedError with a reason
that says what would be right. It knows no key, section or file. Ports are in host order, durations are seconds as
float.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import NamedTuple, TypeVar

from algate.alg.plugin.model import EndPoint
from algate.alg.wording import shown

T = TypeVar("T")
Reader = Callable[[object], T]

HELD_MAX = 1024  # ports of one range: each is held for as long as the configuration names it
BLOCK_SIZES = (0, 64, 128, 256, 512, 1024, 2048, 4096)  # ports of a port block
SECONDS_MAX = 2_000_000.0  # about 23 days: a tick counter of 32 bits is compared modulo, abi.h


class RefusedError(ValueError):
    """The value isn't acceptable. `problems`: (place within the value, such as "[2]" or "", and reason)."""

    def __init__(self, reason: str, problems: list[tuple[str, str]] | None = None) -> None:
        super().__init__(reason)
        self.problems = problems or [("", reason)]


@dataclass(frozen=True, slots=True, order=True)
class PortRange:
    """The ports from first to last, both included."""

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    def __len__(self) -> int:
        return self.last - self.first + 1

    def overlaps(self, other: PortRange) -> bool:
        """Whether the two have a port in common."""
        return self.first <= other.last and other.first <= self.last

    def blocks(self, size: int) -> int:
        """How many blocks of `size` ports, each beginning at a multiple of that, lie in it whole."""
        return max(0, (self.last + 1) // size - -(-self.first // size))


class Service(NamedTuple):
    """A protocol and a destination port; prints as "tcp/21"."""

    proto: str
    port: int

    def __str__(self) -> str:
        return f"{self.proto}/{self.port}"


def boolean(value: object) -> bool:
    """true or false."""
    if isinstance(value, bool):
        return value
    raise RefusedError(f"{shown(value)} is neither true nor false")


def integer(low: int, high: int) -> Reader[int]:
    """A whole number from low to high."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise RefusedError(f"{shown(value)} is not a whole number")
        if not low <= value <= high:
            raise RefusedError(f"{value} is not between {low} and {high}")
        return value

    return read


def seconds(low: float, high: float = SECONDS_MAX) -> Reader[float]:
    """A duration, whole or fractional."""

    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RefusedError(f"{shown(value)} is not a number of seconds")
        if not low <= value <= high:  # refuses nan too
            raise RefusedError(f"{value} s is not between {low:g} and {high:g} s")
        return float(value)

    return read


def part(value: object) -> float:
    """A part of a whole: more than 0, up to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RefusedError(f"{shown(value)} is not a number")
    if not 0 < value <= 1:  # refuses nan too
        raise RefusedError(f"{value} is not a part of a whole: more than 0, up to 1")
    return float(value)


def block_size(value: object) -> int:
    """Ports of a port block: 0, or a power of two that the kernel's bitmap has whole words for."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise RefusedError(f"{shown(value)} is not a whole number")
    if value not in BLOCK_SIZES:
        sizes = ", ".join(str(one) for one in BLOCK_SIZES[1:])
        raise RefusedError(f"{value} is none of {sizes}, nor 0 for no blocks")
    return value


def host_prefix(value: object) -> int:
    """How much of an IPv6 address makes a host: 64 or 128 bits."""
    if isinstance(value, bool) or value not in (64, 128):
        raise RefusedError(f"{shown(value)} is neither 64 nor 128")
    return 64 if value == 64 else 128


def text(value: object) -> str:
    """Any text."""
    if isinstance(value, str):
        return value
    raise RefusedError(f"{shown(value)} is not text: write it in quotes")


def one_of(*choices: str) -> Reader[str]:
    """One of the words given."""

    def read(value: object) -> str:
        if isinstance(value, str) and value in choices:
            return value
        raise RefusedError(f"{shown(value)} is not one of {', '.join(choices)}")

    return read


def list_of(reader: Reader[T], limit: int = 65536) -> Reader[tuple[T, ...]]:
    """A list of what `reader` reads, without duplicates; all refused items are reported together."""

    def read(value: object) -> tuple[T, ...]:
        if not isinstance(value, list | tuple):
            raise RefusedError(f"{shown(value)} is not a list: write it in [ ]")
        if len(value) > limit:
            raise RefusedError(f"{len(value)} entries are more than {limit}")
        good: list[T] = []
        bad: list[tuple[str, str]] = []
        for position, item in enumerate(value):
            try:
                one = reader(item)
            except RefusedError as refused:
                bad += [(f"[{position}]{place}", reason) for place, reason in refused.problems]
                continue
            if one in good:
                bad.append((f"[{position}]", f"{shown(item)} is listed twice"))
            good.append(one)
        if bad:
            raise RefusedError(bad[0][1], bad)
        return tuple(good)

    return read


def device(value: object) -> str:
    """A network device's name: 1 to 15 bytes, no slash, no white space (Linux's IFNAMSIZ)."""
    named = isinstance(value, str) and value not in (".", "..") and value.isprintable()
    if named and re.fullmatch(r"[^\s/:]+", str(value)) and len(str(value).encode()) <= 15:
        return str(value)
    raise RefusedError(f"{shown(value)} can't be a network device's name")


def public_address(value: object) -> IPv4Address:
    """An IPv4 address that packets can be sent from."""
    address = _ipv4(value)
    if address.is_unspecified or address.is_loopback or address.is_multicast or int(address) == 0xFFFFFFFF:
        raise RefusedError(f"{address} can't be a public address")
    return address


def optional_public_address(value: object) -> IPv4Address | None:
    """An IPv4 address that packets can be sent from; "" is none."""
    return None if value == "" else public_address(value)


def network(value: object) -> IPv4Network:
    """An IPv4 prefix in CIDR notation; a bare address stands for itself."""
    if not isinstance(value, str):
        raise RefusedError(f'{shown(value)} is not a network: write it like "10.0.0.0/24"')
    if ":" in value:
        raise RefusedError(f'{shown(value)}: only IPv4 is translated, write it like "10.0.0.0/24"')
    try:
        loose = IPv4Network(value, strict=False)
    except ValueError:
        raise RefusedError(f'{shown(value)} is not a network: write it like "10.0.0.0/24"') from None
    try:
        return IPv4Network(value)
    except ValueError:
        raise RefusedError(f'{shown(value)} has bits set behind its prefix: the network is "{loose}"') from None


def port_range(low: int = 1) -> Reader[PortRange]:
    """A port number, "21", or "50000-50100"."""

    def read(value: object) -> PortRange:
        parts = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
        match = re.fullmatch(r"([0-9]{1,5})(?:\s*-\s*([0-9]{1,5}))?", parts)
        if not match:
            raise RefusedError(f'{shown(value)} is neither a port nor a range like "50000-50100"')
        first, last = int(match[1]), int(match[2] or match[1])
        if not (low <= first <= 65535 and low <= last <= 65535):
            raise RefusedError(f"{shown(value)} is not within {low} and 65535")
        if first > last:
            raise RefusedError(f"{shown(value)} starts after its end")
        return PortRange(first, last)

    return read


def optional_port_range(value: object) -> PortRange | None:
    """A range of at most HELD_MAX ports from 1024 up; "" is none."""
    if value == "":
        return None
    ports = port_range(1024)(value)
    if len(ports) > HELD_MAX:
        raise RefusedError(f"{len(ports)} ports are more than {HELD_MAX}")
    return ports


def service(value: object) -> Service:
    """ "tcp/21" or "udp/53"."""
    match = re.fullmatch(r"(tcp|udp)/([0-9]{1,5})", value) if isinstance(value, str) else None
    if not match or not 1 <= int(match[2]) <= 65535:
        raise RefusedError(f'{shown(value)} is not a service: write it like "tcp/21" or "udp/53"')
    return Service(match[1], int(match[2]))


def end_point(value: object) -> EndPoint:
    """An IPv4 address and port, "10.0.0.5:21"."""
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not colon or not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise RefusedError(f'{shown(value)} is not an address with a port: write it like "10.0.0.5:21"')
    return EndPoint(public_address(host), int(port))


def public_end_point(value: object) -> EndPoint:
    """The end point that stands for an inside one, which IPv6 has none of."""
    if isinstance(value, str) and value.count(":") > 1:
        raise RefusedError(f"{shown(value)} is a host's own address: IPv6 isn't translated to IPv6")
    return end_point(value)


def listen_point(value: object) -> EndPoint | None:
    """Where to listen: "127.0.0.1:1025", "[::1]:1025", or "" for nowhere."""
    if value == "":
        return None
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    address: IPv4Address | IPv6Address
    try:
        address = IPv6Address(host[1:-1]) if host.startswith("[") and host.endswith("]") else IPv4Address(host)
    except ValueError:
        raise RefusedError(f'{shown(value)} is not an address with a port: write it like "127.0.0.1:1025"') from None
    if not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise RefusedError(f'{shown(value)} is not an address with a port: write it like "127.0.0.1:1025"')
    return EndPoint(address, int(port))


def mss_clamp(value: object) -> int | str:
    """ "off", "auto", or a maximum segment size in bytes (RFC 9293 section 3.7.1: 536 is always allowed)."""
    if value in ("off", "auto"):
        return str(value)
    if isinstance(value, str):
        raise RefusedError(f"{shown(value)} is not one of off, auto or a number of bytes")
    return integer(88, 65495)(value)


def _ipv4(value: object) -> IPv4Address:
    try:
        address = ip_address(value) if isinstance(value, str) else None
    except ValueError:
        address = None
    if isinstance(address, IPv4Address):
        return address
    hint = ": only IPv4 is translated, write it" if address else " is not an address: write it"
    raise RefusedError(f'{shown(value)}{hint} like "198.51.100.1"')
