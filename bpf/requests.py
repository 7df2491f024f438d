"""Requests to the control program: what user space must leave to the kernel, since it can't compare and swap.

The law of this file: struct control in, struct control out, by test-run. It decides nothing.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address

from algate.bpf import abi, calls
from algate.bpf.packing import packing

_CONTROL = packing("control", "op count port_index error owner flags age keys")
_HANDLE = packing("handle_request", "op count handle error idle bytes")
_HANDLES = bytes(abi.CONTROL_BATCH * 24)  # so that the request is as long as one with keys
_ETHERNET = bytes(14)
_REMOTE = 4  # where the other end's address begins in struct session_key
TRIES = 32  # tries for a public port; each finds one if the bitmap shows any
CLASS_OF = {6: int(abi.ProtoClass.TCP), 17: int(abi.ProtoClass.UDP), 1: int(abi.ProtoClass.ICMP)}


def port_row(address: int, proto: int, port: int) -> int:
    """Row of `ports`: `address` is the position of the public address in struct config."""
    return ((address * 3 + CLASS_OF[proto]) << 16) | port


def owner(ip: IPv4Address, port: int, kind: abi.PortKind) -> int:
    """struct port_slot's owner word for an inside end point."""
    host = int.from_bytes(int(ip).to_bytes(4, "big"), sys.byteorder)  # abi's function takes three times as long
    return host | int.from_bytes(port.to_bytes(2, "big"), sys.byteorder) << 32 | int(kind) << 48


