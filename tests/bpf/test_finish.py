"""Public ports of data sessions: given up when somebody needs one, and the one that rested longest is taken first."""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address

import pytest

from algate.bpf import abi
from algate.bpf.abi import ControlOp, ExpectationState, PortKind, SessionFlag
from algate.bpf.requests import ControlProgram, owner, port_row
from tests import packets
from tests.bpf.flows import answer
from tests.bpf.rig import INSIDE, INSIDE_2, PUBLIC, REDIRECT, REMOTE, SECOND, SHOT, TCP, Rig, session_key, ticks
from tests.bpf.watched import Watched, watch
from tests.packets import GATEWAY_WAN_MAC, WAN_MAC, Flow

FIRST, LAST = 50000, 50007
POOL = LAST - FIRST + 1
OUT, IN = abi.Direction.OUT, abi.Direction.IN
BASE = abi.ConfigFlag.HAIRPIN


@pytest.fixture
def control(rig: Rig) -> ControlProgram:
    return ControlProgram(rig.gateway.fds["control"])


def pool(rig: Rig, last: int = LAST, hold_down: int = 120, **changes: int) -> None:
    for port in range(FIRST, last + 1):
        rig.slot(TCP, port)
    rig.configure(port_first=FIRST, port_last=last, hold_down=hold_down * SECOND, **changes)


class Data:
    """A data connection to the inside host's port `own`, from the server's port 20."""

    def __init__(self, rig: Rig, watched: Watched, own: int, *, keep: bool = False) -> None:
        self.rig, self.own = rig, own
        self.at = [999, 999]  # the next number of the inside and the outside end
        port = rig.reserve(TCP, own, INSIDE, own)
        assert port is not None, "425"
        self.port = port
        self.inside = Flow(INSIDE, own, REMOTE, 20)
        self.outside = Flow(REMOTE, 20, PUBLIC, port, WAN_MAC, GATEWAY_WAN_MAC)
        key = abi.ExpectationKey(
            from_=abi.ip_to_be32(REMOTE), to=abi.ip_to_be32(PUBLIC), to_port=abi.be16(port), proto=TCP, dir=IN
        )
        watched.expect(key, port, ExpectationState.OPEN, inside_port=abi.be16(own), port_index=port_row(0, TCP, port))
        self.come("S")
        self.go("SA")
        rig.gateway.expectations.delete(key)
        if not keep:
            self.release()

    def release(self) -> None:
        who = owner(IPv4Address(INSIDE), self.own, PortKind.RESERVED)
        assert ControlProgram(self.rig.gateway.fds["control"]).release(port_row(0, TCP, self.port), who)

    def come(self, flags: str) -> None:
        assert self.rig.wan_in(self._next(self.outside, 1, flags)).action == REDIRECT

    def go(self, flags: str) -> None:
        assert self.rig.lan(self._next(self.inside, 0, flags)).action == REDIRECT

    def _next(self, flow: Flow, end: int, flags: str) -> bytes:
        frame = packets.tcp(flow, b"", flags, seq=self.at[end], ack=self.at[1 - end])
        self.at[end] += "S" in flags or "F" in flags
        return frame

    def end(self, how: str) -> None:
        steps = {
            "server closes": [(self.come, "FA"), (self.go, "FA"), (self.come, "A")],
            "client closes": [(self.go, "FA"), (self.come, "FA"), (self.go, "A")],
            "server resets": [(self.come, "R")],
            "client resets": [(self.go, "RA")],
            "half": [(self.come, "FA"), (self.go, "A")],
            "both FINs": [(self.come, "FA"), (self.go, "FA")],
        }
        for step, flags in steps[how]:
            step(flags)

    def alive(self) -> bool:
        return self.rig.session(self.inside, TCP) is not None


ENDS = ["server closes", "client closes", "server resets", "client resets"]


@pytest.mark.parametrize("hold_down", [0, 120])
@pytest.mark.parametrize("how", ENDS)
def test_r10_many_transfers_through_few_ports(rig: Rig, how: str, hold_down: int) -> None:
    watched = watch(rig)
    pool(rig, hold_down=hold_down)
    before = [Data(rig, watched, 20000 + n) for n in range(POOL)]
    assert len({data.port for data in before}) == POOL
    for data in before:
        data.end(how)
    for n in range(3 * POOL):
        data = Data(rig, watched, 21000 + n)
        assert data.port == before[n % POOL].port, "not the one that was over longest"
        data.end(how)
    assert rig.slot(TCP, before[0].port).sessions == 1


@pytest.mark.parametrize("how", ["half", "both FINs", "no end"])
def test_a_session_that_goes_on_keeps_its_port(rig: Rig, how: str) -> None:
    watched = watch(rig)
    pool(rig)
    held = [Data(rig, watched, 20000 + n) for n in range(POOL)]
    for data in held:
        if how != "no end":
            data.end(how)
    assert rig.reserve(TCP, 0, INSIDE, 1) is None and all(data.alive() for data in held)


