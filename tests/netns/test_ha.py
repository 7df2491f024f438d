"""Two gateways, an engine beside each, keepalived: what goes on when the one that leads yields, and when it dies."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest

from algate.alg.gateway.fence import LEASE
from algate.bpf import abi, pins, syscall
from algate.bpf.pinned import Pinned
from algate.cli.lab.crowd import Crowd, EndProgram
from algate.cli.lab.gateways import algate
from algate.cli.lab.judge import Mode
from algate.cli.lab.lab import LAN_DEVICE, WAN_DEVICE, LabPlan, ip
from algate.cli.lab.pair import Node, PairLab, engine
from algate.cli.lab.pair_trial import Fetches, start
from algate.cli.lab.servers import FtpServer
from algate.client import Client
from tests.netns.pinned import entries
from tests.netns.talk import CONTENT, Echo, Line, Talker

ECHO = 7007
MODES = (Mode.PORT, Mode.EPRT, Mode.PASV, Mode.EPSV)
BUSY, MANY, TURNS = 20, 200, 6  # control sessions that talk all the time when a node dies, and deaths
GAP = 5.0  # s; a fifth of a second where nobody else is at work: TCP's first repetition


@pytest.fixture
def lab() -> Iterator[PairLab]:
    made = PairLab(LabPlan(public=("198.51.100.200",)))  # longer in a PORT than the client's own
    with made:
        yield made


@pytest.fixture
def pair(lab: PairLab) -> Iterator[tuple[Node, Node]]:
    """The first leads, the second is in step."""
    nodes = start(lab)
    yield nodes
    for one in nodes:
        one.stop()
    lab.hosts["witness"].stop_all()


def wait_for(other: Node, line: Line) -> float:
    """Until the other node leads; the longest that an echo was waited for."""
    worst, began, led = 0.0, time.monotonic(), False
    while not led:
        led = other.status()["role"] == "leads"
        asked = time.monotonic()
        assert line.ask(b"go on") == b"go on"
        worst = max(worst, time.monotonic() - asked)
        assert asked - began < 60
    return worst


def check(lines: Sequence[Line], talkers: Sequence[Talker], turn: int) -> None:
    """All go on: the connections, the control connections, transfers in all modes."""
    assert all(line.ask(b"ping") == b"ping" for line in lines)
    for place, talker in enumerate(talkers):
        assert talker.fetch("pub/file", MODES[(place + turn) % 4]) == CONTENT
        assert talker.say("NOOP").startswith("200")


def sleep_and_wake(one: Node, other: Node) -> None:
    """The node that leads is stopped, with its keepalived, until the other leads; woken, it finds that and stands by,
    though VRRP would prefer its address."""
    asleep = [each.pid for each in (one.process, one.keeper) if each is not None]
    for pid in asleep:
        os.killpg(pid, signal.SIGSTOP)
    other.until(lambda: other.status()["state"] == "in step" and other.status()["role"] == "leads")
    for pid in asleep:
        os.killpg(pid, signal.SIGCONT)
    one.until(lambda: one.status()["role"] == "stands by" and one.status()["state"] == "in step")
    assert other.status()["role"] == "leads"


def die_between_writes(one: Node, crowd: Crowd, port: int, number: int, seed: int = 0) -> EndProgram:
    """Cut a node off while its helper writes for so many control sessions: at a moment that has to do with nothing."""
    busy = crowd.near("control", port)
    busy.do("connect", number)
    busy.do("begin", seed)
    time.sleep(0.2 + random.Random(seed).random())
    one.die()
    return busy


def all_go_on(busy: EndProgram, number: int) -> None:
    """The command that was under way was answered, and the next ones work, in each session."""
    told = busy.do("end")
    assert (told["answered"], told["next"]) == (number, number), told


def die_in_turn(lab: PairLab, server: FtpServer, one: Node, other: Node) -> None:
    """One node after the other, each time with MANY control sessions that talk and a transfer in each mode."""
    with Crowd(lab.client, lab.server, lab.plan.servers[0]) as crowd:
        for seed in range(TURNS):
            one.revive()
            one.rejoin()
            one, other = other, one
            running = Fetches(lab, server, crowd.address)
            busy = die_between_writes(one, crowd, server.port, MANY, seed)
            other.until(lambda node=other: node.status()["role"] == "leads")
            all_go_on(busy, MANY)
            assert all(running.whole().values()), f"seed {seed}"
            busy.close()


def take_addresses(lab: PairLab, node: Node) -> None:
    """Give the node those that keepalived moves."""
    inside = f"{lab.plan.gateway}/{lab.plan.inside_length} dev {LAN_DEVICE}"
    ip("\n".join(f"addr add {one}" for one in (inside, f"{lab.plan.public[0]}/32 dev {WAN_DEVICE}")), node.host.netns)


def knock(lab: PairLab, node: Node, address: str) -> None:
    """Begin something new through this node, whatever the inside switch has learnt."""
    link = json.loads(node.host.run(["ip", "-j", "link", "show", LAN_DEVICE], check=True).stdout)[0]["address"]
    ip(f"neigh replace {lab.plan.gateway} lladdr {link} dev eth0 nud permanent", lab.client.netns)
    for _ in range(20):
        with lab.client.socket(kind=socket.SOCK_DGRAM) as end:
            end.sendto(b"knock", (address, ECHO))
    time.sleep(0.2)


def refused(node: Node) -> int:
    """Packets that this node's kernel refused for want of a lease."""
    number = next(number for number, (name, _) in abi.reasons().items() if name == "no-lease")
    with Pinned(pins.folder(node.run_dir) / abi.layout_hash()) as maps:
        return maps.counters("drops")[number]


