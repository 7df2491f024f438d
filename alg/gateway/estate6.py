"""IPv6 in an estate: the handles that its sessions and expectations stand for, and nothing of it where that is off.

The law of this file: pure, on raw entries. A handle keeps its number, since keys hold it; only `addresses6` travels,
and `handles`, the way back, is made of it. Handles that nothing needs stay behind.
"""

from __future__ import annotations

from collections.abc import Iterator

from algate.alg.gateway import records
from algate.alg.gateway.addresses import is_handle
from algate.bpf import abi, ticks
from algate.bpf.packing import native

Raw = dict[bytes, bytes]
ROWS = ("addresses6", "allow_in", "allow_in_sources")  # maps that there are with IPv6 alone


def stands(key: bytes, rows: Raw) -> bool:
    """Whether the addresses of a session's handles are known."""
    flow = records.unpack_key(key)
    return all(ip in rows for ip in (flow.inside_ip, flow.remote_ip) if is_handle(ip))


def settle(maps: dict[str, Raw]) -> None:
    """Keep the handles that settled sessions and expectations need, as if somebody had just asked for them."""
    rows = maps["addresses6"]
    needed = {ip for ip in _needed(maps) if ip in rows}
    needed |= {host for ip in needed if (host := counted_as(ip, rows)) in rows}
    kept = {}
    for ip in needed:
        row = abi.Interned.unpack(rows[ip])
        row.word = int(abi.HandleState.LIVE) << 32 | ticks.now()
        kept[ip] = bytes(row)
    maps["addresses6"] = kept


def _needed(maps: dict[str, Raw]) -> Iterator[bytes]:
    for key in maps["sessions"]:
        flow = records.unpack_key(key)
        yield flow.inside_ip
        yield flow.remote_ip
    for raw, value in maps["expectations"].items():
        one, to = abi.Expectation.unpack(value), abi.ExpectationKey.unpack(raw)
        for ip in (to.from_, to.to, one.inside_ip, one.control_key.inside_ip, one.control_key.remote_ip):
            yield native(ip, 4)
    for value in maps["forwards"].values():
        yield native(abi.Forward.unpack(value).to_ip, 4)
    for value in maps["port_blocks"].values():
        yield native(abi.PortBlock.unpack(value).holder & 0xFFFFFFFF, 4)


def counted_as(ip: bytes, rows: Raw) -> bytes:
    """Under which address or handle a host is counted (handles.h)."""
    return native(abi.Interned.unpack(rows[ip]).host, 4) if ip in rows else ip


def handles(rows: Raw) -> Raw:
    """`handles` for these rows of `addresses6`."""
    return {value[:16]: key for key, value in rows.items()}


def leave_out(maps: dict[str, Raw]) -> int:
    """Leave behind all of IPv6, for a gateway that has none. Returns how many sessions that were."""
    gone = [key for key in maps["sessions"] if _of_six(key)]
    for key in gone:
        del maps["sessions"][key]
    for name in ROWS:
        maps[name] = {}
    return len(gone)


def _of_six(key: bytes) -> bool:
    flow = records.unpack_key(key)
    return is_handle(flow.inside_ip) or is_handle(flow.remote_ip)
