"""Translations as IPFIX messages (RFC 7011) with the information elements for NAT events (RFC 8158). A session of IPv6
that is filtered, not translated, is told by the elements for firewalls.

The law of this file: pure; records in, datagrams out, and the sequence number that joins them. When a template is sent
again and where messages go is the place's (ipfix_place.py). One message is one datagram that no link has to fragment.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from algate.alg.audit.translations import Translation
from algate.alg.audit.translations import TranslationKind as Kind

VERSION, TEMPLATES, OPTIONS = 10, 2, 3  # of the protocol; set ids of the two kinds of templates
MESSAGE_MOST = 1400  # bytes
HEADER, SET = struct.Struct("!HHIII"), struct.Struct("!HH")
PROCESS = 1  # exportingProcessId: there is one


class Element(NamedTuple):
    """An information element of IANA's registry: number, and bytes."""

    number: int
    size: int


OCTETS_OUT, OCTETS_IN = Element(231, 8), Element(232, 8)  # initiatorOctets, responderOctets
PACKETS_OUT, PACKETS_IN = Element(298, 8), Element(299, 8)
BEGAN, ENDED = Element(152, 8), Element(153, 8)  # flowStartMilliseconds, flowEndMilliseconds
PROTO, PORT, ADDRESS = Element(4, 1), Element(7, 2), Element(8, 4)  # of the inside
REMOTE_PORT, REMOTE = Element(11, 2), Element(12, 4)
PUBLIC, PUBLIC_PORT = Element(225, 4), Element(227, 2)  # postNATSourceIPv4Address, postNAPTSourceTransportPort
REMOTE_AFTER, REMOTE_PORT_AFTER = Element(226, 4), Element(228, 2)  # what isn't translated is told too: RFC 8158
EVENT, AT = Element(230, 1), Element(323, 8)  # natEvent, observationTimeMilliseconds
FIRST, LAST = Element(361, 2), Element(362, 2)  # portRangeStart, portRangeEnd
STEP, COUNT = Element(363, 2), Element(364, 2)  # portRangeStepSize, portRangeNumPorts
ADDRESS6, REMOTE6 = Element(27, 16), Element(28, 16)  # sourceIPv6Address, destinationIPv6Address
FILTERED = Element(233, 1)  # firewallEvent: 1 created, 2 deleted
EXPORTER, NOT_SENT = Element(144, 4), Element(166, 8)  # exportingProcessId, notSentFlowTotalCount

# natEvent, RFC 8158 section 4.3.
EVENTS = {
    Kind.SESSION_CREATED: 4, Kind.SESSION_ENDED: 5, Kind.MAPPING_CREATED: 8, Kind.MAPPING_ENDED: 9,
    Kind.BLOCK_ASSIGNED: 16, Kind.BLOCK_RELEASED: 17,
}  # fmt: skip
EVENTS64 = EVENTS | {
    Kind.SESSION_CREATED: 6, Kind.SESSION_ENDED: 7, Kind.MAPPING_CREATED: 10, Kind.MAPPING_ENDED: 11,
}  # fmt: skip
FILTER_EVENTS = {Kind.SESSION_CREATED: 1, Kind.SESSION_ENDED: 2}
_ENDS = (AT, EVENT, PROTO, ADDRESS, PORT, PUBLIC, PUBLIC_PORT)
_SESSION = (*_ENDS, REMOTE, REMOTE_PORT, REMOTE_AFTER, REMOTE_PORT_AFTER)
_COUNTED = (BEGAN, ENDED, OCTETS_OUT, OCTETS_IN, PACKETS_OUT, PACKETS_IN)
_ENDS64 = tuple(ADDRESS6 if one is ADDRESS else one for one in _ENDS)
_SESSION64 = (*_ENDS64, REMOTE_AFTER, REMOTE_PORT_AFTER)
_SESSION6 = (AT, FILTERED, PROTO, ADDRESS6, PORT, REMOTE6, REMOTE_PORT)
SESSION, SESSION_END, MAPPING, BLOCK, LOSS = range(256, 261)  # ids of our templates
SESSION6, SESSION6_END, SESSION64, SESSION64_END, MAPPING64, BLOCK64 = range(261, 267)
FIELDS: dict[int, tuple[Element, ...]] = {
    SESSION: _SESSION,
    SESSION_END: (*_SESSION, *_COUNTED),
    MAPPING: _ENDS,
    BLOCK: (AT, EVENT, ADDRESS, PUBLIC, FIRST, LAST, STEP, COUNT),
    LOSS: (EXPORTER, NOT_SENT, AT),
    SESSION6: _SESSION6,
    SESSION6_END: (*_SESSION6, *_COUNTED),
    SESSION64: _SESSION64,
    SESSION64_END: (*_SESSION64, *_COUNTED),
    MAPPING64: _ENDS64,
    BLOCK64: (AT, EVENT, ADDRESS6, PUBLIC, FIRST, LAST, STEP, COUNT),
}
TEMPLATE_OF = {
    Kind.SESSION_CREATED: SESSION, Kind.SESSION_ENDED: SESSION_END, Kind.MAPPING_CREATED: MAPPING,
    Kind.MAPPING_ENDED: MAPPING, Kind.BLOCK_ASSIGNED: BLOCK, Kind.BLOCK_RELEASED: BLOCK,
}  # fmt: skip
TEMPLATE64_OF = {
    Kind.SESSION_CREATED: SESSION64, Kind.SESSION_ENDED: SESSION64_END, Kind.MAPPING_CREATED: MAPPING64,
    Kind.MAPPING_ENDED: MAPPING64, Kind.BLOCK_ASSIGNED: BLOCK64, Kind.BLOCK_RELEASED: BLOCK64,
}  # fmt: skip
TEMPLATE6_OF = {Kind.SESSION_CREATED: SESSION6, Kind.SESSION_ENDED: SESSION6_END}
_CODES = {1: "B", 2: "H", 8: "Q"}