def test_what_was_revived_keeps_its_port(rig: Rig) -> None:
    """RFC 7857 section 2.2; so a forged RST takes nothing from a session that goes on."""
    watched = watch(rig)
    pool(rig)
    held = [Data(rig, watched, 20000 + n) for n in range(POOL)]
    for data in held:
        data.end("server resets")
        data.go("A")
    assert rig.reserve(TCP, 0, INSIDE, 1) is None and all(data.alive() for data in held)
    held[3].end("server closes")
    assert rig.reserve(TCP, 0, INSIDE, 1) == held[3].port


def test_repeated_data_is_not_the_last_ack(rig: Rig) -> None:
    watched = watch(rig)
    pool(rig, FIRST)
    data = Data(rig, watched, 20000)
    data.end("both FINs")
    assert rig.wan_in(packets.tcp(data.outside, b"once more", "PA", seq=991)).action == REDIRECT
    assert rig.reserve(TCP, 0, INSIDE, 1) is None
    data.come("A")
    assert rig.reserve(TCP, 0, INSIDE, 1) == data.port


def test_until_somebody_needs_the_port_a_repeated_fin_is_answered(rig: Rig) -> None:
    watched = watch(rig)
    pool(rig)
    data = Data(rig, watched, 20000)
    data.end("client closes")
    data.at[1] -= 1
    data.come("FA")
    data.go("A")
    assert rig.reserve(TCP, 0, INSIDE, 1) != data.port and data.alive()


def test_a_port_that_others_use_is_not_given_up(rig: Rig) -> None:
    """The reservation still stands, or another host would get it within hold-down: both stay for later."""
    watched = watch(rig)
    pool(rig, FIRST)
    data = Data(rig, watched, 20000, keep=True)
    data.end("server closes")
    assert rig.reserve(TCP, 0, INSIDE, 1) is None and data.alive()
    data.release()
    assert rig.reserve(TCP, 0, INSIDE_2, 1) is None and data.alive()
    assert rig.reserve(TCP, 0, INSIDE, 1) == data.port and not data.alive()


def test_a_control_session_keeps_its_port(rig: Rig) -> None:
    """Only what an expectation made is over for good with its connection."""
    pool(rig, FIRST)
    flow = Flow(INSIDE, 50000, REMOTE, 443)
    rig.lan(packets.tcp(flow, b"", "S"))
    rig.wan_in(packets.tcp(answer(flow, 50000), b"", "SA"))
    rig.lan(packets.tcp(flow, b"", "RA"))
    assert rig.reserve(TCP, 0, INSIDE, 1) is None
    assert rig.lan(packets.tcp(flow.to(source_port=50001), b"", "S")).drops == {"no-port": 1}


def test_passive_mode_of_an_inside_client_too(rig: Rig) -> None:
    """There the port is a mapping's, and the kernel alone finds it."""
    watched = watch(rig)
    pool(rig, flags=BASE | abi.ConfigFlag.ALLOW_LIST)
    for n in range(4 * POOL):
        flow = Flow(INSIDE, 30000 + n, REMOTE, 2020)
        key = abi.ExpectationKey(
            from_=abi.ip_to_be32(INSIDE), to=abi.ip_to_be32(REMOTE), to_port=abi.be16(2020), proto=TCP, dir=OUT
        )
        watched.expect(key, 0, ExpectationState.OPEN)
        out = rig.lan(packets.tcp(flow, b"", "S"))
        assert out.action == REDIRECT, (n, out)
        data = rig.session(flow, TCP)
        assert data is not None and data.flags & SessionFlag.EXPECTED
        port = abi.public_port(data)
        for theirs, ours, at in (("SA", "A", 1000), ("FA", "FA", 1001)):
            rig.wan_in(packets.tcp(answer(flow, port), b"", theirs))
            rig.lan(packets.tcp(flow, b"", ours, ack=at))
        rig.wan_in(packets.tcp(answer(flow, port), b"", "A", seq=1001, ack=1001))


def test_swept_meanwhile(rig: Rig, control: ControlProgram) -> None:
    """Whatever ended the session first: its port goes back once."""
    watched = watch(rig)
    pool(rig, FIRST)
    data = Data(rig, watched, 20000)
    data.end("server closes")
    assert control.keys(ControlOp.KILL, [bytes(session_key(data.inside, TCP))]) == 1
    assert rig.slot(TCP, FIRST).sessions == 0
    assert rig.reserve(TCP, 0, INSIDE, 1) == FIRST and rig.slot(TCP, FIRST).sessions == 1
    assert rig.reserve(TCP, 0, INSIDE, 1) is None