def owners(node: Node) -> dict[bytes, tuple[int, int]]:
    """Row of `ports` -> who has it: of the rows that sessions stand on, or are held."""
    with Pinned(pins.folder(node.run_dir) / abi.layout_hash()) as maps:
        rows = ((key, abi.PortSlot.unpack(value)) for key, value in maps.items("ports") if any(value))
        return {key: (one.owner, one.sessions) for key, one in rows if one.owner and one.sessions}


def test_a_stopped_daemon_has_no_lease_and_two_addresses_have_one_leader(
    lab: PairLab, server: FtpServer, pair: tuple[Node, Node]
) -> None:
    """The daemon that leads is stopped while its programs run on: they give out no port once its lease is over, and
    the address goes to the other node. Then both have the addresses: no public port has two owners, whoever asks."""
    address, (one, other) = lab.plan.servers[0], pair
    with ExitStack() as stack:
        stack.enter_context(Echo(lab.server, ECHO))
        lines = [stack.enter_context(Line(lab.client, address, ECHO)) for _ in range(20)]
        talker = stack.enter_context(Talker(lab.client, address, server.login))
        check(lines, [talker], 0)
        other.until(lambda: other.status()["sessions"] >= 21)
        assert one.process is not None
        one.process.process.send_signal(signal.SIGSTOP)
        assert wait_for(other, lines[0]) < GAP  # keepalived has seen that nobody gives signs of life
        stack.enter_context(Line(lab.client, address, ECHO))
        check(lines, [talker], 1)
        for node in (one, other):  # VRRP is cut: both have the addresses, and the inside one answers here or there
            assert node.keeper is not None
            node.keeper.kill()
        take_addresses(lab, one)
        time.sleep(LEASE)  # counted from its last renewal, some seconds ago
        knock(lab, one, address)
        assert refused(one) >= 20
        one.process.process.send_signal(signal.SIGCONT)
        one.until(lambda: one.status().get("fenced"))
        assert other.status()["role"] == "leads" and not other.status()["fenced"]
        knock(lab, one, address)
        knock(lab, other, address)
        theirs, ours = owners(one), owners(other)
        assert {row for row in theirs.keys() & ours.keys() if theirs[row][0] != ours[row][0]} == set()


def agreement(node: Node, peer: Node) -> tuple[int, set[str]]:
    """What `algate check --live --both` says on a node: its exit code, and the rules that are broken."""
    words = ["check", "--live", "--both", "--peer", str(peer.run_dir), "--json", "--run-dir", str(node.run_dir)]
    done = node.host.run([*algate(), *words])
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, {one["rule"] for one in json.loads(done.stdout)}


