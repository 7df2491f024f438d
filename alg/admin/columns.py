"""Sessions as they came over the control socket, as the kernel has them in memory: made into lines or rows.

The law of this file: pure and self-contained, since every listing loads it: bytes in, text out. Where each field is and
what its numbers mean comes with the answer (packed.py), so asker and daemon may be of different versions. A million
sessions are a million turns of one loop, so whatever can be done for all of a column at once is.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from algate.alg.answers import SCHEMA
from algate.alg.rows import SessionRow

ICMP = 1  # its identifier stands for both ports
OCTETS = 56  # bits of the byte counters; above them are high bits of the packet counters
TICK = 0xFFFFFFFF
AHEAD = TICK - (1 << 16)  # a last packet that seems to be so old was seen a moment ago, by another CPU's clock
FIELDS = (
    "id", "proto", "state", "inside_ip", "inside_port", "remote_ip", "remote_port", "public_ip", "port_index",
    "packets_out", "packets_in", "bytes_out", "bytes_in", "last_seen", "alg",
)  # fmt: skip


class Moment(NamedTuple):
    """When a part was read, as tick and in ns, who expected which of its sessions: id -> id, and what stands in front
    of a port for the numbers that are handles of IPv6 addresses."""

    tick: int
    ns: int
    parents: Mapping[int, int]
    addresses: Mapping[int, str] = MappingProxyType({})


class AddressTexts(dict[int, str]):
    """Addresses as text, by the number that they are in memory."""

    def __missing__(self, number: int) -> str:
        if len(self) > 1 << 20:
            self.clear()
        self[number] = text = ".".join(map(str, number.to_bytes(4, sys.byteorder)))
        return text


class Columns:
    """Makes text of packed sessions; `head` says how they are packed."""

    def __init__(self, head: Mapping[str, Any]) -> None:
        self.key_size, self.value_size = int(head["key"]), int(head["value"])
        self._places = {
            name: (bool(part), int(offset), str(code)) for name, (part, offset, code) in head["fields"].items()
        }
        protos, states = (_listed(head[name]) for name in ("protos", "states"))
        self._words = protos, states
        self._algs: list[str | None] = [head["algs"].get(str(number)) for number in range(256)]
        self._tick = float(head["tick"])
        limits, other = head["limits"], head["limits"][str(ICMP)]
        self._limits = [limits.get(str(proto), other) for proto in range(256)]
        self._ips = AddressTexts()

    def tsv(self, keys: bytes, values: bytes, moment: Moment) -> str:
        """A line of --tsv for each session."""
        protos, states = self._words
        ips = self._ips
        algs = [one or "-" for one in self._algs]
        return "".join([
            f"{i:016x}\t{protos[p]}\t{states[s]}\t{ips[a]}:{ap}\t{ips[r]}:{rp}\t{m or '-'}\t{po}\t{pi}\t{bo}\t{bi}"
            f"\t{age:.6f}\t{left:.6f}\t{algs[alg]}\t{parent or '-'}\n"
            for i, p, s, a, ap, r, rp, m, po, pi, bo, bi, age, left, alg, parent in self._all(keys, values, moment)
        ])  # fmt: skip

    def json(self, keys: bytes, values: bytes, moment: Moment) -> str:
        """An object for each session, each on its line, with commas between them."""
        protos, states = ([json.dumps(one) for one in words] for words in self._words)
        ips = self._ips
        algs = [json.dumps(one) for one in self._algs]
        mapped, related = '"{}"'.format, '"{}"'.format
        return ",\n".join([
            f'{{"schema": {SCHEMA}, "id": "{i:016x}", "proto": {protos[p]}, "state": {states[s]}, '
            f'"inside": "{ips[a]}:{ap}", "outside": "{ips[r]}:{rp}", "mapped": {mapped(m) if m else "null"}, '
            f'"packets_out": {po}, "packets_in": {pi}, "bytes_out": {bo}, "bytes_in": {bi}, "age": {age:.6f}, '
            f'"expires_in": {left:.6f}, "alg": {algs[alg]}, '
            f'"related_to": {related(parent) if parent else "null"}}}'
            for i, p, s, a, ap, r, rp, m, po, pi, bo, bi, age, left, alg, parent in self._all(keys, values, moment)
        ])  # fmt: skip

    def rows(self, keys: bytes, values: bytes, moment: Moment) -> Iterator[SessionRow]:
        """A row for each session."""
        protos, states = self._words
        ips = self._ips
        for i, p, s, a, ap, r, rp, m, po, pi, bo, bi, age, left, alg, parent in self._all(keys, values, moment):
            yield SessionRow(
                f"{i:016x}", protos[p], states[s], f"{ips[a]}:{ap}", f"{ips[r]}:{rp}", m or None, po, pi, bo, bi, age,
                left, self._algs[alg], parent or None,
            )  # fmt: skip

    def _all(self, keys: bytes, values: bytes, moment: Moment) -> Iterator[tuple[Any, ...]]:
        """Of each session, what a line has."""
        column = {name: self._column(name, keys, values) for name in FIELDS}
        self._ips.update(moment.addresses)
        ids, protos, states, ips = column["id"], column["proto"], column["state"], self._ips
        if ICMP in protos:
            ports = zip(protos, column["inside_port"], column["remote_port"], strict=True)
            column["remote_port"] = [own if proto == ICMP else other for proto, own, other in ports]
        if max(max(column["bytes_out"]), max(column["bytes_in"])) >> OCTETS:
            for way in ("out", "in"):
                column[f"packets_{way}"], column[f"bytes_{way}"] = _counted(
                    column[f"bytes_{way}"], column[f"packets_{way}"]
                )
        ends = zip(column["public_ip"], column["port_index"], strict=True)
        parents = moment.parents
        related = [f"{parents[one]:016x}" if one in parents else "" for one in ids] if parents else [""] * len(ids)
        return zip(
            ids, protos, states, column["inside_ip"], column["inside_port"], column["remote_ip"], column["remote_port"],
            [f"{ips[ip]}:{row & 0xFFFF}" if ip else "" for ip, row in ends], column["packets_out"],
            column["packets_in"], column["bytes_out"], column["bytes_in"],
            [max(0, moment.ns - one) / 1e9 for one in ids],
            self._left(protos, states, column["last_seen"], moment.tick), column["alg"], related, strict=True,
        )  # fmt: skip

    def _left(self, protos: Sequence[int], states: Sequence[int], seen: Sequence[int], now: int) -> list[float]:
        """Seconds until each would be over."""
        limits, tick = self._limits, self._tick
        idle = [0 if (passed := now - one & TICK) > AHEAD else passed for one in seen]
        return [(limits[proto][state] - one) * tick for proto, state, one in zip(protos, states, idle, strict=True)]

    def _column(self, name: str, keys: bytes, values: bytes) -> Sequence[int]:
        """A field of each session. Code ">H" is a number of two bytes in network order."""
        part, offset, code = self._places[name]
        raw, stride = (values, self.value_size) if part else (keys, self.key_size)
        if code == "B":
            return raw[offset::stride]
        size = 2 if code == ">H" else array(code).itemsize
        some = memoryview(raw).cast(code[-1])[offset // size :: stride // size]  # type: ignore[call-overload]
        if code != ">H" or sys.byteorder == "big":
            found: list[int] = some.tolist()
            return found
        swapped = array("H", some.tobytes())
        swapped.byteswap()
        return swapped.tolist()


def _counted(octets: Sequence[int], low: Sequence[int]) -> tuple[list[int], list[int]]:
    """Packets and bytes of counters that have grown beyond their low bits."""
    mask = (1 << OCTETS) - 1
    packets = [one >> OCTETS << 32 | less for one, less in zip(octets, low, strict=True)]
    return packets, [one & mask for one in octets]


def _listed(names: Mapping[str, str]) -> list[str]:
    """A word for each byte: its name, or the number."""
    return [names.get(str(number), str(number)) for number in range(256)]