def test_one_port_for_each_of_many_who_want_one_at_once(rig: Rig, control: ControlProgram) -> None:
    """While sessions end for their ports others are killed: nothing is lost or given twice."""
    watched = watch(rig)
    last = FIRST + 31
    pool(rig, last)
    cpus = sorted(os.sched_getaffinity(0))
    for turn in range(4):
        held = [Data(rig, watched, 20000 + 100 * turn + n) for n in range(32)]
        for data in held:
            data.end(ENDS[turn])
        keys = [bytes(session_key(data.inside, TCP)) for data in held]

        def work(worker: int, keys: list[bytes] = keys) -> list[int]:
            os.sched_setaffinity(0, {cpus[worker % len(cpus)]})
            if worker == 3:
                for key in keys[::3]:
                    control.keys(ControlOp.KILL, [key])
                return []
            got = [control.reserve(0, TCP, 0, IPv4Address(INSIDE), 1000 + worker) for _ in range(20)]
            return [port for port in got if port is not None]

        with ThreadPoolExecutor(4) as threads:
            taken = [(worker, port) for worker, ports in enumerate(threads.map(work, range(4))) for port in ports]
        assert len(taken) == len({port for _, port in taken}) > 24
        owned = {port for _, port in taken}
        for data in held:
            assert data.alive() != (data.port in owned or rig.slot(TCP, data.port).owner == 0)
        for worker, port in taken:
            who = owner(IPv4Address(INSIDE), 1000 + worker, PortKind.RESERVED)
            assert (rig.slot(TCP, port).owner, rig.slot(TCP, port).sessions) == (who, 1)
            assert control.release(port_row(0, TCP, port), who)
        control.keys(ControlOp.KILL, keys)
        assert all(rig.slot(TCP, port).sessions == 0 for port in range(FIRST, last + 1))


# -- which port ----------------------------------------------------------------------------------------------------


def rest(rig: Rig, port: int, seconds: float, host: str = INSIDE) -> None:
    """As if the port had been given back so long ago."""
    stamp = (ticks() - int(seconds * SECOND)) % 2**32
    rig.put_slot(TCP, port, abi.PortSlot(stamp=stamp, last_host=abi.ip_to_be32(host)))


def test_r17_a_port_rests_while_others_are_free(rig: Rig, control: ControlProgram) -> None:
    """A server's TIME_WAIT would refuse a connection from its port 20 to the same port (curl #7534)."""
    rig.configure(hold_down=0)
    seen: list[int] = []
    for _ in range(20):
        port = rig.reserve(TCP, 20580, INSIDE, 20580)
        assert port is not None and port not in seen
        seen.append(port)
        control.release(port_row(0, TCP, port), owner(IPv4Address(INSIDE), 20580, PortKind.RESERVED))
    assert seen[0] == 20580


@pytest.mark.parametrize("hold_down", [0, 30, 120])
def test_the_one_unused_longest_when_none_has_rested(rig: Rig, hold_down: int) -> None:
    pool(rig, hold_down=hold_down)
    ages = [5, 40, 17, 3, 50, 29, 11, 1]
    for port, age in enumerate(ages, FIRST):
        rest(rig, port, age)
    for age in sorted(ages, reverse=True):
        assert rig.reserve(TCP, FIRST + 3, INSIDE, 1) == FIRST + ages.index(age)
    assert rig.reserve(TCP, 0, INSIDE, 1) is None


def test_the_only_one_that_has_rested_is_found(rig: Rig) -> None:
    rig.configure(port_first=FIRST, port_last=FIRST + 599, hold_down=0)
    for port in range(FIRST, FIRST + 600):
        rest(rig, port, 5)
    rest(rig, FIRST + 427, 80)
    assert rig.reserve(TCP, FIRST, INSIDE, 1) == FIRST + 427


def test_what_hold_down_keeps_for_others_is_no_choice(rig: Rig) -> None:
    pool(rig)
    for port in range(FIRST, LAST + 1):
        rest(rig, port, 100, INSIDE_2)
    rest(rig, FIRST + 2, 1)
    assert rig.reserve(TCP, FIRST, INSIDE, 1) == FIRST + 2
    assert rig.reserve(TCP, FIRST, INSIDE, 1) is None


def test_nobody_guesses_the_next_port(rig: Rig) -> None:
    """RFC 6056."""
    got = [rig.reserve(TCP, 0, INSIDE, n) for n in range(40)]
    steps = {b - a for a, b in itertools.pairwise(got) if a is not None and b is not None}
    assert len(set(got)) == 40 and len(steps) > 30
    assert rig.wan_in(packets.tcp(Flow(REMOTE, 20, PUBLIC, 50001, WAN_MAC, GATEWAY_WAN_MAC), b"", "S")).action == SHOT


@pytest.mark.parametrize("free", [FIRST, FIRST + 47, FIRST + 48, FIRST + 63])
def test_the_last_free_port_is_found(rig: Rig, control: ControlProgram, free: int) -> None:
    """Wherever it lies: in the words at the edges the bitmap has others' ports too, which nobody took."""
    watched = watch(rig)
    pool(rig, FIRST + 63, hold_down=0)
    done = Data(rig, watched, FIRST + 5)
    done.end("server closes")
    for port in range(FIRST, FIRST + 64):
        assert port in (free, done.port) or rig.reserve(TCP, port, INSIDE, port) == port
    for attempt in range(12):
        flow = Flow(INSIDE, 20000 + attempt, REMOTE, 80)
        assert rig.lan(packets.tcp(flow, b"", "S")).action == REDIRECT
        session = rig.session(flow, TCP)
        assert session is not None and abi.public_port(session) == free
        assert done.alive(), "ended although another port is free"
        control.keys(ControlOp.KILL, [bytes(session_key(flow, TCP))])