def agree_but_for_planted_faults(one: Node, other: Node) -> None:
    """The first leads: both say the same of both, and what is wrong on either is found."""
    assert agreement(one, other) == agreement(other, one) == (0, set())
    with Pinned(pins.folder(one.run_dir) / abi.layout_hash()) as maps:
        key, raw = next(maps.items("adjusts"))
        shifted = abi.Adjust.unpack(raw)
        shifted.base[0] += 1
        syscall.update(maps.fd("adjusts"), key, bytes(shifted))
        found = agreement(one, other)
        syscall.update(maps.fd("adjusts"), key, raw)
        assert found == (1, {"delta"})
    with Pinned(pins.folder(other.run_dir) / abi.layout_hash()) as maps:
        rows = ((row, abi.PortSlot.unpack(slot)) for row, slot in maps.items("ports") if any(slot))
        row, slot = next((row, slot) for row, slot in rows if slot.owner and slot.sessions)
        whole = bytes(slot)
        slot.owner ^= 1
        syscall.update(maps.fd("ports"), row, bytes(slot))
        found = agreement(one, other)
        syscall.update(maps.fd("ports"), row, whole)
        assert found == (1, {"two-owners"})


def settle(one: Node, other: Node) -> None:
    """Until the other node knows all that there is now."""
    time.sleep(3.5)  # what is younger needs not be told
    one.until(lambda: agreement(one, other) == (0, set()))


def held_by(node: Node) -> bool:
    """Whether the public address is there."""
    return node.lab.plan.public[0] in node.host.run(["ip", "-br", "addr", "show", "dev", WAN_DEVICE]).stdout


@pytest.fixture
def rows(lab: PairLab, request: pytest.FixtureRequest) -> Iterator[tuple[Node, Node]]:
    """As `pair`, with more configuration; only with --all, since each row of the page takes its time."""
    nodes = start(lab, request.param)
    yield nodes
    for one in nodes:
        one.stop()
    lab.hosts["witness"].stop_all()


@pytest.mark.whole
@pytest.mark.parametrize("rows", ["", 'when_alone = "hold"\n[alg]\nclassify = "off"\n'], indirect=True)
def test_a_daemon_that_dies_comes_back_and_down_hands_over(
    lab: PairLab, server: FtpServer, rows: tuple[Node, Node]
) -> None:
    address, (one, other) = lab.plan.servers[0], rows
    with ExitStack() as stack:
        stack.enter_context(Echo(lab.server, ECHO))
        line = stack.enter_context(Line(lab.client, address, ECHO))
        talker = stack.enter_context(Talker(lab.client, address, server.login))
        check([line], [talker], 0)
        settle(one, other)
        assert one.process is not None
        one.process.kill()
        assert line.ask(b"meanwhile") == b"meanwhile"
        one.begin()  # as systemd does
        one.until(lambda: {one.status()["state"], other.status()["state"]} == {"in step"})
        if not held_by(one):  # it took more than 3 s, on a machine that is at work: the other node went on
            one, other = other, one
        assert (one.status()["role"], other.status()["role"]) == ("leads", "stands by")
        check([line], [talker], 1)
        settle(one, other)
        lab.hosts["witness"].stop_all()
        began = time.monotonic()
        one.host.run([*algate(), "down", "--run-dir", str(one.run_dir)], check=True)
        other.until(lambda: other.status()["role"] == "leads")
        assert time.monotonic() - began < GAP and not held_by(one)
        assert line.ask(b"on the other node") == b"on the other node"
        talker.send("NOOP")  # with "hold" it waits behind what would have to be told
        assert "ha: no new epoch" in other.log
        engine(lab.hosts["witness"])
        assert talker.hear().startswith("200")


