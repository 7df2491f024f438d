"""Addresses and end points as text, and addresses as bytes, each made once.

The law of this file: what is remembered is found by the address's identity, since its hash and its comparison are
computed in Python and cost more than this does; a session has four addresses, and hosts have many sessions.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Final, final

MOST: Final = 4096


@final
class _Spelled:
    """An address, kept so that no other can have its identity."""

    __slots__ = ("ip", "packed", "text")

    def __init__(self, ip: IPv4Address | IPv6Address) -> None:
        self.ip: Final = ip
        self.packed: Final[bytes] = ip.packed
        self.text: Final[str] = str(ip)


_spelled: Final[dict[int, _Spelled]] = {}  # by the identity of their address
_by_bytes: Final[dict[bytes, _Spelled]] = {}


def _of(ip: IPv4Address | IPv6Address) -> _Spelled:
    found = _spelled.get(id(ip))
    return found if found is not None else _sought(ip)


def _sought(ip: IPv4Address | IPv6Address) -> _Spelled:
    """Of one address one value is kept, whoever has others: so there are no more than there are addresses."""
    if isinstance(ip, IPv6Address) and ip.scope_id is not None:
        return _Spelled(ip)
    found = _by_bytes.get(ip.packed)
    if found is None:
        if len(_spelled) >= MOST:
            _spelled.clear()
            _by_bytes.clear()
        found = _spelled[id(ip)] = _Spelled(ip)
        _by_bytes[found.packed] = found
    return found


def written(ip: IPv4Address | IPv6Address) -> str:
    """An address as text."""
    return _of(ip).text


def packed(ip: IPv4Address | IPv6Address) -> bytes:
    """Its bytes in network order."""
    return _of(ip).packed


def joined(ip: IPv4Address | IPv6Address, port: int) -> str:
    """An end point as text, `ip:port`."""
    text = _of(ip).text
    return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"
