"""Two processors create sessions as fast as they can, and then the whole table is examined.

The law of this file: it drives the real programs by test-run and reads every row of their maps; it knows none of the
limits that a test asks for. A refused packet is sent again, as its sender would: only what is refused three times
counts.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from algate.bpf import abi, testrun
from algate.bpf.loader import Gateway
from tests import packets
from tests.bpf.rig import INSIDE, INSIDE_2, LAN, REDIRECT, REMOTE, REMOTE_2, UDP, Rig
from tests.packets import Flow

Senders = tuple[Flow, ...]  # one per processor; a port of 0 runs over all ports
SENDERS = (Flow(INSIDE, 0, REMOTE, 53), Flow(INSIDE_2, 0, REMOTE, 53))  # both want the same ports in the same order
ONE_MAPPING = (Flow(INSIDE, 4000, REMOTE, 0), Flow(INSIDE, 4000, REMOTE_2, 0))  # both use one port
FIRST, LAST = 1024, 65535
PORTS_AT = 34
REPEATS = 3
FORK = get_context("fork")  # the children share descriptors and the network namespace


@dataclass
class Race:
    """What the two senders saw. `filled`: sessions made by both when the first one was refused; None: none was.

    `busy`: whether one is still running.
    """

    made: int = 0
    refused: int = 0
    filled: int | None = None
    busy: Callable[[], bool] = lambda: False


def race(rig: Rig, senders: Senders = SENDERS, *, stop_when_full: bool = False) -> Race:
    """Each sender goes over all ports once, as fast as it can. Returns when both are done."""
    with racing(rig, senders, stop_when_full=stop_when_full) as seen:
        pass
    return seen


@contextmanager
def racing(rig: Rig, senders: Senders = SENDERS, *, stop_when_full: bool = False) -> Iterator[Race]:
    """The same while the block runs; the outcome is filled in at its end."""
    made, refused, filled = (FORK.Array("L", len(senders), lock=False) for _ in range(3))
    begin = FORK.Barrier(len(senders))
    outcome = Race()

    def send(place: int) -> None:
        os.sched_setaffinity(0, {place % (os.cpu_count() or 1)})
        frame = bytearray(packets.udp(senders[place], checksum=0))
        at = PORTS_AT if senders[place].source_port == 0 else PORTS_AT + 2
        context = testrun.skb_context(ifindex=rig.devices[LAN], ingress_ifindex=rig.devices[LAN])
        program = rig.gateway.fds["tc_lan"]
        begin.wait()
        for port in range(FIRST, LAST + 1):
            frame[at : at + 2] = port.to_bytes(2, "big")
            packet = bytes(frame)
            if any(testrun.run(program, packet, context, room=256).value == REDIRECT for _ in range(REPEATS)):
                made[place] += 1
                continue
            refused[place] += 1
            filled[place] = filled[place] or sum(made)
            if stop_when_full:
                return

    children: list[Any] = [FORK.Process(target=send, args=(place,)) for place in range(len(senders))]
    for child in children:
        child.start()
    outcome.busy = lambda: any(child.is_alive() for child in children)
    try:
        yield outcome
    finally:
        for child in children:
            child.join(120)
            if child.is_alive():
                child.kill()
                child.join()
    assert [child.exitcode for child in children] == [0] * len(children), "a sender failed"
    outcome.made, outcome.refused = sum(made), sum(refused)
    outcome.filled = min((one for one in filled if one), default=None)


def faults(gateway: Gateway) -> list[str]:
    """Everything in `sessions`, `mappings` and `ports` that contradicts the rest. Nothing else may be running."""
    owners: dict[tuple[int, int, int], set[tuple[int, int]]] = {}
    references: Counter[int] = Counter()
    wrong = []
    used = {row: slot for row, slot in gateway.ports.items() if slot.owner or slot.away}
    slots = {row: slot for row, slot in used.items() if slot.owner}
    for key, session in gateway.sessions.items():
        owners.setdefault((session.public_ip, abi.public_port(session), key.proto), set()).add(
            (key.inside_ip, key.inside_port)
        )
        references[session.port_index] += 1
        slot = slots.get(session.port_index)
        if slot is None or _owner(slot) != (key.inside_ip, key.inside_port):
            wrong.append(f"row {session.port_index} is not owned by its session's inside end point")
    wrong += [f"public end {end} serves {len(ends)} inside end points" for end, ends in owners.items() if len(ends) > 1]
    held = Counter(mapping.port_index for _, mapping in gateway.mappings.items())
    wrong += [f"row {row} stands in {count} mappings" for row, count in held.items() if count > 1]
    for inside, mapping in gateway.mappings.items():
        slot = slots.get(mapping.port_index)
        if slot is None or _owner(slot) != (inside.inside_ip, inside.inside_port):
            wrong.append(f"a mapping points to row {mapping.port_index}, which another one owns")
        home = slots.get(_home(inside))
        if home and _owner(home) == (inside.inside_ip, inside.inside_port) and mapping.port_index != _home(inside):
            wrong.append(f"the owner of row {_home(inside)} has a mapping elsewhere too")
    away = Counter(_home(inside) for inside, _ in gateway.mappings.items())
    wrong += [
        f"row {row} counts {count} mappings elsewhere, there are {away[row]}"
        for row, count in {row: used[row].away if row in used else 0 for row in used | away}.items()
        if count != away[row]
    ]
    wrong += [
        f"row {row} counts {slot.sessions} sessions, there are {references[row]}"
        for row, slot in slots.items()
        if slot.sessions != references[row]
    ]
    return wrong


def _home(inside: abi.MappingKey) -> int:
    """The first address's row with the end point's own port number."""
    return {6: 0, 17: 1, 1: 2}[inside.proto] << 16 | abi.be16(inside.inside_port)


def _owner(slot: abi.PortSlot) -> tuple[int, int]:
    return slot.owner & 0xFFFFFFFF, slot.owner >> 32 & 0xFFFF


def taken(gateway: Gateway, proto: int = UDP) -> int:
    """The owned rows among the first address's ports of that protocol."""
    start = {6: 0, 17: 1, 1: 2}[proto] << 16
    return sum(1 for row, slot in gateway.ports.items() if start <= row < start + 65536 and slot.owner)
