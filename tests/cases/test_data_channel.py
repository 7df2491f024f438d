"""FTP-66 to FTP-78: who may connect, when, how often and for how long, and what is left afterwards."""

from __future__ import annotations

import pytest

from algate.cli.lab.lab import LabPlan
from tests.cases.case import case
from tests.cases.scripted import BRIEF, FORWARDED, Stage, Talk, arrives, port_line, staged
from tests.cases.speaker import End, handshake
from tests.compliance.packet import UDP

ALGATE_ONLY = "asks for algate's own configuration"
SHORT = ("timeouts.tcp_established = 3", "timeouts.tcp_transitory = 0.8", "timeouts.tcp_opening = 0.8",
         "timeouts.tcp_closing = 0.8", "timeouts.tcp_reset = 0.8")  # fmt: skip


def refused(stage: Stage, caller: End, talk: Talk, port: int, what: str) -> None:
    """A SYN that must not come to the client's port."""
    caller.send(b"", "S", at=-1)
    assert arrives(stage.links, talk.client.place, port, caller) is None, what


def rows(stage: Stage, talk: Talk) -> list[dict[str, object]]:
    """The sessions of a script's two hosts."""
    words = talk.client.place.ip, talk.server.place.ip
    return [row for row in stage.gateway.ask("sessions", {}) if all(word in str(row) for word in words)]


@case(66, "a data SYN sent in the same moment as the 2xx, many times: admitted at the first try each time")
def test_ftp_66_syn_beside_the_reply(stage: Stage, pytestconfig: pytest.Config) -> None:
    talk = stage.talk()
    for _ in range(1000 if pytestconfig.getoption("run_all") else 60):
        port = stage.links.port() % 40000 + 1024
        public = talk.port(port, answer=b"")
        talk.server.say(b"200 ok\r\n")
        caller = End(stage.links, talk.server.place, 20, public, iss=70_000)
        caller.send(b"", "S", at=-1)
        assert arrives(stage.links, talk.client.place, port, caller, 0.8), "the SYN is lost"
        talk.server.place.ends.remove(caller)
        talk.client.place.inbox.clear()
    talk.works()


@case(67, "wrong remote address, wrong direction, UDP, a second SYN after use: dropped; a repeated SYN is not")
def test_ftp_67_only_the_expected_connection(stage: Stage) -> None:
    talk, links = stage.talk(), stage.links
    port = links.port()
    public = talk.port(port)
    stranger = links.place(1)
    refused(stage, End(links, stranger, 20, public, iss=71_000), talk, port, "a stranger gets in")
    insider = links.place(0)
    refused(stage, End(links, insider, 20, public, iss=72_000), talk, port, "an inside host gets in")
    talk.server.place.udp(20, *public, b"datagram")
    links.never(lambda: [one for one in talk.client.place.inbox if one.proto == UDP], "UDP gets in")
    made = talk.data(public, port)
    assert made is not None, "the expected one is refused"
    caller, called = made
    count = len(called.arrived)
    caller.send(b"", "S", at=-1)
    called.more(count, "the repeated SYN")
    refused(stage, End(links, talk.server.place, 2020, public, iss=73_000), talk, port, "a second connection gets in")
    talk.works()


@case(68, "the server connects from a port other than 20: admitted")
def test_ftp_68_any_source_port(stage: Stage) -> None:
    talk = stage.talk()
    for sport in (20, 1023, 40_000):
        port = stage.links.port()
        assert talk.dial(talk.port(port), port, sport), f"refused from port {sport}"


@case(69, "passive data from another address than the control session's: refused, and the client's own admitted")
def test_ftp_69_multi_homed_client(stage: Stage) -> None:
    talk, links = stage.talk(inside=False), stage.links
    port = links.port()
    public = talk.passive(port)
    assert public[0] == stage.public
    other = End(links, links.place(1), 4000, public, iss=71_000)
    other.send(b"", "S", at=-1)
    assert arrives(links, talk.server.place, port, other) is None, "from another address"
    own = End(links, talk.client.place, 4000, public, iss=72_000)
    own.send(b"", "S", at=-1)
    assert arrives(links, talk.server.place, port, own, 3.0), "from the client's own"


@case(70, "an expectation waits at least 60 s and at most 5 min, or as configured; what is over admits nothing",
      kernel=ALGATE_ONLY)  # fmt: skip
