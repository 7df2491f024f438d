"""IPFIX messages as tshark reads them, and what becomes of them on the way out."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest

from algate.alg.audit import ipfix
from algate.alg.audit.ipfix import MESSAGE_MOST, Exporter
from algate.alg.audit.ipfix_place import PENDING_MOST, IpfixPlace
from algate.alg.audit.translations import PackedEnd, Translation
from algate.alg.audit.translations import TranslationKind as Kind
from algate.alg.plugin.model import EndPoint

pytestmark = pytest.mark.unit
NOW = 1_700_000_000.5
INSIDE = PackedEnd(IPv4Address("10.0.0.2").packed, 40000)
PUBLIC = PackedEnd(IPv4Address("203.0.113.1").packed, 50001)
REMOTE = PackedEnd(IPv4Address("198.51.100.7").packed, 443)
HOST, ADDRESS = PackedEnd(INSIDE.ip, 0), PackedEnd(PUBLIC.ip, 0)
MADE = Translation(Kind.SESSION_CREATED, NOW, 6, INSIDE, PUBLIC, REMOTE, session=5)
RECORDS = [
    MADE,
    Translation(Kind.SESSION_ENDED, NOW + 3, 6, INSIDE, PUBLIC, REMOTE, since=NOW, octets=(1000, 5_000_000_000),
                packets=(10, 20), duration=2.5),
    Translation(Kind.SESSION_CREATED, NOW, 17, INSIDE, None, REMOTE),
    Translation(Kind.MAPPING_CREATED, NOW, 17, INSIDE, PUBLIC),
    Translation(Kind.MAPPING_ENDED, NOW + 1, 17, INSIDE, PUBLIC),
    Translation(Kind.BLOCK_ASSIGNED, NOW, 0, HOST, ADDRESS, ports=(65024, 65535)),
    Translation(Kind.BLOCK_RELEASED, NOW + 9, 0, HOST, ADDRESS, since=NOW, ports=(65024, 65535)),
]  # fmt: skip


def stream(records: Sequence[Translation]) -> list[bytes]:
    exporter = Exporter(7)
    return [exporter.templates(NOW), *(message for message, _ in exporter.messages(records, NOW)),
            exporter.loss(12, NOW)]  # fmt: skip


def decoded(messages: Sequence[bytes], folder: Path) -> list[dict[str, list[Any]]]:
    """Each message as tshark tells it: field -> its values, in order."""
    local = ip_address("127.0.0.1").packed
    file = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)  # of bare IP packets
    for one in messages:
        whole = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(one), 0, 0, 64, 17, 0, local, local)
        whole += struct.pack("!HHHH", 40000, 4739, 8 + len(one), 0) + one
        file += struct.pack("<IIII", int(NOW), 0, len(whole), len(whole)) + whole
    path = folder / "messages.pcap"
    path.write_bytes(file)
    command = ["tshark", "-r", str(path), "-d", "udp.port==4739,cflow", "-T", "json", "--no-duplicate-keys"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "Malformed" not in done.stdout
    found = []
    for packet in json.loads(done.stdout):
        fields: dict[str, list[Any]] = {}
        _gather(packet["_source"]["layers"]["cflow"], fields)
        found.append(fields)
    return found


def _gather(layer: Any, fields: dict[str, list[Any]]) -> None:
    for name, value in layer.items() if isinstance(layer, dict) else ():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                _gather(one, fields)
            else:
                fields.setdefault(name.removeprefix("cflow."), []).append(one)


def test_tshark_reads_what_was_written(tmp_path: Path) -> None:
    templates, data, loss = decoded(stream(RECORDS), tmp_path)
    assert templates["template_id"] == [*map(str, (*range(256, 260), *range(261, 267), 260))]
    assert templates["od_id"] == ["7"]
    assert data["nat_event"] == ["4", "5", "4", "8", "9", "16", "17"]
    assert data["srcaddr"] == ["10.0.0.2"] * 7 and data["srcport"] == ["40000"] * 5
    assert data["post_natsource_ipv4_address"] == ["203.0.113.1"] * 2 + ["10.0.0.2"] + ["203.0.113.1"] * 4
    assert data["post_naptsource_transport_port"] == ["50001", "50001", "40000", "50001", "50001"]
    assert data["dstaddr"] == data["post_natdestination_ipv4_address"] == ["198.51.100.7"] * 3
    assert data["dstport"] == data["post_naptdestination_transport_port"] == ["443"] * 3
    assert data["protocol"] == ["6", "6", "17", "17", "17"]
    assert (data["initiator_octets"], data["responder_octets"]) == (["1000"], ["5000000000"])
    assert (data["initiator_packets"], data["responder_packets"]) == (["10"], ["20"])
    assert data["port_range_start"] == ["65024"] * 2 and data["port_range_end"] == ["65535"] * 2
    assert data["port_range_num_ports"] == ["512"] * 2
    times = [text[13:25] for text in data["observation_time_milliseconds"]]
    assert times == ["22:13:20.500", "22:13:23.500", "22:13:20.500", "22:13:20.500", "22:13:21.500", "22:13:20.500",
                     "22:13:29.500"]  # fmt: skip
    assert [text[13:25] for text in (*data["abstimestart"], *data["abstimeend"])] == ["22:13:20.500", "22:13:23.000"]
    assert (templates["sequence"], data["sequence"], loss["sequence"]) == (["0"], ["0"], ["7"])


INSIDE6 = PackedEnd(IPv6Address("2001:db8:1::5").packed, 40000)
REMOTE6 = PackedEnd(IPv6Address("2001:db8:9::7").packed, 21)
ENDED6 = {"since": NOW, "octets": (1000, 5_000_000_000), "packets": (10, 20), "duration": 2.5}


def test_tshark_reads_sessions_of_ipv6(tmp_path: Path) -> None:
    """Filtered ones by the event of firewalls, those of NAT64 by RFC 8158's."""
    records = [
        Translation(Kind.SESSION_CREATED, NOW, 6, INSIDE6, None, REMOTE6),
        Translation(Kind.SESSION_ENDED, NOW + 3, 6, INSIDE6, None, REMOTE6, **ENDED6),  # type: ignore[arg-type]
        Translation(Kind.SESSION_CREATED, NOW, 6, INSIDE6, PUBLIC, REMOTE),
        Translation(Kind.SESSION_ENDED, NOW + 3, 6, INSIDE6, PUBLIC, REMOTE, **ENDED6),  # type: ignore[arg-type]
        Translation(Kind.MAPPING_CREATED, NOW, 17, INSIDE6, PUBLIC),
        Translation(Kind.MAPPING_ENDED, NOW + 1, 17, INSIDE6, PUBLIC),
        Translation(Kind.BLOCK_ASSIGNED, NOW, 0, INSIDE6, ADDRESS, ports=(65024, 65535)),
        Translation(Kind.BLOCK_RELEASED, NOW, 0, INSIDE6, ADDRESS, ports=(65024, 65535)),
    ]
    _, data, _ = decoded(stream(records), tmp_path)
    assert data["srcaddrv6"] == ["2001:db8:1::5"] * 8 and data["srcport"] == ["40000"] * 6
    assert data["firewall_event"] == ["1", "2"] and data["nat_event"] == ["6", "7", "10", "11", "16", "17"]
    assert data["dstaddrv6"] == ["2001:db8:9::7"] * 2 and data["dstport"] == ["21"] * 2
    assert data["post_natsource_ipv4_address"] == ["203.0.113.1"] * 6
    assert data["post_naptsource_transport_port"] == ["50001"] * 4
    assert data["post_natdestination_ipv4_address"] == ["198.51.100.7"] * 2
    assert data["post_naptdestination_transport_port"] == ["443"] * 2
    assert data["responder_octets"] == ["5000000000"] * 2 and data["initiator_packets"] == ["10"] * 2
    assert data["port_range_start"] == ["65024"] * 2


