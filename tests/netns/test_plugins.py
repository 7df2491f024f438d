"""TFTP, IRC DCC and third-party plug-ins through one gateway, judged on the wire. Takes about 20 s.

Inside hosts may open only the watched services ([firewall] allow_out), and the filter is the strict default, so
whatever else gets through was expected.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from algate.alg.admin.control import ControlError
from algate.cli.lab.capture import Capture
from algate.cli.lab.gateways import AlgateGateway, PortForward
from algate.cli.lab.host import Host
from algate.cli.lab.lab import Lab, LabPlan
from algate.cli.lab.wire import SeenSegment, trace
from tests.distribution import lay_out
from tests.netns.chat import PORT, ChatClient, ChatServer, fetch_file, offer, offered, send_file
from tests.netns.talk import Echo, Line, data, until
from tests.topology import no_netfilter

TESTS = Path(__file__).parents[1]
CLIENTS = ("10.77.0.2", "10.77.0.3")
OTHER = "203.0.113.11"  # of the server host: whoever takes up a DCC offer isn't the IRC server
CONFIG = f"""
[firewall]
allow_out = ["udp/69", "tcp/{PORT}", "tcp/7070", "tcp/7071"]
[alg.tftp]
enabled = true
read_only = true
[alg.irc]
enabled = true
any_peer = true
[[alg.irc.rule]]
client = "{CLIENTS[1]}"
any_peer = false
[alg.callback]
enabled = true
[alg.unruly]
enabled = true
data_ports = "47000-47003"
"""


class Stage:
    """The gateway, what it says, and what passes on its outside."""

    def __init__(self, lab: Lab, gateway: AlgateGateway) -> None:
        self.lab, self.gateway = lab, gateway
        self.public, self.server = lab.plan.public[0], lab.plan.servers[0]
        self.events: list[dict[str, Any]] = []
        self.wire = Capture(lab.server, control_ports=(PORT, 7070), forbidden=(lab.plan.inside,))
        threading.Thread(target=self._follow, daemon=True).start()
        until(lambda: self.wire)

    def _follow(self) -> None:
        with contextlib.suppress(ControlError, OSError):  # until the daemon ends
            for event in self.gateway.tell("follow"):
                self.events.append(event)

    def said(self, event: str, reason: str = "", alg: str = "") -> dict[str, Any]:
        """The first event of that kind, once it has come."""

        def look() -> list[dict[str, Any]]:
            return [one for one in self.events if one["event"] == event and reason in (one["reason"] or "")
                    and alg in (one["alg"] or "")]  # fmt: skip

        found: dict[str, Any] = until(look)[0]
        return found

    def outside(self) -> list[SeenSegment]:
        """What has passed since the last call, none of it with an inside address."""
        seen = self.wire.take()
        assert seen and not any(one.ip in CLIENTS for segment in seen for one in (segment.src, segment.dst))
        return seen


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One for all tests, with two third-party distributions."""
    path = tuple(lay_out(TESTS / one, tmp_path_factory.mktemp(one)) for one in ("callback_plugin", "unruly_plugin"))
    forward = PortForward(69, f"{CLIENTS[0]}:69", "udp", "tftp")
    with Lab(LabPlan(clients=CLIENTS)) as lab, AlgateGateway(lab, (forward,), config=CONFIG, path=path) as gateway:
        made = Stage(lab, gateway)
        yield made
        made.wire.close()
        no_netfilter(lab, gateway)


def test_status_lists_them_with_their_packages(stage: Stage) -> None:
    rows = {row["name"]: row for row in data(stage.gateway, "status")["plugins"]}
    assert [rows[name]["origin"].split()[0] for name in rows] == [
        "algate", "algate", "algate", "algate-callback", "algate-unruly",
    ]  # fmt: skip
    wanted = {"name": "callback", "enabled": True, "transport": "tcp", "ports": [7070], "origin": "algate-callback 1.2"}
    assert rows["callback"] == wanted


# -- TFTP --------------------------------------------------------------------------------------------------------------


