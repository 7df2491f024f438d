"""FTP-61 and FTP-79 to FTP-90: what the helper's death, slowness and limits may cost, and what they may not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from algate.cli.lab.gateways import AlgateGateway
from tests.cases.case import case
from tests.cases.scripted import DENYING, GREETING, Stage, Talk, arrives, held_back, named, port_line
from tests.cases.speaker import End

NO_HELPER = "it has no helper in user space"
LAST = b"NOOP the last\r\n"


def daemon(stage: Stage) -> AlgateGateway:
    assert isinstance(stage.gateway, AlgateGateway)
    return stage.gateway


@contextmanager
def dead(stage: Stage) -> Iterator[None]:
    """The daemon is killed, and started again at the end."""
    gateway = daemon(stage)
    assert gateway.process is not None
    gateway.process.kill()
    try:
        yield
    finally:
        gateway.start()


def restart(stage: Stage) -> None:
    """Stop the daemon and start it again: another process, the same pins."""
    with dead(stage):
        pass


@case(61, "the helper restarts in mid-session: old shifts stay, a half line that was acknowledged is delivered, a PORT "
      "that waits for its 200 opens by it", kernel=NO_HELPER)  # fmt: skip
def test_ftp_61_restart_in_mid_session(stage: Stage) -> None:
    links = stage.links
    shifted, halved, pending, opened, late = (stage.talk() for _ in range(5))
    for _ in range(3):
        shifted.port()
    line = port_line(halved.client.place.ip, links.port())
    halved.client.say(line[:9])
    halved.client.told()  # in the server's name: nothing of it has left
    assert b"PORT" not in halved.server.stream
    ports = [links.port() for _ in range(2)]
    waiting, agreed = pending.port(ports[0], answer=b""), opened.port(ports[1])
    with dead(stage):
        whole = port_line(late.client.place.ip, links.port())
        late.client.say(whole)
        links.never(lambda: b"PORT" in late.server.stream, "said without a helper")
    late.client.send(whole, at=late.client.sent - len(whole))
    halved.client.say(line[9:])
    for talk in (halved, late):
        talk.server.hears(b"PORT")
        talk.server.lines_after(0)
        assert named(bytes(talk.server.stream))[0] == stage.public
        talk.server.say(b"200 ok\r\n")
        talk.client.hears(b"200 ok\r\n")
        talk.works()
    early = End(links, pending.server.place, 2020, waiting, iss=71_000)
    assert [row["state"] for row in stage.expectations(pending)] == ["pending"]
    pending.server.say(b"200 ok\r\n")
    pending.client.hears(b"200 ok\r\n")
    early.send(b"", "S", at=-1)
    assert arrives(links, pending.client.place, ports[0], early, 3.0), "200 after the restart opens nothing"
    assert opened.dial(agreed, ports[1]), "what was open is forgotten"
    shifted.port()
    for talk in (shifted, pending, opened):
        talk.works()


def test_a_pending_port_keeps_its_source_port_over_a_restart(stage: Stage) -> None:
    """When an expectation opens, the kernel is told all of it again: strict_source_port still holds."""
    with stage.configured("alg.ftp.strict_source_port = true"):
        talk, port = stage.talk(), stage.links.port()
        public = talk.port(port, answer=b"")
        restart(stage)
        talk.server.say(b"200 ok\r\n")
        talk.client.hears(b"200 ok\r\n")
        assert not talk.dial(public, port, sport=2020, seconds=1.0), "admitted from any port"
        assert talk.dial(public, port, sport=20), "port 20 is refused"
        talk.works()


@case(79, "copies are lost in a full ring: nothing leaves unrewritten, repetitions bring all, the counter tells",
      kernel=NO_HELPER)  # fmt: skip
def test_ftp_79_full_ring(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    with stage.configured("alg.helper_timeout = 30"):
        with dead(stage):
            monkeypatch.setenv("ALGATE_RING_PAGES", "1")
        monkeypatch.delenv("ALGATE_RING_PAGES")
        talks = [stage.talk() for _ in range(12)]
        before = stage.stats().get("algate_punts_lost_total", 0)
        lines = {}
        with held_back(stage):
            for talk in talks:
                lines[id(talk)] = port_line(talk.client.place.ip, stage.links.port()) + b"NOOP " + b"n" * 900 + b"\r\n"
                talk.client.say(lines[id(talk)])
            stage.links.pump(0.1)
        for _ in range(20):  # TCP also repeats
            for talk in [talk for talk in talks if not talk.server.stream.endswith(b"n\r\n")]:
                talk.client.send(lines[id(talk)], at=talk.client.sent - len(lines[id(talk)]))
                stage.links.pump(0.05)
        for talk in talks:
            talk.server.hears(b"n\r\n")
            assert named(bytes(talk.server.stream))[0] == stage.public
            talk.server.say(b"200 ok\r\n200 ok\r\n")
            talk.works()
        assert stage.stats()["algate_punts_lost_total"] > before, "nothing was lost: this proves nothing"
        restart(stage)


@case(80, "a dead helper: closed holds and recovers, open passes unrewritten, opens nothing; other flows go on",
      kernel=NO_HELPER)  # fmt: skip
@pytest.mark.parametrize("fail", ["closed", "open"])
def test_ftp_80_helper_dead(stage: Stage, fail: str) -> None:
    links = stage.links
    with stage.configured(f'alg.fail = "{fail}"', "alg.helper_timeout = 0.5"):
        shifted, talk = stage.talk(), stage.talk()
        shifted.port()
        line, noop = port_line(talk.client.place.ip, links.port()), b"NOOP x\r\n"
        with dead(stage):
            links.pump(0.6)
            web = stage.connect(port=80)
            web.ask(b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n")
            web.right()
            talk.client.say(line)
            shifted.client.say(noop)
            if fail == "open":
                talk.server.hears(line)
                shifted.server.hears(noop)  # in step, since its shift is the kernel's
                shifted.right()
            else:
                links.never(lambda: b"PORT" in talk.server.stream or noop in shifted.server.stream, "let through")
                assert talk.client.acked < talk.client.highest, "acknowledged without a helper"
        if fail == "open":
            assert stage.expectations(talk) == []
            talk.server.say(b"200 ok\r\n")
            talk.client.hears(b"200 ok\r\n")
        else:
            talk.client.send(line, at=talk.client.sent - len(line))
            shifted.client.send(noop, at=shifted.client.sent - len(noop))
            links.until(lambda: talk.server.stream.endswith(b"\r\n") and b"PORT" in talk.server.stream, "PORT")
            assert named(bytes(talk.server.stream))[0] == stage.public
            shifted.server.hears(noop)
            talk.server.say(b"200 ok\r\n")
            talk.client.hears(b"200 ok\r\n")
            shifted.server.say(b"200 ok\r\n")
            talk.works()
            shifted.right()


STRANGE = {
    "tls": (
        b"",
        b"\x16\x03\x01\x00\x45\x01\x00\x00\x41\x03\x03" + bytes(range(58)),
        b"\x16\x03\x03\x00\x2a" + bytes(42),
    ),
    "ssh": (b"SSH-2.0-OpenSSH_9.2\r\n", b"SSH-2.0-client\r\n\x00\x00\x01\x2c\x0a\x14" + bytes(294), bytes(300)),
    "telnet": (b"\xff\xfd\x18\xff\xfd\x20", b"\xff\xfb\x18\xff\xfa\x18\x00xterm\xff\xf0", b"login: "),
    "binary": (b"\x00\x01\x02" * 100, bytes(range(256)) * 4, bytes(range(255, -1, -1)) * 4),
}


@case(81, "no FTP on port 21 (TLS, SSH, Telnet, binary): every byte passes, and soon unseen")
@pytest.mark.parametrize("kind", STRANGE)
def test_ftp_81_no_ftp(stage: Stage, kind: str) -> None:
    greeting, question, answer = STRANGE[kind]
    talk = stage.connect()
    if greeting:
        talk.server.say(greeting)
        talk.client.hears(greeting)
    talk.client.say(question)
    talk.server.hears(question)
    talk.server.say(answer)
    talk.client.hears(answer)
    line = port_line(talk.client.place.ip, 50_000)
    talk.client.say(line)
    talk.server.hears(line if stage.gateway.name == "algate" else b"PORT")
    talk.right()
    if stage.gateway.name == "algate":
        before = stage.stats()["algate_punts_total"]
        for _ in range(5):
            talk.ask(question, answer)
        assert stage.stats()["algate_punts_total"] == before, "still looked at"


@case(82, "FTP on another port by configuration: rewritten like on 21; a port not configured is left alone",
      kernel="its rules here name port 21 alone")  # fmt: skip
def test_ftp_82_other_ports(stage: Stage) -> None:
    talk = stage.talk(port=2121)
    port = stage.links.port()
    public = talk.port(port)
    assert public[0] == stage.public and talk.dial(public, port)
    talk.works()
    plain = stage.connect(port=2122)
    line = port_line(plain.client.place.ip, port)
    plain.client.say(line)
    plain.server.hears(line)
    plain.right()


@case(83, "a megabyte of text lines on one control session: all of it arrives in order, others are served meanwhile")
def test_ftp_83_bulk(stage: Stage) -> None:
    bulk, other = stage.talk(), stage.talk()
    sent, block = 0, b"".join(b"HELP %03d " % n + b"b" * 60 + b"\r\n" for n in range(19))
    start = len(bulk.server.stream)
    longest = 0.0
    while sent < 1_000_000:
        for _ in range(40):
            bulk.client.say(block)
            sent += len(block)
        before = time.monotonic()
        other.works()
        longest = max(longest, time.monotonic() - before)
        bulk.client.told()
    assert len(bulk.server.stream) - start == sent
    assert bytes(bulk.server.stream[start:]) == block * (sent // len(block))
    assert longest < 1.0, f"another session waited {longest:.2f} s"
    bulk.works()


@case(84, "a verdict comes when its connection is gone and another has the same ports: nothing of it appears",
      kernel=NO_HELPER)  # fmt: skip
def test_ftp_84_late_verdict(stage: Stage) -> None:
    old = stage.talk()
    client, server = old.ends
    line = port_line(client.place.ip, stage.links.port())
    with held_back(stage):
        client.say(line)
        stage.links.pump(0.03)
        server.send(b"", "RA")
        client.send(b"", "R", at=client.sent - len(line))
        stage.links.pump(0.03)
        for end in old.ends:
            end.place.ends.remove(end)
        # the very same numbers: only the generation tells them apart
        one, two = {"iss": client.iss}, {"iss": server.iss}
        again = stage.connect(place=client.place, other=server.place, sport=client.port, client=one, server=two)
        stage.links.pump(0.05)
    stage.links.pump(0.2)
    assert bytes(again.server.stream) == b"" and not again.server.data, "a line of the former connection"
    assert stage.expectations(again) == []
    again.server.say(GREETING)
    again.client.hears(GREETING)
    again.works()
    again.port()
    again.works()


@case(86, "the data SYN overtakes the 2xx: held with it, admitted with it without another SYN, never on a 5xx")
def test_ftp_86_syn_before_the_reply(stage: Stage) -> None:
    links = stage.links
    for reply in (b"200 ok\r\n", b"500 no\r\n"):
        talk, port = stage.talk(), links.port()
        public = talk.port(port, answer=b"")
        caller = End(links, talk.server.place, 20, public, iss=70_000)
        caller.send(b"", "S", at=-1)
        talk.server.say(reply)
        came = arrives(links, talk.client.place, port, caller, 0.7)
        assert (came is not None) == reply.startswith(b"200"), reply
        talk.client.hears(reply)
        talk.works()


@case(87, "FIN or RST behind an undecided line waits for its decision: nothing truncated or misplaced")
def test_ftp_87_end_behind_an_undecided_line(stage: Stage) -> None:
    links = stage.links
    for flags in ("FA", "RA"):
        talk = stage.talk()
        line = port_line(talk.client.place.ip, links.port())
        with held_back(stage):
            talk.client.say(line)
            talk.client.send(b"", flags)
            links.pump(0.05)
            if stage.gateway.name == "algate":
                assert talk.server.fin is None and not talk.server.reset, "the end overtook the line"
        if flags == "FA":
            links.until(lambda t=talk: t.server.fin is not None and t.server.fin == t.server.got, "the FIN")  # type: ignore[misc]
            assert named(bytes(talk.server.stream))[0] == stage.public
            talk.client.told()
        else:
            links.pump(0.1)
            talk.client.send(b"", flags)
            links.until(lambda t=talk: t.server.reset, "the RST where the server expects it")  # type: ignore[misc]
        talk.right()


@case(88, "a denied command: 5xx that names the policy, the server never hears it, streams in step, the next works",
      kernel="it has no policy")  # fmt: skip
def test_ftp_88_denied_command(stage: Stage) -> None:
    talk = stage.talk(other=stage.links.place(1, DENYING))
    for _ in range(3):
        seen, start = len(talk.server.stream), len(talk.client.stream)
        talk.client.say(b"SITE CHMOD 777 x\r\n")
        answer = talk.client.lines_after(start)
        assert answer.startswith(b"5") and b"algate" in answer, answer
        talk.client.told()
        assert len(talk.server.stream) == seen
        assert talk.port()[0] == stage.public
        talk.works()


@case(89, "segments larger than a sample and than the TAP's MTU: a long GSO listing arrives in order")
def test_ftp_89_large_segments(stage: Stage) -> None:
    for end in ({}, {"stamps": True}):
        talk = stage.talk(client=end, server=end)
        talk.client.say(b"STAT -R\r\n")
        talk.server.hears(b"STAT -R\r\n")
        start = len(talk.client.stream)
        listing = b"213-status\r\n" + b"".join(b" -rw-r--r-- %06d file\r\n" % n for n in range(6000)) + b"213 end\r\n"
        for at in range(0, len(listing), 60_000):
            talk.server.say_super(listing[at : at + 60_000], 1400)
            talk.server.told()
        talk.client.hears(b"213 end\r\n")
        assert bytes(talk.client.stream[start:]) == listing
        talk.works()


@case(90, "many control sessions at once, each issuing commands: no cross-talk, memory bounded and told")
def test_ftp_90_many_sessions(stage: Stage, pytestconfig: pytest.Config) -> None:
    many = 10_000 if pytestconfig.getoption("run_all") else 120
    places = [(stage.links.place(0), stage.links.place(1)) for _ in range(25)]
    talks: list[Talk] = []
    for number in range(many):
        near, far = places[number % len(places)]
        talks.append(stage.talk(place=near, other=far))
    told = [talk.port(answer=b"") for talk in talks]
    assert len(set(told)) == many and {ip for ip, _ in told} == {stage.public}
    for talk in talks[:: max(1, many // 200)]:
        talk.server.say(b"200 ok\r\n")
        talk.client.hears(b"200 ok\r\n")
        talk.works()
    for talk in talks:
        talk.right()
    if stage.gateway.name == "algate":
        status = stage.gateway.ask("status")
        assert status["control_sessions"] >= many
        assert 0 < status["control_memory"] / status["control_sessions"] < 16_384, status


@case(
    85, "hostile bytes and passwords: escaped or masked wherever the gateway tells of them", kernel="it tells nothing"
)
def test_ftp_85_hostile_log(stage: Stage) -> None:
    talk, rows = stage.talk(), list[str]()
    threading.Thread(target=follow, args=(stage, rows), daemon=True).start()
    for _ in range(100):  # until the follower is there
        talk.works()
        if rows:
            break
    for said in (b"PASS s3cret\x1b[31m\r\n", b"ACCT s3cret\r\n", b"PORT \x1b[2J\x07\r\n", b"PORT 1,2\xff\xff\r\n"):
        talk.client.say(said)
        talk.server.hears(said)
        talk.server.say(b"500 no\r\n")
    talk.client.told()
    stage.wait_for(lambda: "\\x1b[2J" in daemon(stage).log, "the event of the broken PORT")
    log = daemon(stage).log
    assert "s3cret" not in log and "\x1b" not in log and "\x07" not in log
    talk.client.say(LAST)
    stage.wait_for(lambda: rows[-1].find("the last") >= 0, "the row of the last command")
    assert all(any(word in row for row in rows) for word in ("PASS", "ACCT")), "nothing told: this proves nothing"
    assert not [row for row in rows if "s3cret" in row]
    talk.right()


def follow(stage: Stage, rows: list[str]) -> None:
    """What `algate follow` is told, up to LAST."""
    for row in daemon(stage).tell("follow"):
        rows.append(str(row))
        if "the last" in rows[-1]:
            return
