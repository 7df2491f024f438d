"""Frames for tests, and what they must become: built by scapy, the oracle for every checksum.

The law of this file: bytes in, bytes out; no kernel, no socket. scapy is imported inside functions: it costs a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

LAN_MAC, GATEWAY_LAN_MAC = "02:00:00:00:01:02", "02:00:00:00:01:01"
WAN_MAC, GATEWAY_WAN_MAC = "02:00:00:00:02:02", "02:00:00:00:02:01"
ICMP_UNREACHABLE = 3
ETHERNET = 14
SUMS = ("chksum", "cksum")
SHOWN = 24


@dataclass(frozen=True, slots=True)
class Flow:
    """One direction of a conversation. For ICMP `source_port` is the echo identifier."""

    source: str
    source_port: int
    destination: str
    destination_port: int
    source_mac: str = LAN_MAC
    destination_mac: str = GATEWAY_LAN_MAC

    @property
    def back(self) -> Flow:
        """The same conversation from the other end, with frames to and from the same devices."""
        return Flow(
            self.destination,
            self.destination_port,
            self.source,
            self.source_port,
            self.destination_mac,
            self.source_mac,
        )

    def to(self, **changes: Any) -> Flow:
        return replace(self, **changes)


def tcp(
    flow: Flow,
    payload: bytes = b"",
    flags: str = "A",
    *,
    seq: int | None = None,
    ack: int | None = None,
    window: int = 501,
    options: list[Any] | None = None,
    **ip: Any,
) -> bytes:
    """A TCP frame; `options` as scapy writes them: [("MSS", 1460), ("SAck", (1, 2))]. `ip`: IP fields, ip_options.

    By default both ends' first byte has the number 1000, and nothing has been sent yet.
    """
    from scapy.layers.inet import TCP

    seq = (999 if "S" in flags else 1000) if seq is None else seq
    ack = (1000 if "A" in flags else 0) if ack is None else ack

    ports = {"sport": flow.source_port, "dport": flow.destination_port}
    return _frame(flow, TCP(**ports, flags=flags, seq=seq, ack=ack, window=window, options=options or []), payload, ip)


def udp(flow: Flow, payload: bytes = b"", *, checksum: int | None = None, **ip: Any) -> bytes:
    """A UDP frame. `checksum` 0 sends none (RFC 768); a sum that comes out as 0 is sent as 0xffff."""
    from scapy.layers.inet import UDP

    return _frame(flow, UDP(sport=flow.source_port, dport=flow.destination_port, chksum=checksum), payload, ip)


def echo(flow: Flow, payload: bytes = b"", *, reply: bool = False, seq: int = 1, **ip: Any) -> bytes:
    """An ICMP echo request or reply; the identifier is `flow.source_port`."""
    from scapy.layers.inet import ICMP

    return _frame(flow, ICMP(type=0 if reply else 8, id=flow.source_port, seq=seq), payload, ip)


def icmp_error(
    flow: Flow,
    quoted: bytes,
    kind: int = ICMP_UNREACHABLE,
    code: int = 4,
    *,
    size: int | None = 8,
    mtu: int = 0,
    **ip: Any,
) -> bytes:
    """An ICMP error about the frame `quoted`; it quotes the IP header and `size` bytes (None: all).

    RFC 792 quotes 8 bytes, RFC 1812 as much as fits in 576.
    """
    from scapy.layers.inet import ICMP

    packet = quoted[ETHERNET:]
    header = (packet[0] & 15) * 4
    quote = packet if size is None else packet[: header + size]
    return _frame(flow, ICMP(type=kind, code=code, nexthopmtu=mtu) if mtu else ICMP(type=kind, code=code), quote, ip)


def fragments(frame: bytes, size: int) -> list[bytes]:
    """The frame in IP fragments of at most `size` bytes of IP payload (rounded down to 8)."""
    from scapy.layers.inet import IP, fragment
    from scapy.layers.l2 import Ether

    packet = Ether(frame)
    packet[IP].flags = 0
    parts = fragment(packet, size)
    for part in parts:
        del part[IP].chksum, part[IP].len
    return [bytes(part) for part in parts]


def changed(frame: bytes, **fields: Any) -> bytes:
    """The frame with fields set and every checksum corrected: what a translation must give, byte for byte.

    Fields are `LAYER_field`, e.g. IP_src, IP_ttl, TCP_sport, TCP_options, ICMP_id, Ether_dst, Raw_load. Link padding is
    kept; a UDP checksum of 0 stays 0 (RFC 768). Not for ICMP errors, whose quote has its own checksums: build those
    anew.
    """
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.l2 import Ether

    packet = Ether(frame)
    no_sum = UDP in packet and packet[UDP].chksum == 0
    for name, value in fields.items():
        layer, field = name.split("_", 1)
        packet.getlayer(layer).setfieldval(field, value)
    for layer in _layers(packet):
        for field in SUMS:
            if field in layer.fields and not (no_sum and layer.name == "UDP"):
                layer.delfieldval(field)
    if "Raw_load" in fields or "TCP_options" in fields:
        for kind, names in ((IP, ("len",)), (UDP, ("len",)), (TCP, ("dataofs",))):
            for field in names if kind in packet else ():
                packet[kind].delfieldval(field)
    return bytes(packet)


def difference(actual: bytes, expected: bytes) -> list[str]:
    """What differs, by field; empty if nothing does. A difference that no field shows is given by its offset."""
    if actual == expected:
        return []
    lines = []
    if len(actual) != len(expected):
        lines.append(f"frame: {len(actual)} bytes, expected {len(expected)}")
    ours, theirs = dict(_fields(actual)), dict(_fields(expected))
    for name in sorted(ours.keys() | theirs.keys(), key=[*theirs, *ours].index):
        if ours.get(name) != theirs.get(name):
            lines.append(f"{name}: {_show(ours, name)}, expected {_show(theirs, name)}")
    if not lines or (len(lines) == 1 and lines[0].startswith("frame:")):
        at = next(
            (i for i, pair in enumerate(zip(actual, expected, strict=False)) if pair[0] != pair[1]), len(expected)
        )
        lines.append(f"byte {at}: {actual[at : at + 8].hex()}, expected {expected[at : at + 8].hex()}")
    return lines


def same(actual: bytes, expected: bytes, what: str = "frame") -> None:
    """Assert that two frames have the same bytes, and say which fields differ."""
    lines = difference(actual, expected)
    assert not lines, f"{what} differs:\n  " + "\n  ".join(lines)


def sums_are_right(frame: bytes) -> None:
    """Assert that every checksum in the frame is what scapy computes (a UDP checksum of 0 means none)."""
    same(frame, changed(frame), "checksum")


def payload(frame: bytes) -> bytes:
    """Of TCP, UDP or ICMP, without link padding."""
    from scapy.packet import Raw

    packet = _dissect(frame)
    return bytes(packet[Raw].load) if Raw in packet else b""


def field(frame: bytes, name: str) -> Any:
    """The value of `LAYER_field`."""
    layer, _, attribute = name.partition("_")
    return _dissect(frame).getlayer(layer).getfieldval(attribute)


def _frame(flow: Flow, transport: Any, load: bytes, ip: dict[str, Any]) -> bytes:
    from scapy.layers.inet import IP
    from scapy.layers.l2 import Ether
    from scapy.packet import Raw

    link = Ether(src=flow.source_mac, dst=flow.destination_mac, type=0x0800)
    named = {"options" if name == "ip_options" else name: value for name, value in ip.items()}
    network = IP(src=flow.source, dst=flow.destination, **({"id": 7, "flags": "DF"} | named))
    return bytes(link / network / transport / Raw(load)) if load else bytes(link / network / transport)


def _dissect(frame: bytes) -> Any:
    from scapy.layers.inet import IP  # noqa: F401 - binds the layers under Ether
    from scapy.layers.l2 import Ether

    return Ether(frame)


def _layers(packet: Any) -> Iterator[Any]:
    while packet and packet.name != "NoPayload":
        yield packet
        packet = packet.payload


def _fields(frame: bytes) -> Iterator[tuple[str, Any]]:
    for layer in _layers(_dissect(frame)):
        for description in layer.fields_desc:
            yield f"{layer.name}.{description.name}", layer.getfieldval(description.name)


def _show(fields: dict[str, Any], name: str) -> str:
    if name not in fields:
        return "absent"
    value = fields[name]
    if isinstance(value, bytes) and len(value) > SHOWN:
        return f"{value[:SHOWN]!r}… ({len(value)} bytes)"
    return f"{value:#06x}" if name.endswith("chksum") and isinstance(value, int) else repr(value)
