"""What is kept of a pair of addresses (kept.h, turn_kept.h) changes no packet, and nobody's name: only the cost."""

from __future__ import annotations

import subprocess
import time
from ipaddress import IPv6Address
from itertools import pairwise
from typing import Any

import pytest

from algate.alg.engine.digest import digest
from algate.bpf import abi, syscall
from algate.bpf.requests import ControlProgram
from tests.bpf.flows import FLOW, answer, frame_of, open_session
from tests.bpf.rig import INSIDE, INSIDE6, INSIDE6_2, LAN, REDIRECT, REMOTE, ROUTER, SECRET, TCP, UDP, WAN, Rig
from tests.bpf.six import back, forwarded, frame, handle, session, tcp, udp
from tests.bpf.turned import fed, four, opened, shown, six
from tests.bpf.turned import session as of_nat64
from tests.bpf.watched import FTP
from tests.packets import GATEWAY_LAN_MAC, GATEWAY_WAN_MAC, LAN_MAC, WAN_MAC

pytestmark = pytest.mark.bpf
KEPT = 0.14  # s, HOP_TICKS
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


def test_nat64_leaves_with_the_neighbour_s_address_for_a_moment(rig64: Rig) -> None:
    opened(rig64)
    out = frame(tcp("A", 40000, 80), destination=shown(REMOTE))
    follow_neighbours(rig64, out, fed(tcp("A", remote=80, back=True)), INSIDE6)


def test_ipv4_leaves_with_the_neighbour_s_address_for_a_moment(rig: Rig) -> None:
    open_session(rig, "udp")
    follow_neighbours(rig, frame_of("udp", FLOW), frame_of("udp", answer(FLOW, 40000), reply=True), INSIDE)


def follow_neighbours(rig: Rig, out: bytes, inward: bytes, host: str) -> None:
    """Both ways the first packet of each answer leaves it to the kernel, others leave with the neighbour's address;
    where that has become another one, it is meant from then on."""
    one, other = (WAN_MAC, LAN_MAC), ("02:00:00:00:aa:01", "02:00:00:00:aa:02")
    try:
        for macs in (one, other):
            neighbours(macs, host)
            ways = ((rig.lan, out, macs[0], GATEWAY_WAN_MAC), (rig.wan_in, inward, macs[1], GATEWAY_LAN_MAC))
            for act, sent, mac, own in ways:
                known = bytes.fromhex((mac + own).replace(":", ""))
                for _ in range(4):
                    time.sleep(2 * KEPT)
                    assert act(sent).link == sent[:12]
                    seen = {act(sent).link for _ in range(4)}
                    assert seen <= {known, sent[:12]}
                    if known in seen:
                        break
                else:
                    pytest.fail("no packet left with it")
    finally:
        neighbours(one, host)


def neighbours(macs: tuple[str, str], host: str) -> None:
    for ip, mac, device in ((ROUTER, macs[0], WAN), (host, macs[1], LAN)):
        subprocess.run(["ip", "neigh", "replace", ip, "lladdr", mac, "dev", device, "nud", "permanent"], check=True)


def test_nat64_counts_a_session_s_small_packets(rig64: Rig) -> None:
    """What others may fragment: the ids count up, and not each session begins with the same one."""
    firsts = set()
    for port in range(40000, 40004):
        for flags, inward in (("S", False), ("SA", True), ("A", False)):
            upper = tcp(flags, port, 80, back=inward)
            if inward:
                rig64.wan_in(fed(upper))
            else:
                rig64.lan(frame(upper, destination=shown(REMOTE)))
        ids = []
        for _ in range(8 * TIMES):
            got = rig64.lan(frame(tcp("A", port, 80), destination=shown(REMOTE)))
            ids.append(int.from_bytes(got.data[18:20], "big"))
        fin = rig64.lan(frame(tcp("FA", port, 80), destination=shown(REMOTE)))
        assert int.from_bytes(fin.data[18:20], "big") != ids[-1], "what is judged elsewhere is numbered alike"
        steps = [(b - a) & 0xFFFF for a, b in pairwise(ids)]
        assert steps.count(1) > len(steps) / 2
        firsts.add(ids[-1])
    assert len(firsts) > 1


