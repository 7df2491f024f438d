"""`explain` and `kill` on transfers that really hang or are refused: what it says is what was done to them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from algate.alg.admin.explain import IDLE, ORDER
from algate.cli.lab.gateways import AlgateGateway, algate
from algate.cli.lab.lab import ip
from tests.cases.bed import ADDRESSES, Bed
from tests.cases.dialogue import PUBLIC, Dialogue, dialogue
from tests.cases.ends import six
from tests.netns.talk import data, verb
from tests.topology import no_netfilter

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with Bed("algate") as made:
        yield made
        no_netfilter(made.lab, made.gateway)


def explained(bed: Bed, *subject: str) -> dict[str, Any]:
    answer: dict[str, Any] = bed.gateway.ask("explain", {"subject": list(subject)})
    return answer


def says(bed: Bed, verdict: str, topic: str, text: str, *subject: str) -> None:
    """Assert that verdict, and that one finding of that topic has that text."""
    answer = explained(bed, *subject)
    texts = [one["text"] for one in answer["findings"] if one["topic"] == topic]
    assert (answer["verdict"], len(texts)) == (verdict, 1), answer
    assert text in texts[0]


def test_a_server_that_has_not_greeted_and_a_client_that_has_not_logged_in(bed: Bed) -> None:
    with bed.lab.server.socket() as listener, bed.lab.client.socket() as client:
        listener.bind((ADDRESSES["default"], 21))
        listener.listen()
        client.connect((ADDRESSES["default"], 21))
        serving, _ = listener.accept()
        with serving:
            local = "{}:{}".format(*client.getsockname())
            says(bed, "waiting", "greeting", "the server has not greeted yet", local)
            serving.sendall(b"220 ready\r\n")
            assert client.recv(100) == b"220 ready\r\n"
            says(bed, "waiting", "login", "the client has not logged in yet", local)
            client.sendall(b"USER x\r\n")
            assert serving.recv(100) == b"USER x\r\n"
            says(bed, "waiting", "unanswered", "has not answered the client's latest commands (1)", local)
            client.close()  # before the server: its port is needed again
            assert serving.recv(100) == b""


def test_a_client_that_does_not_connect(bed: Bed) -> None:
    with dialogue(bed) as talk:
        server = talk.outer_ip
        talk.ask(b"PASV\r\n", b"227 Entering Passive Mode (" + six(server, 51234) + b").\r\n")
        says(bed, "waiting", "syn-missing", f"server {server} was announced at port 51234, but the SYN of", talk.id)
        says(bed, "waiting", "syn-missing", "51234", str(talk.client.local))
        says(bed, "waiting", "syn-missing", "51234", "tcp", str(talk.client.local), str(talk.server.local))


def test_a_server_that_does_not_connect_and_one_that_does_not_agree(bed: Bed) -> None:
    with dialogue(bed) as talk:
        public = talk.port(50001, agree=False)
        says(
            bed, "waiting", "expectation-pending", f"(outside: {PUBLIC}:{public}); the other side's 2xx never", talk.id
        )
        talk.reply(b"200 done\r\n")
        says(bed, "waiting", "syn-missing", f"{talk.outer_ip} may connect to {PUBLIC}:{public}", talk.id)
    with dialogue(bed, policy="brief") as talk:
        talk.port(50001)
        talk.told_reason("expectation-expired")
        says(bed, "refused", "syn-never-came", f"{talk.outer_ip} was to connect to {talk.inner.address}:50001", talk.id)


def test_what_was_refused_says_whose_fault_it_was(bed: Bed) -> None:
    with dialogue(bed) as talk:
        other = bed.lab.clients[1].address
        talk.ask(b"PORT " + six(other, 50001) + b"\r\n", b"200 done\r\n")
        wanted = f"PORT named {other}, not the client, and third_party does not list it"
        says(bed, "refused", "port-not-client", wanted, talk.id)
        number = talk.id
    assert bed.gateway.ask("kill", {"ids": [number]})
    says(bed, "refused", "port-not-client", wanted, number)
    with dialogue(bed, policy="deny") as talk:
        talk.client.say(b"DELE it\r\n")
        talk.client.line()
        says(bed, "refused", "denied-command", "'DELE it'", talk.id)
    with dialogue(bed) as talk:
        talk.ask(b"RETR none\r\n", b"550 no such file\r\n")
        says(bed, "refused", "reply-550", "answered 'RETR none' with '550 no such file", talk.id)


def test_encryption_hides_everything(bed: Bed) -> None:
    with dialogue(bed) as talk:
        talk.ask(b"AUTH TLS\r\n", b"234 go on\r\n")
        says(bed, "blocked", "tls", "is encrypted", talk.id)


def test_an_unanswered_and_an_idle_data_connection(bed: Bed) -> None:
    with dialogue(bed) as talk:
        talk.ask(b"PASV\r\n", b"227 (" + six(talk.outer_ip, 51235) + b")\r\n")
        ip(f"route add blackhole {PUBLIC}/32", bed.lab.server.netns)
        try:
            assert talk.outward(talk.outer_ip, 51235, seconds=0.3) is None
            says(bed, "blocked", "syn-unanswered", "and was never answered", talk.id)
        finally:
            ip(f"route del blackhole {PUBLIC}/32", bed.lab.server.netns)
    with dialogue(bed) as talk:
        public = talk.port(50002)
        talk.comes_in(public, 50002)
        talk.command(b"RETR big\r\n")
        says(bed, "working", "data-moving", "(RETR big) is working", talk.id)
        time.sleep(IDLE + 0.5)
        says(bed, "blocked", "data-idle", "(RETR big) is up, but nothing has passed for", talk.id)


def test_no_session(bed: Bed) -> None:
    says(bed, "refused", "allow-out", "allow_out lists tcp/21, tcp/2121", f"{ADDRESSES['default']}:8080")
    assert isinstance(bed.gateway, AlgateGateway)
    done = verb(bed.gateway, "explain", "10.77.0.2:1")
    assert done.returncode == 0 and "refused" in done.stdout and done.stdout.startswith("10.77.0.2:1: ")
    assert verb(bed.gateway, "explain", "rubbish").returncode == 2


def test_a_host_is_told_of_by_its_sessions(bed: Bed) -> None:
    """As a process: each of its control sessions with its own verdict, the worst first; who has none is unknown."""
    assert isinstance(bed.gateway, AlgateGateway)
    with dialogue(bed) as good, dialogue(bed) as bad, dialogue(bed, index=1) as other:
        here = good.inner.address
        bad.ask(b"PORT " + six("10.9.9.9", 50001) + b"\r\n", b"200 done\r\n")
        done = verb(bed.gateway, "explain", here)
        lines = done.stdout.splitlines()
        assert (done.returncode, done.stderr) == (0, "") and lines[0].startswith(f"{here}: ")
        wanted = f"- {bad.client.local} and {bad.server.local} (ftp, {bad.id}): PORT named 10.9.9.9"
        assert any(line.startswith(wanted) for line in lines), lines
        assert any(good.id in line for line in lines) and not any(other.id in line for line in lines)
        answer = data(bed.gateway, "explain", here)
        verdicts = [one["verdict"] for one in answer["findings"]]
        assert verdicts == sorted(verdicts, key=ORDER.index) and answer["verdict"] == verdicts[0], "the worst first"
        assert "port-not-client" in {one["topic"] for one in answer["findings"]}
        of_server = data(bed.gateway, "explain", other.outer_ip)
        assert other.id in str(of_server) and bad.id in str(of_server), "a server outside is a host as well"
    done = verb(bed.gateway, "explain", "10.50.0.2")
    assert (done.returncode, done.stdout.splitlines()[0]) == (1, "10.50.0.2: unknown")
    assert "10.50.0.2 has no session" in done.stdout


def test_follow_refuses_what_can_never_match(bed: Bed) -> None:
    """In one line, at once, with the nearest word; what may match is waited for."""
    assert isinstance(bed.gateway, AlgateGateway)
    for words, said in (
        (["--reason", "bogus"], "--reason: no event has the reason 'bogus'; the nearest is "),
        (["--reason", "port-not-clinet"], "the nearest is port-not-client"),
        (["--event", "expectaton"], "--event: no event has the event 'expectaton'; the nearest is expectation-"),
    ):
        done = verb(bed.gateway, "follow", *words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert done.stderr.startswith("algate: --") and said in done.stderr
    for words in (["--reason", "any"], ["--reason", "reply-550,tls"], ["--event", "expectation,transfer"]):
        argv = [*algate(), "follow", *words, "--run-dir", str(bed.gateway.run_dir)]
        waiting = bed.lab.gw.spawn("follow", argv)
        time.sleep(0.5)
        assert waiting.alive(), waiting.log.read_text()
        waiting.stop()


def ended(talk: Dialogue) -> bool:
    return not [row for row in talk.bed.gateway.ask("sessions") if row["id"] == talk.id]


def test_kill_resets_both_ends_and_takes_the_expectations(bed: Bed) -> None:
    assert isinstance(bed.gateway, AlgateGateway)
    with dialogue(bed) as talk, dialogue(bed) as other:
        public = talk.port(50003)
        (row,) = data(bed.gateway, "kill", talk.id, "--reset")
        assert row["id"] == talk.id and ended(talk)
        assert talk.client.closed() == "reset" and talk.server.closed() == "reset"
        assert talk.expectations() == []
        talk.shut_in(public, 50003)
        says(bed, "refused", "operator", "an operator ended", talk.id)
        other.alive()
        assert verb(bed.gateway, "kill", talk.id).returncode == 1
        assert verb(bed.gateway, "kill").returncode == 2


def test_kill_by_filter_without_a_word_to_the_ends(bed: Bed) -> None:
    with dialogue(bed) as talk, dialogue(bed, index=1) as other:
        public = talk.port(50004)
        wanted = {"inside": f"{talk.inner.address}:{talk.client.local.port}"}
        assert [one["id"] for one in bed.gateway.ask("kill", wanted | {"dry_run": True})] == [talk.id]
        talk.alive()
        assert [one["id"] for one in bed.gateway.ask("kill", wanted)] == [talk.id]
        assert ended(talk) and talk.expectations() == []
        talk.shut_in(public, 50004)
        talk.client.say(b"NOOP\r\n")
        talk.server.silent()
        other.alive()