def test_messages_are_short_and_numbered(tmp_path: Path) -> None:
    many = [MADE, *RECORDS] * 40
    exporter = Exporter(1)
    messages = list(exporter.messages(many, NOW))
    assert sum(count for _, count in messages) == len(many) and all(len(one) <= MESSAGE_MOST for one, _ in messages)
    told = decoded([exporter.templates(NOW), *(one for one, _ in messages)], tmp_path)
    events = [event for one in told for event in one.get("nat_event", ())]
    assert events == [str(ipfix.EVENTS[one.kind]) for one in many]
    starts = [int(one["sequence"][0]) for one in told[1:]]
    assert starts == [sum(count for _, count in messages[:place]) for place in range(len(messages))]


@pytest.fixture
def collector() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(5)
        yield made


def place(collector: socket.socket) -> IpfixPlace:
    return IpfixPlace(EndPoint(IPv4Address("127.0.0.1"), collector.getsockname()[1]), lambda: NOW)


def sets(message: bytes) -> list[int]:
    """Ids of the sets in a message, which must fill it."""
    found, at = [], ipfix.HEADER.size
    assert ipfix.HEADER.unpack_from(message)[1] == len(message)
    while at < len(message):
        number, size = ipfix.SET.unpack_from(message, at)
        found.append(number)
        at += size
    assert at == len(message)
    return found