@pytest.mark.parametrize("other", [False, True], ids=["own port", "another port"])
def test_nat64_turns_a_control_session_s_packets_alike_each_time(rig64: Rig, other: bool) -> None:
    """They meet the gate whichever way they came to it: what was decided leaves, whatever else is held."""
    rig64.beat()
    rig64.gateway.alg_ports.put(abi.ServiceKey(port=abi.be16(21), proto=TCP), FTP)
    if other:
        rig64.lan(frame(tcp("S", remote=21), source=INSIDE6_2, destination=shown(REMOTE)))
    got = rig64.lan(frame(tcp("S", remote=21), destination=shown(REMOTE)))
    port = int.from_bytes(got.data[34:36], "big")
    assert (port != 40000) == other
    assert rig64.wan_in(fed(tcp("SA", port, 21, back=True))).action == REDIRECT
    made = of_nat64(rig64, remote=21)
    assert made is not None and made.alg == FTP
    for way, line in enumerate((b"NOOP\r\n", b"200 ok\r\n")):
        key = abi.DecisionKey(id=made.id, seq=1000, size=len(line), dir=way)
        rig64.gateway.decisions.put(key, abi.Decision(digest=digest(SECRET, line), verdict=abi.Verdict.PASS))
    for number in range(TIMES):
        for load in (b"", b"NOOP\r\n"):
            got = rig64.lan(frame(tcp("PA", remote=21, load=load), destination=shown(REMOTE), tc=0xB8))
            assert got.action == REDIRECT and got.data[12:14] == b"\x08\0"
            assert got.data[14:] == four(got.data, tcp("PA", port, 21, load=load), tos=0xB8)
        for load in (b"", b"200 ok\r\n"):
            got = rig64.wan_in(fed(tcp("PA", port, 21, back=True, load=load), tos=0x28))
            assert got.action == REDIRECT and got.data[12:14] == b"\x86\xdd"
            assert got.data[14:] == six(tcp("PA", remote=21, back=True, load=load), tc=0x28)
        held = rig64.lan(frame(tcp("PA", remote=21, load=b"USER %d\r\n" % number), destination=shown(REMOTE)))
        assert held.drops == {"punt-held": 1}
        held = rig64.wan_in(fed(tcp("PA", port, 21, back=True, load=b"331 %d\r\n" % number)))
        assert held.drops == {"punt-held": 1}
    made = of_nat64(rig64, remote=21)
    assert made is not None and (made.packets[0], made.packets[1]) == (1 + 2 * TIMES, 1 + 2 * TIMES)


@pytest.mark.parametrize("ahead", [0, 1], ids=["the whole way", "by what is kept"])
@pytest.mark.parametrize("last", ["FA", "RA"])
def test_nat64_ends_a_session_alike(rig64: Rig, last: str, ahead: int) -> None:
    """What ends one is judged before it leaves, turned by what is kept or not."""
    opened(rig64)
    for _ in range(ahead):
        rig64.lan(frame(tcp("A", 40000, 80), destination=shown(REMOTE)))
        rig64.wan_in(fed(tcp("A", remote=80, back=True)))
    got = rig64.lan(frame(tcp(last, 40000, 80), destination=shown(REMOTE)))
    assert got.action == REDIRECT and got.data[14:] == four(got.data, tcp(last, 40000, 80))
    found = of_nat64(rig64)
    state = abi.SessionState.FIN_OUT if last == "FA" else abi.SessionState.RESET
    assert found is not None and found.state & 0xFF == state
    assert found.packets[0] == 3 + ahead
    got = rig64.wan_in(fed(tcp(last, remote=80, back=True, ack=1001 if last == "FA" else 1000)))
    assert got.data[14:] == six(tcp(last, remote=80, back=True, ack=1001 if last == "FA" else 1000))
    assert of_nat64(rig64).packets[1] == 2 + ahead  # type: ignore[union-attr]


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