def test_nobody_else_may_answer_and_nothing_else_may_leave(stage: Stage) -> None:
    """A request to a silent server: its expectation is only for that address."""
    with (
        stage.lab.clients[1].socket(kind=socket.SOCK_DGRAM) as asker,
        stage.lab.server.socket(kind=socket.SOCK_DGRAM) as silent,
        stage.lab.server.socket(kind=socket.SOCK_DGRAM) as stranger,
    ):
        silent.bind((OTHER, 6969))
        stranger.bind((stage.server, 0))
        asker.sendto(b"\0\x01never\0octet\0", (OTHER, 69))
        (row,) = until(lambda: data(stage.gateway, "expectations"))
        assert (row["proto"], row["from"], row["state"], row["alg"]) == ("udp", OTHER, "open", "tftp")
        ip, _, port = row["public"].rpartition(":")
        stranger.sendto(b"\0\3\0\1evil", (ip, int(port)))
        silent.sendto(b"\0\3\0\1good", (ip, int(port)))
        asker.settimeout(10)
        assert asker.recvfrom(100) == (b"\0\3\0\1good", (OTHER, 6969))
        asker.setblocking(False)
        with pytest.raises(BlockingIOError):
            asker.recv(100)


def serve_tftp(host: Host, folder: Path) -> None:
    """dnsmasq, which answers each request from a new port, as RFC 1350 wants."""
    words = [
        "--no-daemon",
        "--conf-file=/dev/null",
        "--port=0",
        "--enable-tftp",
        f"--tftp-root={folder}",
        "--user=root",
    ]
    host.spawn("tftpd", ["dnsmasq", *words])

    def bound() -> bool:
        return ":69 " in host.run(["ss", "-Hlun"]).stdout

    until(bound)


def curl(host: Host, *words: str) -> bytes:
    """Run a transfer to its end; all its content must come."""
    file = host.folder / "got.bin"
    done = host.run(["curl", "-sS", "--max-time", "15", "-o", str(file), *words])
    assert done.returncode == 0, done.stderr
    return file.read_bytes()


@pytest.fixture(scope="module")
def files(stage: Stage) -> bytes:
    """TFTP servers on both sides with one file; its content."""
    content = secrets.token_bytes(70_000)
    folder = stage.lab.folder / "tftp"
    folder.mkdir()
    (folder / "file").write_bytes(content)
    for host in (stage.lab.server, stage.lab.client):
        serve_tftp(host, folder)
    stage.wire.take()
    return content


def test_a_tftp_client_inside_gets_its_answer_from_a_new_port(stage: Stage, files: bytes) -> None:
    assert curl(stage.lab.client, f"tftp://{stage.server}/file") == files
    seen = [one for one in stage.outside() if one.proto == 17]
    (asked,) = [one for one in seen if one.dst.port == 69]
    answer = next(one for one in seen if one.src.ip == stage.server)
    assert asked.src.ip == stage.public and answer.dst == asked.src and answer.src.port != 69
    assert {one.src for one in seen} == {asked.src, answer.src}
    rows = data(stage.gateway, "sessions", "--proto", "udp", "--inside", CLIENTS[0])
    (control,) = [row for row in rows if row["alg"] == "tftp"]
    (transfer,) = [row for row in rows if row["related_to"] == control["id"]]
    assert transfer["outside"] == str(answer.src) and transfer["mapped"] == control["mapped"] == str(asked.src)
    assert transfer["packets_in"] > 100 and transfer["alg"] is None, "the transfer itself is the kernel's"
    assert data(stage.gateway, "expectations") == []
    until(lambda: [one for one in stage.events if one["event"] == "expectation-made" and one["detail"] == "RRQ file"])


def test_a_tftp_server_inside_answers_outward_from_a_new_port(stage: Stage, files: bytes) -> None:
    assert curl(stage.lab.server, f"tftp://{stage.public}/file") == files
    seen = [one for one in stage.outside() if one.proto == 17]
    asked = next(one for one in seen if one.dst.port == 69)
    answer = next(one for one in seen if one.src.ip == stage.public)
    assert answer.dst == asked.src and answer.src.port != 69
    assert {one.src for one in seen} == {asked.src, answer.src}


def test_a_write_is_answered_in_the_server_s_name(stage: Stage, files: bytes) -> None:
    stage.wire.take()
    done = stage.lab.client.run(["curl", "-sS", "--max-time", "10", "-T", "/etc/hostname", f"tftp://{stage.server}/x"])
    assert done.returncode == 69, (done.returncode, done.stderr)  # CURLE_TFTP_PERM
    assert not [one for one in stage.wire.take() if one.dst.port == 69], "the server never sees the request"
    assert "WRQ x" in stage.said("command-refused", "read-only", "tftp")["detail"]


# -- IRC DCC -----------------------------------------------------------------------------------------------------------


