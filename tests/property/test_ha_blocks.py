"""Port blocks of a pair: whatever of them either log has told by the moment of a death, each port that goes on is of
its host's block, and blocks count what is in use.

The model: hosts take blocks, open and end sessions in them and leave them; a block goes from one host to another in
time. Sessions of an ALG are told at once, others by walks, each with the block as it is then.
"""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from algate.alg.engine.effects import SessionKey
from algate.alg.gateway import portblocks, records
from algate.alg.ha import entries as travelling
from algate.alg.ha.entries import Authorship, Entry, EntryKind
from algate.alg.ha.inheriting import inherit
from algate.alg.ha.standby import Standby
from algate.bpf import abi
from algate.bpf.packing import from_native

AUTHOR = Authorship("a", "layout", "boot-1", 5_000_000_000_000, 1000.0)
HEIR = Authorship("b", "layout", "boot-2", 9_000_000_000_000, 1000.0)
SIZE, BLOCKS = 64, 3
REMOTE = bytes((198, 51, 100, 2))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("end"), st.integers(0, 40)),
        st.tuples(st.just("walk")),
    ),
    max_size=60,
)


class Gateway:
    """What the kernel has, and what the two logs were told."""

    def __init__(self) -> None:
        self.clock = 1_000_000
        self.blocks: dict[int, abi.PortBlock] = {}
        self.sessions: dict[int, tuple[bytes, int, bool]] = {}  # id -> key and value, row of `ports`, whether of an ALG
        self.ports: dict[int, abi.PortSlot] = {}
        self.logs = {name: Standby() for name in ("control", "bulk")}
        self.known: set[int] = set()
        for log in self.logs.values():
            log.take([travelling.begin(AUTHOR), Entry(EntryKind.END, b"")])

    def open(self, host: int, watched: bool) -> None:
        self.clock += 1 << 8
        inside = bytes((10, 0, 0, host))
        owner_ip = int.from_bytes(inside, "little")
        mine = [row for row, one in self.blocks.items() if one.holder & 0xFFFFFFFF == owner_ip]
        free = [row for row in range(BLOCKS) if row not in self.blocks]
        if not mine and not free:
            return
        row = mine[0] if mine else free[0]
        if not mine:
            self.blocks[row] = abi.PortBlock(holder=owner_ip, size=SIZE, assigned=self.clock)
        port = next((one for one in range(row * SIZE, (row + 1) * SIZE) if one not in self.ports), None)
        if port is None:
            return
        owner = owner_ip | abi.be16(port) << 32 | int(abi.PortKind.MAPPING) << 48
        self.ports[port] = abi.PortSlot(owner=owner, sessions=1, stamp=self.clock >> 8, forward_id=row + 1)
        self.blocks[row].holder += 1 << 32
        key = records.pack_key(SessionKey(inside, port, REMOTE, 21))
        value = abi.Session(id=self.clock, state=abi.SessionState.ESTABLISHED, port_index=port, acked=(1, 1))
        self.sessions[self.clock] = key + bytes(value), port, watched
        if watched:
            self.tell("control", self.clock)

    def tell(self, log: str, number: int) -> None:
        raw, port, _ = self.sessions[number]
        slot, row = bytes(self.ports[port]), portblocks.counting(bytes(self.ports[port]))
        assert row is not None
        self.logs[log].take([travelling.block(row, bytes(self.blocks[row])), travelling.port(port, slot),
                             Entry(EntryKind.SESSION, travelling.number(number), raw)])  # fmt: skip

    def end(self, place: int) -> None:
        """A session ends, and with the last one of it its block goes back."""
        if not self.sessions:
            return
        number = sorted(self.sessions)[place % len(self.sessions)]
        _, port, watched = self.sessions.pop(number)
        row = self.ports.pop(port).forward_id - 1
        self.blocks[row].holder -= 1 << 32
        if not self.blocks[row].holder >> 32:
            del self.blocks[row]
        if watched:
            self.logs["control"].take([Entry(EntryKind.SESSION, travelling.number(number), None)])

    def walk(self) -> None:
        for number in self.known - self.sessions.keys():
            self.logs["bulk"].take([Entry(EntryKind.SESSION, travelling.number(number), None)])
        for number, (_, _, watched) in self.sessions.items():
            if number not in self.known and not watched:
                self.tell("bulk", number)
        self.known = {number for number, (_, _, watched) in self.sessions.items() if not watched}


@settings(max_examples=250, deadline=None)
@given(STEPS)
def test_ports_that_go_on_are_of_their_hosts_blocks(steps: list[tuple[str, int, bool]]) -> None:
    gateway = Gateway()
    for what, *how in steps:
        getattr(gateway, what)(*how)
    gateway.walk()
    control, bulk = gateway.logs["control"].kept, gateway.logs["bulk"].kept
    assert control is not None
    made = inherit(control, bulk, HEIR)
    assert made.left == 0 and len(made.maps["sessions"]) == len(gateway.sessions)
    slots = {from_native(key): abi.PortSlot.unpack(raw) for key, raw in made.maps["ports"].items()}
    blocks = {from_native(key): abi.PortBlock.unpack(raw) for key, raw in made.maps["port_blocks"].items()}
    used = Counter(slot.forward_id - 1 for slot in slots.values() if slot.owner)
    for port, slot in gateway.ports.items():
        assert slots[port].forward_id == slot.forward_id
        assert blocks[slot.forward_id - 1].holder & 0xFFFFFFFF == slot.owner & 0xFFFFFFFF
    assert {row: one.holder >> 32 for row, one in blocks.items() if one.holder >> 32} == used