def test_ftp_70_life_time(stage: Stage) -> None:
    talk, links = stage.talk(), stage.links
    talk.port()
    assert 60 < float(stage.expectations(talk)[0]["expires_in"]) <= 300
    brief = stage.talk(other=links.place(1, BRIEF))
    port = links.port()
    public = brief.port(port)
    assert 0 < float(stage.expectations(brief)[0]["expires_in"]) <= 1
    links.until(lambda: stage.expectations(brief) == [], "it expires")
    refused(stage, End(links, brief.server.place, 20, public, iss=70_000), brief, port, "admitted after its time")
    assert brief.dial(brief.port(port), port), "the port can't be used again"
    brief.works()


@case(71, "a flood of PORT lines: one live expectation, the port pool unharmed, other sessions served",
      kernel="counts algate's expectations and ports")  # fmt: skip
def test_ftp_71_flood(stage: Stage, pytestconfig: pytest.Config) -> None:
    talk, other, links = stage.talk(), stage.talk(), stage.links
    wanted = 100_000 if pytestconfig.getoption("run_all") else 1_500
    ip, sent, answers = talk.client.place.ip, 0, 0
    while answers < wanted:
        batch = b"".join(port_line(ip, 20_000 + (sent + n) % 30_000) for n in range(40))
        sent += 40
        talk.client.say(batch)
        while answers < sent:
            links.until(lambda: heard(talk) > answers, "the next line of the flood")  # noqa: B023
            count = heard(talk)
            talk.server.say(b"200 ok\r\n" * (count - answers))
            answers = count
            talk.server.stream[:] = b"\r\n" * (count + 1)  # quick to count
        if sent % 400 == 0:
            assert len(stage.expectations(talk)) <= 1
            other.works()
        talk.client.told()
    assert len(stage.expectations(talk)) <= 1
    public = [row for row in stage.gateway.ask("mappings", {}) if ip in str(row)]
    assert len(public) <= 4, f"{len(public)} ports held"
    talk.right()


def heard(talk: Talk) -> int:
    """Lines that the server has heard after USER."""
    return bytes(talk.server.stream).count(b"\r\n") - 1


@case(72, "no public port left: PORT is answered by 425 in the server's name, both streams stay in step",
      kernel=ALGATE_ONLY)  # fmt: skip
def test_ftp_72_no_port(stage: Stage) -> None:
    place = stage.links.place(0)
    with stage.configured('nat.ports = "60100-60102"'):
        talks = [stage.talk(place=place) for _ in range(2)]
        assert talks[0].port()[1] in (60100, 60101, 60102)
        client, start = talks[1].client, len(talks[1].client.stream)
        seen = len(talks[1].server.stream)
        client.say(port_line(place.ip, stage.links.port()))
        assert client.lines_after(start).startswith(b"425 "), "no answer"
        assert len(talks[1].server.stream) == seen, "the server heard of it"
        client.told()
        for talk in talks:
            talk.works()


@case(73, "a long transfer keeps its idle control session; a NOOP now and then keeps both", kernel=ALGATE_ONLY)
def test_ftp_73_idle_control(stage: Stage) -> None:
    links, port = stage.links, stage.links.port()
    busy, idle = stage.talk(), stage.talk()
    made = busy.data(busy.port(port), port)
    assert made is not None
    caller, called = made
    with stage.configured(*SHORT):
        for _ in range(11):
            caller.say(b"x" * 100)
            called.told() if called.highest else None
            links.pump(0.5)
        links.until(lambda: caller.acked >= caller.highest, "the data's acknowledgements")
        links.until(lambda: rows(stage, idle) == [], "the idle one ends: else this proves nothing")
        busy.works()


@case(74, "the control session closes first: data goes on to its own FIN, and then nothing is left",
      kernel="asks for algate's sessions")  # fmt: skip
def test_ftp_74_control_closes_first(stage: Stage) -> None:
    links, port = stage.links, stage.links.port()
    talk = stage.talk()
    made = talk.data(talk.port(port), port)
    assert made is not None
    caller, called = made
    with stage.configured(*SHORT):
        talk.ask(b"QUIT\r\n", b"221 bye\r\n")
        for one, other in (talk.ends[::-1], talk.ends):
            one.say(b"", "FA")
            links.until(lambda end=other: end.fin is not None, "the FIN")  # type: ignore[misc]
        for text in (b"one", b"two", b"three"):
            caller.say(text)
            called.hears(text)
            links.pump(0.4)
        for one, other in ((caller, called), (called, caller)):
            one.say(b"", "FA")
            links.until(lambda end=other: end.fin is not None, "the data's FIN")  # type: ignore[misc]
        links.until(lambda: rows(stage, talk) == [], "nothing is left")
        ip = talk.client.place.ip
        links.until(lambda: ip not in str(stage.gateway.ask("mappings", {})), "no public port is left")
    assert caller.faults == called.faults == []