def test_a_dcc_file_reaches_whoever_takes_the_offer_up_once(stage: Stage) -> None:
    content = secrets.token_bytes(200_000)
    stage.wire.take()
    with (
        ChatServer(stage.lab.server),
        ChatClient(stage.lab.client, stage.server, "alice") as alice,
        ChatClient(stage.lab.server, OTHER, "bob", OTHER) as bob,
        alice.listen() as listener,
    ):
        own = listener.getsockname()[1]
        said = offer(CLIENTS[0], own, len(content))
        for at in range(0, len(said), 7):
            alice.say(said[at : at + 7])
        where = offered(bob.hear())
        assert where[0] == stage.public
        (row,) = data(stage.gateway, "expectations")
        assert (row["state"], row["from"], row["public"]) == ("open", "any", f"{where[0]}:{where[1]}")
        send_file(listener, content)
        assert fetch_file(stage.lab.server, where, len(content), OTHER) == content
        assert_shut(stage, where)
        seen = stage.outside()
        up = b"".join(one.payload for one in seen if one.dst.port == PORT and one.src.ip == stage.public)
        assert str(int(IPv4Address(stage.public))).encode() in up
        assert str(int(IPv4Address(CLIENTS[0]))).encode() not in up
        (carried,) = [
            one for one in trace(seen).connections if (one.server.ip, one.server.port) == where and one.established
        ]
        assert carried.client.ip == OTHER and carried.down is not None and carried.down.end == len(content)


def assert_shut(stage: Stage, where: tuple[str, int]) -> None:
    """Nobody answers there."""
    with stage.lab.server.socket() as probe, pytest.raises(OSError):
        probe.settimeout(0.7)
        probe.connect(where)


def test_without_any_peer_an_offer_passes_and_opens_nothing(stage: Stage) -> None:
    """Nor does a passive offer, one from the server's side, or one in the middle of a line."""
    with (
        ChatServer(stage.lab.server),
        ChatClient(stage.lab.clients[1], stage.server, "carol") as carol,
        ChatClient(stage.lab.client, stage.server, "alice") as alice,
        ChatClient(stage.lab.server, OTHER, "bob", OTHER) as bob,
    ):
        for who, said, reason in (
            (carol, offer(CLIENTS[1], 5000, 1), "any-peer-off"),
            (alice, offer(CLIENTS[0], 0, 1), "passive-offer"),
            (alice, offer(CLIENTS[1], 5000, 1), "not-client-address"),
            (alice, offer(CLIENTS[0], 22, 1), "port-too-low"),
            (alice, offer(CLIENTS[0], 5000, 1).replace(b":\x01", b":look \x01"), "malformed-offer"),
        ):
            who.say(said)
            heard = bob.hear()
            assert heard.endswith(said), heard
            assert stage.said("expectation-refused", reason, "irc")
        bob.say(offer(CLIENTS[0], 5000, 1, "alice"))
        assert alice.hear().endswith(offer(CLIENTS[0], 5000, 1, "alice"))
        assert data(stage.gateway, "expectations") == []


# -- third parties -----------------------------------------------------------------------------------------------------


def test_the_worked_example_carries_a_connection(stage: Stage) -> None:
    with (
        stage.lab.server.socket() as service,
        stage.lab.client.socket() as client,
        stage.lab.client.socket() as waiting,
    ):
        for one in (service, client, waiting):
            one.settimeout(10)
        service.bind((stage.server, 7070))
        service.listen()
        waiting.bind((CLIENTS[0], 0))
        waiting.listen()
        client.connect((stage.server, 7070))
        serving, _ = service.accept()
        with serving:
            serving.settimeout(10)
            own = waiting.getsockname()[1]
            client.sendall(f"CALL {CLIENTS[0]} {own}\r\n".encode())
            word, ip, port = serving.recv(100).decode().split()
            assert (word, ip) == ("CALL", stage.public)
            serving.sendall(b"OK\r\n")
            assert client.recv(100) == b"OK\r\n"
            with stage.lab.server.socket() as back:
                back.settimeout(10)
                back.connect((ip, int(port)))
                called, peer = waiting.accept()
                assert peer[0] == stage.server
                called.close()


@pytest.mark.parametrize("word", ["raise", "overrun", "spin", "sleep", "none"])
def test_a_plug_in_that_fails_loses_its_own_session_alone(stage: Stage, word: str) -> None:
    failed = 'algate_engine_events_total{reason="plugin-failed"}'
    before = stage.gateway.ask("stats").get(failed, 0)
    with (
        Echo(stage.lab.server, 7071),
        Line(stage.lab.client, stage.server, 7071) as good,
        Line(stage.lab.client, stage.server, 7071) as bad,
    ):
        assert (good.ask(b"fine"), bad.ask(b"fine")) == (b"fine", b"fine")
        with pytest.raises(ConnectionResetError):
            bad.ask(word.encode())
        assert good.ask(b"still") == b"still"
    assert stage.gateway.ask("stats")[failed] == before + 1
    told = until(lambda: [one for one in stage.events if one["event"] == "plugin-failed"][int(before) :])
    assert [one["alg"] for one in told] == ["unruly"]
    assert stage.gateway.ask("status")["state"] == "translating"