def test_templates_come_first_and_again(collector: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    out = place(collector)
    for at in (0.0, 1.0, 59.0, 60.0, 61.0):
        clock[0] = 1000.0 + at
        assert out.write([MADE]) == 1
    out.close()
    read = [sets(collector.recv(2000)) for _ in range(7)]
    assert read == [[2, 3], [256], [256], [256], [2, 3], [256], [256]]


class Device:
    """A socket that takes what it is sent while it has `room`."""

    def __init__(self) -> None:
        self.room = True
        self.sent: list[bytes] = []

    def connect(self, _: tuple[str, int]) -> None: ...

    def close(self) -> None: ...

    def send(self, message: bytes) -> int:
        if not self.room:
            raise BlockingIOError
        self.sent.append(message)
        return len(message)


def test_what_has_no_room_is_counted_and_told() -> None:
    out, device = IpfixPlace(EndPoint(IPv4Address("127.0.0.1"), 4739), lambda: NOW), Device()
    out._socket.close()
    swapped: Any = device
    out._socket = swapped
    out.write([MADE])
    device.room = False
    kept = sum(out.write([MADE] * 30) for _ in range(PENDING_MOST + 5))
    assert kept == 30 * PENDING_MOST and out.lost == 150 and not out.gap(150)
    device.room = True
    assert out.write([MADE]) == 1 and out.gap(150)
    out.close()
    assert sets(device.sent[-1]) == [ipfix.LOSS] and struct.unpack("!IQ", device.sent[-1][20:32]) == (1, 150)
    numbers = [ipfix.HEADER.unpack_from(one)[3] for one in device.sent]
    assert numbers[-1] == 30 * (PENDING_MOST + 5) + 2  # the gap shows in the sequence, too
    assert numbers == sorted(numbers) and len(device.sent) == 2 + PENDING_MOST + 2


def test_nobody_listens(collector: socket.socket) -> None:
    out = place(collector)
    collector.close()
    kept = sum(out.write([MADE]) for _ in range(10))
    assert kept < 10 and out.lost >= 4 and kept + out.lost >= 10
    out.close()


def test_no_route() -> None:
    out = IpfixPlace(EndPoint(IPv4Address("255.255.255.255"), 4739), lambda: NOW)  # not without SO_BROADCAST
    assert out.write([MADE] * 3) == 0 and out.lost == 3
    out.close()