def _record_of(template: int) -> struct.Struct:
    elements = FIELDS[template]
    wide = {ADDRESS, PUBLIC, REMOTE, REMOTE_AFTER}
    codes = ("4s" if one in wide else "16s" if one.size == 16 else _CODES.get(one.size, "I") for one in elements)
    return struct.Struct("!" + "".join(codes))


_PACKED = {template: _record_of(template) for template in FIELDS}


class Exporter:
    """One stream of messages. `domain`: the observation domain id, the same after a restart."""

    def __init__(self, domain: int) -> None:
        self._domain = domain
        self._sequence = 0

    def templates(self, now: float) -> bytes:
        """The message that says what the others hold; it has no data record, so it doesn't count."""
        data = b"".join(
            SET.pack(template, len(elements)) + _specifiers(elements)
            for template, elements in FIELDS.items()
            if template != LOSS
        )
        loss = struct.pack("!HHH", LOSS, len(FIELDS[LOSS]), 1) + _specifiers(FIELDS[LOSS])  # its scope: the first one
        return self._message([_set(TEMPLATES, data), _set(OPTIONS, loss)], 0, now)

    def messages(self, records: Sequence[Translation], now: float) -> Iterator[tuple[bytes, int]]:
        """Messages for these, in their order, each with the number of records in it."""
        room = MESSAGE_MOST - HEADER.size
        sets: list[bytes] = []
        count = size = 0
        for template, packed in _runs(records):
            width = _PACKED[template].size
            while packed:
                most = (room - size - SET.size) // width
                if most <= 0:
                    yield self._message(sets, count, now), count
                    sets, count, size = [], 0, 0
                    continue
                some, packed = packed[:most], packed[most:]
                sets.append(_set(template, b"".join(some)))
                count += len(some)
                size += len(sets[-1])
        if count:
            yield self._message(sets, count, now), count

    def loss(self, number: int, now: float) -> bytes:
        """How many records weren't sent since the start (RFC 7011 section 4.3)."""
        return self._message([_set(LOSS, _PACKED[LOSS].pack(PROCESS, number, round(now * 1e3)))], 1, now)

    def _message(self, sets: Iterable[bytes], records: int, now: float) -> bytes:
        body = b"".join(sets)
        head = HEADER.pack(VERSION, HEADER.size + len(body), int(now) & 0xFFFFFFFF, self._sequence, self._domain)
        self._sequence = (self._sequence + records) & 0xFFFFFFFF
        return head + body


def _specifiers(elements: Iterable[Element]) -> bytes:
    return b"".join(SET.pack(*one) for one in elements)


def _set(number: int, data: bytes) -> bytes:
    return SET.pack(number, SET.size + len(data)) + data


def _runs(records: Sequence[Translation]) -> Iterator[tuple[int, list[bytes]]]:
    """Records of one template that follow one another."""
    last, packed = 0, list[bytes]()
    for one in records:
        of = TEMPLATE_OF if len(one.inside.ip) == 4 else TEMPLATE64_OF if one.public else TEMPLATE6_OF
        template = of[one.kind]
        if template != last:
            if packed:
                yield last, packed
            last, packed = template, []
        packed.append(_record(template, one))
    if packed:
        yield last, packed


def _record(template: int, one: Translation) -> bytes:
    if template > LOSS:
        return _record6(template, one)
    head = round(one.time * 1e3), EVENTS[one.kind]
    public = one.public or one.inside  # not translated: the same address, as RFC 8158 has it
    if template == BLOCK:
        return _PACKED[BLOCK].pack(*head, one.inside.ip, public.ip, *_block(one))
    ends = (*head, one.proto, one.inside.ip, one.inside.port, public.ip, public.port)
    if template == MAPPING:
        return _PACKED[MAPPING].pack(*ends)
    remote = one.remote or public
    far = (remote.ip, remote.port, remote.ip, remote.port)
    if template == SESSION:
        return _PACKED[SESSION].pack(*ends, *far)
    return _PACKED[SESSION_END].pack(*ends, *far, *_counted(one))


def _record6(template: int, one: Translation) -> bytes:
    """Of an inside IPv6 host: filtered, or translated to IPv4."""
    public, remote = one.public, one.remote
    head = round(one.time * 1e3), (EVENTS64 if public else FILTER_EVENTS)[one.kind]
    if public is not None and template == BLOCK64:
        return _PACKED[BLOCK64].pack(*head, one.inside.ip, public.ip, *_block(one))
    ends: tuple[bytes | int, ...] = (*head, one.proto, one.inside.ip, one.inside.port)
    if public is not None:
        ends = (*ends, public.ip, public.port)
    if template != MAPPING64 and remote is not None:
        ends = (*ends, remote.ip, remote.port)
    return _PACKED[template].pack(*ends, *(_counted(one) if template in (SESSION6_END, SESSION64_END) else ()))


def _block(one: Translation) -> tuple[int, ...]:
    first, last = one.ports
    return first, last, 1, last - first + 1


def _counted(one: Translation) -> tuple[int, ...]:
    began = one.since or one.time - one.duration
    return round(began * 1e3), round((began + one.duration) * 1e3), *one.octets, *one.packets