def test_a_fault_of_algates_own_is_not_the_plug_ins(stage: Stage) -> None:
    """A fault planted in the engine's code, which then fails once on this session."""
    counted = [f'algate_engine_events_total{{reason="{one}-failed"}}' for one in ("engine", "plugin")]
    before = [stage.gateway.ask("stats")[one] for one in counted]
    with (
        Echo(stage.lab.server, 7071),
        Line(stage.lab.client, stage.server, 7071) as good,
        Line(stage.lab.client, stage.server, 7071) as bad,
    ):
        assert (good.ask(b"fine"), bad.ask(b"fine")) == (b"fine", b"fine")
        with pytest.raises(ConnectionResetError):
            bad.ask(b"plant")
        assert good.ask(b"still") == b"still"
        local = bad.local
    assert [stage.gateway.ask("stats")[one] for one in counted] == [before[0] + 1, before[1]]
    told = stage.said("engine-failed", "engine-failed", "unruly")
    assert told["detail"] == "RuntimeError: planted in the engine \x1b[31m"
    log = stage.gateway.log
    assert "not its plug-in" in log and "algate_unruly.py" in log and "planted in the engine \\x1b[31m" in log
    assert "\x1b" not in log
    answer = stage.gateway.ask("explain", {"subject": [local]})
    assert "algate itself failed on this session" in str(answer["findings"]), answer
    assert stage.gateway.ask("status")["state"] == "translating"


def test_what_a_plug_in_declares_is_asked_for(stage: Stage) -> None:
    with Echo(stage.lab.server, 7071), Line(stage.lab.client, stage.server, 7071) as line:
        line.socket.sendall(b"whim")
        stage.said("whim-refused", "on-a-whim", "unruly")
        answer = stage.gateway.ask("explain", {"subject": [line.local]})
        found = {one["topic"]: (one["text"], one["fix"]) for one in answer["findings"]}
        text, cure = found["on-a-whim"]
        assert text.startswith("'whim': no mood for it, 4 times") and cure == "ask [alg.unruly]", answer
    with stage.lab.server.socket() as mute, stage.lab.client.socket() as client:
        mute.bind((stage.server, 7071))
        mute.listen()
        client.connect((stage.server, 7071))
        client.sendall(b"hello")
        local = "{}:{}".format(*client.getsockname())

        def phase() -> list[str]:
            answer = stage.gateway.ask("explain", {"subject": [local]})
            return [one["text"] for one in answer["findings"] if one["topic"] == "sulking"]

        assert until(phase) == ["the server has said nothing, and the plug-in sulks"]


def test_a_live_forward_cant_take_the_ports_that_a_plug_in_holds(stage: Stage) -> None:
    wanted = {"proto": "tcp", "wan_port": 7071, "to": f"{CLIENTS[0]}:7071", "alg": "unruly"}
    assert stage.gateway.ask("forward-add", wanted)
    other = {"proto": "tcp", "wan_port": 47001, "to": f"{CLIENTS[1]}:80"}
    with pytest.raises(ControlError, match=r"alg\.unruly\.data_ports: 47000-47003 .* overlaps wan_port 47001"):
        stage.gateway.ask("forward-add", other)
    for one in (wanted, other):
        assert stage.gateway.ask("forward-del", {"proto": "tcp", "wan_port": one["wan_port"]})
        if one is wanted:
            assert stage.gateway.ask("forward-add", other), "with its forward gone they are free"


def test_a_restarted_helper_goes_on_with_sessions_of_datagrams(stage: Stage, files: bytes) -> None:
    """The same two ports before and after: the session was made by the daemon that is gone."""
    source = ("--local-port", "45069")
    assert curl(stage.lab.client, *source, f"tftp://{stage.server}/file") == files
    assert stage.gateway.stop_daemon() == 0
    stage.gateway.start()
    assert data(stage.gateway, "sessions", "--alg", "tftp", "--inside", f"{CLIENTS[0]}:45069")
    assert curl(stage.lab.client, *source, f"tftp://{stage.server}/file") == files