class ControlProgram:
    """The control program of a loaded gateway, and the one for IPv6, -1: that isn't loaded."""

    def __init__(self, fd: int, six: int = -1) -> None:
        self._fd, self._six = fd, six

    def _call(self, op: abi.ControlOp, count: int, index: int, who: int, keys: bytes) -> tuple[int, int, int]:
        return self._ask(op, count, index, who, keys)[:3]

    def _ask(
        self, op: abi.ControlOp, count: int, index: int, who: int, keys: bytes = b"", flags: int = 0
    ) -> tuple[int, int, int, int]:
        request = _ETHERNET + _CONTROL.pack(op, count, index, 0, who, flags, 0, keys)
        answer = calls.request(self._fd, request)
        _, acted, row, error, _, _, age, _ = _CONTROL.unpack_from(answer, len(_ETHERNET))
        return acted, row, error, age

    def keys(self, op: abi.ControlOp, keys: Sequence[bytes]) -> int:
        """SWEEP, KILL, REFRESH or BYPASS for packed session keys; how many were acted on."""
        if self._six < 0:
            return self._some_keys(self._fd, op, keys)
        handles = [key for key in keys if not key[0] and not key[_REMOTE]]  # both ends: NAT64's are as IPv4's
        others = [key for key in keys if key[0] or key[_REMOTE]] if handles else keys
        return self._some_keys(self._fd, op, others) + self._some_keys(self._six, op, handles)

    def _some_keys(self, fd: int, op: abi.ControlOp, keys: Sequence[bytes]) -> int:
        acted = 0
        for start in range(0, len(keys), abi.CONTROL_BATCH):
            some = keys[start : start + abi.CONTROL_BATCH]
            request = _ETHERNET + _CONTROL.pack(op, len(some), 0, 0, 0, 0, 0, b"".join(some))
            answer = calls.request(fd, request)
            acted += _CONTROL.unpack_from(answer, len(_ETHERNET))[1]
        return acted

    def _ask_handle(self, op: abi.HandleOp, handle: bytes, idle: int, address: bytes) -> tuple[int, bytes, int]:
        request = _ETHERNET + _HANDLE.pack(op, 0, handle, 0, idle, address) + _HANDLES
        answer = calls.request(self._six, request)
        _, count, handle, error, _, _ = _HANDLE.unpack_from(answer, len(_ETHERNET))
        return count, handle, error

    def intern(self, address: bytes) -> bytes | None:
        """The handle of an IPv6 address, made if it has none; it stays at least as long as anything in the tables has
        it. None: there is no room, or no IPv6."""
        if self._six < 0:
            return None
        _, handle, error = self._ask_handle(abi.HandleOp.INTERN, bytes(4), 0, address)
        return None if error else handle

    def free(self, handle: bytes, idle: int) -> bool:
        """Free a handle that no table has, unless somebody asked for it within `idle` ticks."""
        return bool(self._ask_handle(abi.HandleOp.FREE, handle, idle, bytes(16))[0])

    def reserve(
        self,
        address: int,
        proto: int,
        port: int,
        ip: IPv4Address,
        inside_port: int,
        before_ending: Callable[[], None] = lambda: None,
    ) -> int | None:
        """Reserve `port` of a public address, or another (`port` 0: any). The port reserved, or None.

        Ports that nobody used for abi.PORT_REST come first, in no order that an outsider could guess (RFC 6056); then
        the one unused longest; then that of the data session that has been over longest, which ends for it:
        `before_ending` is called then.
        """
        who = owner(ip, inside_port, abi.PortKind.RESERVED)
        row = port_row(address, proto, port)
        got = self._search(row, who, 0)
        if got is None:
            oldest = self._oldest(row & ~0xFFFF, who)
            if oldest is None:
                before_ending()
            got = self._search(row if oldest is None else oldest, who, int(abi.ReserveFlag.TIRED))
        return got

    def _search(self, row: int, who: int, flags: int) -> int | None:
        following = 0
        for _ in range(TRIES):
            following, got, error, _ = self._ask(abi.ControlOp.RESERVE, following, row, who, flags=flags)
            if not error:
                return got & 0xFFFF
            if not following and not flags:  # none that has rested
                break
        return None

    def _oldest(self, block: int, who: int) -> int | None:
        """The row of a block that was in use longest ago and that `who` may have; any one that has rested will do."""
        best: tuple[int, int] | None = None
        for start in (random.randrange(0x10000), 0):
            following = start
            while True:
                following, row, error, age = self._ask(abi.ControlOp.OLDEST, 0, block | following, who)
                if not error and (best is None or age > best[0]):
                    best = age, row
                if not following or (best and best[0] >= abi.PORT_REST):
                    break
            if best and best[0] >= abi.PORT_REST:
                break
        return best[1] if best else None

    def agree(self, key: bytes, number: int) -> bool:
        """Open a pending expectation, by its packed key and its id. False: it isn't there, or isn't pending."""
        return bool(self._call(abi.ControlOp.AGREE, 0, 0, number, key)[0])

    def withdraw(self, block: int) -> bool:
        """Take the port block in that row of `port_blocks` back. False: it isn't held, or was in use a moment ago."""
        return not self._call(abi.ControlOp.UNBLOCK, 0, block, 0, b"")[2]

    def age_ports(self, row: int) -> int:
        """Free what hold-down and idle claims kept among abi.AGED_ROWS rows from `row` on; how many were freed."""
        return self._call(abi.ControlOp.AGE_PORTS, 0, row, 0, b"")[0]

    def claim(self, row: int, who: int, first: int) -> bool:
        """Hold that row of `ports` in the shared block whose first port is `first`. False: somebody else has it."""
        return not self._call(abi.ControlOp.CLAIM, first, row, who, b"")[2]

    def release(self, row: int, who: int, first: int = 0) -> bool:
        """Give a row of `ports` back; `first`: of its shared block. False: it isn't, or is no longer, this owner's."""
        return bool(self._call(abi.ControlOp.RELEASE, first, row, who, b"")[0])

    def serve(self, row: int, who: int, forward: int) -> bool:
        """Give a row of `ports` to the forward with that index. False: an inside host's mapping holds the port."""
        return bool(self._call(abi.ControlOp.RESERVE, forward, row, who, b"")[0])