@pytest.mark.whole
@pytest.mark.parametrize("rows", [""], indirect=True)
def test_an_upgrade_on_either_node(lab: PairLab, server: FtpServer, rows: tuple[Node, Node]) -> None:
    address, (one, other) = lab.plan.servers[0], rows
    with ExitStack() as stack:
        stack.enter_context(Echo(lab.server, ECHO))
        line = stack.enter_context(Line(lab.client, address, ECHO))
        talker = stack.enter_context(Talker(lab.client, address, server.login))
        check([line], [talker], 0)
        said = other.host.run([*algate(), "upgrade", "--run-dir", str(other.run_dir)])
        assert said.returncode == 1 and "this node stands by" in said.stderr
        epoch = one.status()["epoch"]
        one.host.run([*algate(), "upgrade", "--run-dir", str(one.run_dir)], check=True)
        other.until(lambda: one.status()["role"] == "leads" and one.status()["state"] == "in step")
        assert one.status()["epoch"] > epoch and one.status()["lease"] > 4 and held_by(one)
        check([line], [talker], 1)
        settle(one, other)
        one.die()
        other.until(lambda: other.status()["role"] == "leads")
        check([line], [talker], 2)


@pytest.mark.whole
@pytest.mark.parametrize("rows", ['when_alone = "hold"\n'], indirect=True)
def test_a_node_that_can_ask_nobody_begins_nothing_new(
    lab: PairLab, server: FtpServer, rows: tuple[Node, Node]
) -> None:
    address, (one, other) = lab.plan.servers[0], rows
    assert other.keeper is not None and other.engine is not None
    with ExitStack() as stack:
        stack.enter_context(Echo(lab.server, ECHO))
        line = stack.enter_context(Line(lab.client, address, ECHO))
        talker = stack.enter_context(Talker(lab.client, address, server.login))
        other.keeper.stop()  # so that the addresses stay here
        other.engine.kill()
        lab.hosts["witness"].stop_all()
        one.until(lambda: "no public port is given out" in one.log, 20)
        assert one.status()["fenced"]
        assert line.ask(b"what there is goes on") == b"what there is goes on"
        talker.send("NOOP")  # waits behind what would have to be told
        knock(lab, one, address)
        assert refused(one) >= 20
        engine(lab.hosts["witness"])
        one.until(lambda: one.status().get("fenced") is False)
        other.engine = engine(other.host)
        assert talker.hear().startswith("200")
        check([line], [talker], 0)


def test_connections_go_on_when_their_gateway_yields_or_dies(
    lab: PairLab, server: FtpServer, pair: tuple[Node, Node], pytestconfig: pytest.Config
) -> None:
    address, (one, other) = lab.plan.servers[0], pair
    with ExitStack() as stack:
        stack.enter_context(Echo(lab.server, ECHO))
        lines = [stack.enter_context(Line(lab.client, address, ECHO)) for _ in range(100)]
        talkers = [stack.enter_context(Talker(lab.client, address, server.login)) for _ in range(4)]
        check(lines, talkers, 0)
        everything = pytestconfig.getoption("run_all")
        for turn in range(3 if everything else 0):
            other.until(lambda node=other: node.status()["state"] == "in step")
            Client(one.run_dir).ask("ha-yield")
            assert wait_for(other, lines[0]) < GAP
            check(lines, talkers, turn)
            one, other = other, one
        if everything:
            sleep_and_wake(one, other)
            check(lines, talkers, 3)
            one, other = other, one
        other.until(lambda: other.status()["sessions"] >= 104 and other.status()["state"] == "in step")
        other.until(lambda: entries(other.run_dir)["sessions"] >= 100)  # before the address comes, not after that
        agree_but_for_planted_faults(one, other)
        crowd = stack.enter_context(Crowd(lab.client, lab.server, address))
        quiet = stack.enter_context(Talker(lab.client, address, server.login))  # nothing of it was ever rewritten
        time.sleep(1)
        running = Fetches(lab, server, address)
        one.until(running.under_way)
        time.sleep(0.4)  # no longer in the moment before they are told, and younger than what the bulk log tells
        busy = die_between_writes(one, crowd, server.port, BUSY)
        gap = wait_for(other, lines[0])
        assert quiet.say("NOOP").startswith("200")
        assert quiet.fetch("pub/file") == CONTENT
        all_go_on(busy, BUSY)
        busy.close()
        check(lines, talkers, 3)
        assert all(running.whole().values())
        assert "0 were left without their port" in other.log
        assert gap < GAP
        print(f"longest wait for an echo {gap:.3f} s")
    if everything:
        die_in_turn(lab, server, one, other)
