"""Handles of IPv6 addresses that nothing needs any more are freed.

The law of this file: user space only proposes; the control program keeps a handle that somebody asked for meanwhile.
What holds a handle stands in a table by then: handles.h has the argument.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from algate.bpf import abi, ticks
from algate.bpf.loader import Gateway
from algate.bpf.packing import numbers
from algate.bpf.requests import ControlProgram

ROWS_A_TURN = 256  # freed before others work


class HandleSweep:
    """Of one gateway with IPv6; `spare`: what no table had at the last look."""

    def __init__(self, gateway: Gateway, control: ControlProgram) -> None:
        self._gateway, self._control = gateway, control
        self.spare: frozenset[int] = frozenset()
        self.freed = 0

    def run(self, keys: Iterable[bytes]) -> Iterator[None]:
        """Free what no table had, now and at the last look. `keys`: of all sessions, in chunks, read just now."""
        held: set[int] = set()
        for some in keys:
            held.update(numbers("session_key", "inside_ip", some), numbers("session_key", "remote_ip", some))
            yield
        held |= self._expected() | self._set_up()
        idle = max(abi.HANDLE_IDLE, self._gateway.configs[0].hold_down)
        now, spare, hosts = ticks.now(), [], set()
        for found, values, _ in self._gateway.addresses6.chunks():
            columns = [numbers("interned", name, values) for name in ("word", "host")]
            for handle, word, host in zip(memoryview(found).cast("I"), *columns, strict=True):
                if handle in held or (now - word) & 0xFFFFFFFF < idle:
                    hosts.add(host)
                else:
                    spare.append(handle)
            yield
        former, self.spare = self.spare, frozenset(spare) - hosts
        for number, handle in enumerate(sorted(self.spare & former)):
            self.freed += self._control.free(handle.to_bytes(4, sys.byteorder), idle)
            if number % ROWS_A_TURN == ROWS_A_TURN - 1:
                yield

    def _set_up(self) -> set[int]:
        """What stands without a session: the hosts of forwards, and those that have port blocks. Any other owner in
        `ports` is that of a session, or of what reserved the port for a session's host."""
        found = {one.to_ip for _, one in self._gateway.forwards.items() if one.flags & abi.ForwardFlag.USED}
        if self._gateway.configs[0].port_block:
            found |= {row.holder & 0xFFFFFFFF for _, row in self._gateway.port_blocks.items() if row.holder}
        return found

    def _expected(self) -> set[int]:
        found: set[int] = set()
        for key, value in self._gateway.expectations.items():
            parent = value.control_key
            found |= {key.from_, key.to, value.inside_ip, parent.inside_ip, parent.remote_ip}
        return found
