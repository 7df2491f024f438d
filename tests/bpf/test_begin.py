"""Where the data of a data session begins: noted once both SYNs are seen, forgotten with the session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from algate.alg.audit.transfers import Counters, Payload
from algate.alg.gateway.counted import counters
from algate.bpf import abi, syscall
from algate.bpf.abi import ControlOp
from algate.bpf.requests import ControlProgram
from tests import packets
from tests.bpf.rig import REDIRECT, TCP, Rig, session_key
from tests.bpf.test_finish import Data, pool
from tests.bpf.watched import watch

pytestmark = pytest.mark.bpf


@pytest.fixture
def data(rig: Rig) -> Iterator[Data]:
    """One whose SYN and SYN-ACK have passed, the numbers 999 both."""
    watched = watch(rig)
    pool(rig)
    yield Data(rig, watched, 40_000)


def counted(data: Data, begins: bool = True) -> Counters:
    key = bytes(session_key(data.inside, TCP))
    found = counters(data.rig.gateway, key, begins)
    assert found is not None
    return found


def first(data: Data) -> tuple[int, int] | None:
    return counted(data).begins


def test_both_beginnings_are_noted_with_the_second_syn(data: Data) -> None:
    assert first(data) == (1000, 1000)
    assert counted(data, begins=False).begins is None
    key = bytes(session_key(data.inside, TCP))
    data.rig.gateway.beginnings.delete(counted(data).id)
    frame = packets.tcp(data.inside, b"", "SA", seq=5_000, ack=1000)
    data.rig.lan(frame)
    assert first(data) is None, "a SYN that nobody accepts tells nothing"
    assert syscall.lookup(data.rig.gateway.sessions.fd, key, data.rig.gateway.sessions.value.size)


def test_a_repeated_syn_changes_nothing_once_data_came(data: Data) -> None:
    data.come("A")
    assert data.rig.wan_in(packets.tcp(data.outside, b"x" * 100, "PA", seq=1000, ack=1000)).action == REDIRECT
    assert data.rig.lan(packets.tcp(data.inside, b"", "A", seq=1000, ack=1100)).action == REDIRECT
    data.rig.lan(packets.tcp(data.inside, b"", "SA", seq=999, ack=1000))
    assert first(data) == (1000, 1000)
    now = counted(data)
    assert now.next[1] - 1000 == 100 and now.fins == (False, False)


def test_what_is_repeated_counts_once(data: Data) -> None:
    data.come("A")
    for _ in range(3):
        assert data.rig.wan_in(packets.tcp(data.outside, b"x" * 100, "PA", seq=1000, ack=1000)).action == REDIRECT
    book = Payload()
    book.follow(counted(data))
    assert book.of(counted(data), 1) == 100 < counted(data).octets[1] - 300


def test_fins_are_known_by_direction(data: Data) -> None:
    data.come("A")
    data.come("FA")
    assert counted(data).fins == (False, True)
    data.go("FA")
    assert counted(data).fins == (True, True)
    data.come("A")
    assert counted(data).fins == (True, True) and counted(data).ended == "closed"


def test_it_is_forgotten_with_the_session(data: Data) -> None:
    number, gateway = counted(data).id, data.rig.gateway
    assert gateway.beginnings.get(number) is not None
    ControlProgram(gateway.fds["control"]).keys(ControlOp.KILL, [bytes(session_key(data.inside, TCP))])
    assert gateway.beginnings.get(number) is None and gateway.relations.get(number) is None


def test_a_usual_session_has_no_row(rig: Rig) -> None:
    flow = packets.Flow("10.0.0.2", 40_100, "198.51.100.7", 80)
    rig.lan(packets.tcp(flow, b"", "S", seq=1))
    made = rig.session(flow, TCP)
    assert made is not None and made.state & 0xFF == abi.SessionState.NEW
    assert len(rig.gateway.beginnings) == 0