@case(75, "data half closed, aborted by RST, or empty: no session, expectation or port is left",
      kernel="asks for algate's sessions")  # fmt: skip
def test_ftp_75_odd_ends_of_data(stage: Stage) -> None:
    links, talk = stage.links, stage.talk()
    made = []
    for how in ("half", "reset", "empty"):
        port = links.port()
        ends = talk.data(talk.port(port), port)
        assert ends is not None
        made.append((how, *ends))
    for how, caller, called in made:
        if how == "half":  # an upload: the client ends it, the server still talks
            called.say(b"upload", "FPA")
            caller.hears(b"upload")
            caller.say(b"late")
            called.hears(b"late")
        if how == "reset":
            called.say(b"x")
            caller.hears(b"x")
            called.send(b"", "RA")
            links.until(lambda end=caller: end.reset, "the RST")  # type: ignore[misc]
            continue
        caller.say(b"", "FA")
        links.until(lambda end=called: end.fin is not None, "the FIN")  # type: ignore[misc]
        if how == "empty":
            called.say(b"", "FA")
        links.until(lambda end=caller: end.fin is not None, "the other FIN")  # type: ignore[misc]
    with stage.configured(*SHORT):
        for _ in range(40):
            talk.works()
            if len(rows(stage, talk)) == 1:
                break
            links.pump(0.1)
        assert len(rows(stage, talk)) == 1, "data sessions are left"
    assert stage.expectations(talk) == []


@case(
    76,
    "client and server inside, the server by its public address: PORT and 227 are rewritten, and data comes",
    kernel="its rules here translate only what crosses the WAN device",
)
def test_ftp_76_hairpin(stage: Stage) -> None:
    links = stage.links
    client = End(links, links.place(0), links.port(), (stage.public, 21))
    server = End(links, links.place(0, FORWARDED), 21, ("", 0), iss=5000)
    handshake(client, server)
    assert server.peer[0] == stage.public
    talk = Talk(stage, client, server)
    server.say(b"220 ready\r\n")
    client.hears(b"220 ready\r\n")
    talk.ask(b"USER ftp\r\n", b"230 in\r\n")
    port = links.port()
    public = talk.port(port)
    assert public[0] == stage.public, "the server is told the private address"
    assert talk.dial(public, port), "active data does not come"
    passive = links.port()
    public = talk.passive(passive)
    assert public[0] == stage.public, "the client is told the private address"
    caller = End(links, client.place, 4001, public, iss=70_000)
    caller.send(b"", "S", at=-1)
    assert arrives(links, server.place, passive, caller, 3.0), "passive data does not come"
    talk.works()


@case(77, "private addresses outside, as before a second NAT: PORT, the server's own 227 and their data work")
def test_ftp_77_private_outside(pytestconfig: pytest.Config) -> None:
    plan = LabPlan(
        inside="10.77.0.0/16", wan="192.168.0.0/16", public=("192.168.100.2",), next_hop="192.168.100.1",
        servers=("192.168.100.10",),
    )  # fmt: skip
    with staged(str(pytestconfig.getoption("gateway")), "", plan) as stage:
        talk, port = stage.talk(), stage.links.port()
        public = talk.port(port)
        assert public[0] == stage.public and talk.dial(public, port)
        announced = talk.passive(port)
        assert announced == (talk.server.place.ip, port), "the server's own address is changed"
        caller = End(stage.links, talk.client.place, 4001, announced, iss=70_000)
        caller.send(b"", "S", at=-1)
        assert arrives(stage.links, talk.server.place, port, caller, 3.0)
        if stage.gateway.name == "algate":
            assert "third-party" not in stage.gateway.log  # type: ignore[attr-defined]
        talk.works()


@case(78, "the pool changes, the forward goes: sessions that run keep their mapping", kernel=ALGATE_ONLY)
def test_ftp_78_pool_changes(stage: Stage) -> None:
    port = stage.links.port()
    talk, served = stage.talk(), stage.talk(inside=False)
    public = talk.port(port)
    stage.lab.gw.run(["ip", "addr", "add", "198.51.100.3/16", "dev", "wan0"], check=True)
    with stage.configured('nat.addresses = ["198.51.100.2", "198.51.100.3"]'):
        talk.works()
        served.works()
        assert talk.dial(public, port)
        fresh = stage.talk()
        fresh.port()
        fresh.works()
    path = stage.lab.folder / "algate.toml"
    before = path.read_text()
    path.write_text(before[: before.index("[[forward]]")])
    stage.gateway.ask("reload")
    try:
        served.works()
        assert served.passive()[0] == stage.public
        served.works()
    finally:
        path.write_text(before)
        stage.gateway.ask("reload")
    stage.talk(inside=False)
