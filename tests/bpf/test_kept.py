"""What is kept of a pair of addresses (kept.h, turn_kept.h) changes no packet, and nobody's name: only the cost."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Any

import pytest

from algate.bpf import abi, syscall
from algate.bpf.requests import ControlProgram
from tests.bpf.rig import INSIDE6, INSIDE6_2, REDIRECT, REMOTE, TCP, UDP, Rig
from tests.bpf.six import back, forwarded, frame, handle, session, tcp, udp
from tests.bpf.turned import fed, four, opened, shown, six

pytestmark = pytest.mark.bpf
TIMES = 4  # the first goes the whole way, the next by what that one left


def freed(rig: Rig, address: str) -> int:
    """Its handle, after every session was ended and the handle freed."""
    control = ControlProgram(rig.gateway.fds["control"], rig.gateway.fds["control6"])
    number = handle(rig, address)
    assert number is not None
    control.keys(abi.ControlOp.KILL, [bytes(key) for key, _ in rig.gateway.sessions.items()])
    assert control.free(number.to_bytes(4, "little"), 0)
    return number


def given(rig: Rig, number: int, address: str) -> None:
    """The handle is another address's now."""
    packed = IPv6Address(address).packed
    row = abi.Interned(word=int(abi.HandleState.LIVE) << 32, host=number)
    row.bytes[:] = [*packed]
    rig.gateway.addresses6.put(number, row)
    syscall.update(rig.gateway.handles.fd, packed, number.to_bytes(4, "little"))


def test_a_freed_handle_names_nobody(rig: Rig) -> None:
    """Whose handle was freed and went to another address isn't taken for that one."""
    for _ in range(TIMES):
        assert rig.lan(frame(udp())).action == REDIRECT
    number = freed(rig, INSIDE6)
    given(rig, number, INSIDE6_2)
    assert rig.lan(frame(udp(), source=INSIDE6_2)).action == REDIRECT
    assert rig.lan(frame(udp())).action == REDIRECT
    assert handle(rig, INSIDE6) not in (None, number)
    for address in (INSIDE6, INSIDE6_2):
        found = session(rig, UDP, 40000, 53, (address, "2001:db8:9::7"))
        assert found is not None and found.packets[0] == 1


def test_nat64_turns_for_whoever_has_the_handle_now(rig64: Rig) -> None:
    opened(rig64)
    for _ in range(TIMES):
        answer = rig64.wan_in(fed(tcp("A", remote=80, back=True)))
        assert answer.data[14:] == six(tcp("A", remote=80, back=True))
    number = freed(rig64, INSIDE6)
    given(rig64, number, INSIDE6_2)
    for flags, turned in (("S", False), ("SA", True), ("A", False), ("A", True)):
        upper = tcp(flags, 40000, 80, back=turned)
        if turned:
            got = rig64.wan_in(fed(upper))
            assert got.data[14:] == six(upper, destination=INSIDE6_2)
        else:
            got = rig64.lan(frame(upper, source=INSIDE6_2, destination=shown(REMOTE)))
        assert got.action == REDIRECT
    rig64.lan(frame(tcp("A", 40000, 80), destination=shown(REMOTE)))
    found = rig64.gateway.sessions.get(next(key for key, _ in rig64.gateway.sessions.items()))
    assert found is not None and found.packets[0] == 2


@pytest.mark.parametrize("size", [0, 1, 1230, 1300])
@pytest.mark.parametrize("other", [False, True], ids=["own port", "another port"])
@pytest.mark.parametrize("proto", [TCP, UDP])
def test_nat64_turns_alike_each_time(rig64: Rig, proto: int, other: bool, size: int) -> None:
    load = bytes(range(256)) * 6
    if other:
        rig64.lan(frame(upper(proto, "S"), source=INSIDE6_2, destination=shown(REMOTE)))
    got = rig64.lan(frame(upper(proto, "S"), destination=shown(REMOTE)))
    port = int.from_bytes(got.data[34:36], "big")
    assert (port != 40000) == other
    rig64.wan_in(fed(upper(proto, "SA", port, True)))
    for _ in range(TIMES):
        sent = upper(proto, "A", 40000, load=load[:size])
        got = rig64.lan(frame(sent, destination=shown(REMOTE), tc=0xB8, fl=5))
        assert got.action == REDIRECT and got.data[12:14] == b"\x08\0"
        assert got.data[14:] == four(got.data, upper(proto, "A", port, load=load[:size]), tos=0xB8)
        got = rig64.wan_in(fed(upper(proto, "A", port, True, load[:size]), tos=0x28))
        assert got.action == REDIRECT and got.data[12:14] == b"\x86\xdd"
        assert got.data[14:] == six(upper(proto, "A", 40000, True, load[:size]), tc=0x28)


@pytest.mark.parametrize("proto", [TCP, UDP])
def test_the_filter_forwards_alike_each_time(rig: Rig, proto: int) -> None:
    assert rig.lan(frame(upper(proto, "S"))).action == REDIRECT
    assert rig.wan_in(back(upper(proto, "SA", back=True))).action == REDIRECT
    for _ in range(TIMES):
        sent, answer = frame(upper(proto, "A", load=b"there")), back(upper(proto, "A", back=True, load=b"back"))
        assert rig.lan(sent).data == forwarded(sent)
        assert rig.wan_in(answer).data == forwarded(answer)


def upper(proto: int, flags: str, port: int = 40000, back: bool = False, load: bytes = b"") -> Any:
    """What follows the IP header, between an inside or public port and port 80."""
    return udp(port, 80, back=back, load=load) if proto == UDP else tcp(flags, port, 80, back=back, load=load)
