"""Requests to the control program: what user space must leave to the kernel because it can't compare and swap.

The law of this file: struct control in, struct control out, by test-run. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

from algate.bpf import abi, testrun
from algate.bpf.packing import packing

_CONTROL = packing("control", "op count port_index error owner keys")
_ETHERNET = bytes(14)
TRIES = 32  # at a public port; each finds one if the bitmap shows any
CLASS_OF = {6: abi.ProtoClass.TCP, 17: abi.ProtoClass.UDP, 1: abi.ProtoClass.ICMP}


def port_row(address: int, proto: int, port: int) -> int:
    """Row of `ports`: `address` is the position of the public address in struct config."""
    return ((address * 3 + CLASS_OF[proto]) << 16) | port


def owner(ip: IPv4Address, port: int, kind: abi.PortKind) -> int:
    """struct port_slot's owner word for an inside end point."""
    return abi.ip_to_be32(ip) | abi.be16(port) << 32 | int(kind) << 48


class Control:
    """The control program of a loaded gateway."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def _call(self, op: abi.ControlOp, count: int, index: int, who: int, keys: bytes) -> tuple[int, int, int]:
        request = _ETHERNET + _CONTROL.pack(op, count, index, 0, who, keys)
        answer = testrun.run(self._fd, request, room=len(request)).data
        _, acted, row, error, _, _ = _CONTROL.unpack_from(answer, len(_ETHERNET))
        return acted, row, error

    def keys(self, op: abi.ControlOp, keys: Sequence[bytes]) -> int:
        """SWEEP, KILL, REFRESH or BYPASS for packed session keys. How many were acted upon."""
        acted = 0
        for start in range(0, len(keys), abi.CONTROL_BATCH):
            some = keys[start : start + abi.CONTROL_BATCH]
            acted += self._call(op, len(some), 0, 0, b"".join(some))[0]
        return acted

    def reserve(self, address: int, proto: int, port: int, ip: IPv4Address, inside_port: int) -> int | None:
        """Reserve `port` of a public address, or another if it is taken (0: any). The port that was got, or None."""
        who = owner(ip, inside_port, abi.PortKind.RESERVED)
        following = 0
        for _ in range(TRIES):
            answer, row, error = self._call(abi.ControlOp.RESERVE, following, port_row(address, proto, port), who, b"")
            if not error:
                return row & 0xFFFF
            following = answer
        return None

    def age_ports(self, row: int) -> int:
        """Give back what hold-down and idle claims kept among abi.AGED_ROWS rows from `row` on. How many."""
        return self._call(abi.ControlOp.AGE_PORTS, 0, row, 0, b"")[0]

    def claim(self, row: int, who: int, first: int) -> bool:
        """Hold that row of `ports` in the shared block whose first port is `first`. False: somebody else has it."""
        return not self._call(abi.ControlOp.CLAIM, first, row, who, b"")[2]

    def release(self, row: int, who: int, first: int = 0) -> bool:
        """Give a row of `ports` back; `first`: of its shared block. False: it isn't this owner's (any more)."""
        return bool(self._call(abi.ControlOp.RELEASE, first, row, who, b"")[0])

    def serve(self, row: int, who: int, forward: int) -> bool:
        """Make a row of `ports` a forward's, `forward` its index. False: an inside host's mapping holds the port."""
        return bool(self._call(abi.ControlOp.RESERVE, forward, row, who, b"")[0])
