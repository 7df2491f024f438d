"""FTP-35 to FTP-38, FTP-41 to FTP-45: encryption, the course of a session, third hosts, many sessions."""

from __future__ import annotations

import contextlib

import pytest

from tests.cases.bed import CROWD, STRANGER, Bed
from tests.cases.case import NO_OPTION, case
from tests.cases.dialogue import PUBLIC, Dialogue, dialogue
from tests.cases.ends import six

TLS = "AUTH accepted: reading stops at that byte in both directions; AUTH declined: it goes on; option: refuse AUTH"
HELLO = b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b"


@pytest.mark.parametrize("inside", ["client", "server"])
@case(35, TLS)
def test_ftp_35_auth_accepted(bed: Bed, inside: str) -> None:
    with dialogue(bed, inside) as d:
        port = d.new_port()
        own = d.inner_ip if d.client_inside else d.outer_ip
        other = d.outer_ip if d.client_inside else d.inner_ip
        command = b"PORT " + six(own, port) + b"\r\n"
        # The ClientHello in the segment of the AUTH may be TLS, or not: it waits for the answer, and isn't text.
        d.client.say(b"AUTH TLS\r\n" + command + HELLO + b"\r\n" + command)
        d.server.hear(b"AUTH TLS\r\n")
        announced = b"227 Entering Passive Mode (" + six(other, port) + b")\r\n"
        d.server.say(b"234 go on\r\n\x16\x03\x03\0\x2a\r\n" + announced)
        d.client.hear(b"234 go on\r\n\x16\x03\x03\0\x2a\r\n" + announced)
        d.server.hear(command + HELLO + b"\r\n" + command)
        d.ask(b"PASV\r\n", announced)
        d.ask(command, b"200 ok\r\n")
        shut(d, port)


def shut(d: Dialogue, port: int) -> None:
    """Check that neither direction is open at that port."""
    d.shut_in(port, port)
    d.shut_out(d.outer_ip, port)


@pytest.mark.parametrize("answer", [b"534 no TLS\r\n", b"431 not now\r\n", b"504 unknown\r\n"])
@case(35, TLS)
def test_ftp_35_auth_declined(bed: Bed, answer: bytes) -> None:
    with dialogue(bed) as d:
        port = d.new_port()
        d.client.say(b"AUTH TLS\r\nPORT " + d.six(port) + b"\r\n")
        d.server.hear(b"AUTH TLS\r\n")
        d.reply(answer)
        public = d.told(d.server, b"PORT ", b"\r\n")
        d.reply(b"200 ok\r\n")
        d.comes_in(public, port)
        d.nothing_private()


@case(35, TLS, kernel=NO_OPTION)
def test_ftp_35_auth_refused_by_policy(bed: Bed) -> None:
    with dialogue(bed, policy="no-tls") as d:
        d.client.say(b"AUTH TLS\r\n")
        assert d.client.line().startswith(b"534 algate:")
        d.server.silent()
        d.told_reason("command-refused", "tls-refused")
        port = d.new_port()
        d.comes_in(d.port(port), port)
        d.alive()


@case(36, "after TLS nothing is guessed: neither inside its records nor behind CCC; implicit FTPS (990) isn't watched")
def test_ftp_36_clear_command_channel(bed: Bed) -> None:
    with dialogue(bed) as d:
        port = d.new_port()
        d.ask(b"AUTH TLS\r\n", b"234 go on\r\n")
        record = b"\x17\x03\x03\0\x40" + b"\r\nPORT " + d.six(port) + b"\r\n"
        d.ask(record, b"\x17\x03\x03\0\x20\r\n200 PORT done\r\n")  # chance bytes in a record
        d.shut_in(port, port)
        d.ask(b"\x15\x03\x03\0\x02\x01\0", b"\x15\x03\x03\0\x02\x01\0")  # close_notify: CCC was agreed inside
        d.ask(b"PORT " + d.six(port) + b"\r\n", b"200 PORT done\r\n")
        shut(d, port)


@case(36, "after TLS nothing is guessed: neither inside its records nor behind CCC; implicit FTPS (990) isn't watched")
def test_ftp_36_implicit(bed: Bed) -> None:
    with Dialogue(bed, port=990, watched=False) as d:
        port = d.new_port()
        d.ask(HELLO + b"\r\nPORT " + d.six(port) + b"\r\n", b"200 ok\r\n227 (" + six(d.outer_ip, port) + b")\r\n")
        shut(d, port)


FEATURES = "FEAT with EPSV and AUTH, HOST, LANG and OPTS pass unchanged, whatever the policy"


@case(37, FEATURES)
def test_ftp_37_features(bed: Bed) -> None:
    features(bed, "default")


@case(37, FEATURES, kernel=NO_OPTION)
def test_ftp_37_features_that_the_policy_refuses(bed: Bed) -> None:
    features(bed, "no-tls")


def features(bed: Bed, policy: str) -> None:
    """Announced and negotiated, and then used."""
    with dialogue(bed, policy=policy) as d:
        d.ask(b"FEAT\r\n", b"211-Features:\r\n EPRT\r\n EPSV\r\n AUTH TLS\r\n UTF8\r\n MLST size*;\r\n211 End\r\n")
        for line in (b"HOST ftp.example\r\n", b"LANG de\r\n", b"OPTS UTF8 ON\r\n", b"OPTS MLST size;\r\n"):
            d.ask(line, b"200 ok\r\n")
        port = d.new_port()
        d.comes_in(d.port(port), port)


@case(38, "REIN ends what was agreed and begins anew; QUIT during a transfer: control ends, data survives")
def test_ftp_38_rein(bed: Bed) -> None:
    with dialogue(bed) as d:
        port = d.new_port()
        public = d.port(port)
        d.ask(b"REIN\r\n", b"220 anew\r\n")
        d.told_reason("expectation-withdrawn", "reinitialised")
        d.shut_in(public, port)
        d.ask(b"USER lab\r\n", b"331 password?\r\n")
        d.ask(b"PASS secret\r\n", b"230 welcome\r\n")
        d.comes_in(d.port(port), port)
        d.alive()


@pytest.mark.parametrize("inside", ["client", "server"])
@case(38, "REIN ends what was agreed and begins anew; QUIT during a transfer: control ends, data survives")
def test_ftp_38_quit_during_a_transfer(bed: Bed, inside: str) -> None:
    with dialogue(bed, inside) as d:
        port = d.new_port()
        data = d.comes_in(d.port(port) if d.client_inside else d.pasv(port), port)
        d.ask(b"QUIT\r\n", b"221 bye\r\n")
        d.server.socket.close()
        assert d.client.closed() == "fin"
        d.client.socket.close()
        for _ in range(3):
            assert data.carries(b"x" * 100_000)


THIRD = "a PORT that names a third host opens nothing (FXP); third_party lists exceptions"


@pytest.mark.parametrize("named", [STRANGER, "10.77.0.3", "127.0.0.1", PUBLIC[:-1] + "3"])
@case(41, THIRD)
def test_ftp_41_inside_client_names_another(bed: Bed, named: str) -> None:
    with dialogue(bed) as d:
        port = d.new_port()
        d.command(b"PORT " + six(named, port) + b"\r\n")
        d.told_reason("expectation-refused", "port-not-client")
        d.reply(b"200 ok\r\n")
        d.nothing_open(port)


@case(41, THIRD)
def test_ftp_41_outside_client_names_another(bed: Bed) -> None:
    """The bounce: an inside server is asked to connect to somebody else."""
    with dialogue(bed, "server") as d:
        port = d.new_port()
        d.ask(b"PORT " + six(STRANGER, port) + b"\r\n", b"200 ok\r\n")
        d.told_reason("expectation-refused", "port-not-client")
        d.shut_out(STRANGER, port)
        d.ask(b"PORT " + six(d.outer_ip, port) + b"\r\n", b"200 ok\r\n")
        d.goes_out(d.outer_ip, port)
        d.nothing_open()


@case(41, THIRD, kernel=NO_OPTION)
def test_ftp_41_listed(bed: Bed) -> None:
    with dialogue(bed, "server", "third-party") as d:
        port = d.new_port()
        d.ask(b"PORT " + six(STRANGER, port) + b"\r\n", b"200 ok\r\n")
        d.goes_out(STRANGER, port)
        d.ask(b"PORT " + six("203.0.113.41", port) + b"\r\n", b"200 ok\r\n")
        d.told_reason("expectation-refused", "port-not-client")
        d.nothing_open()


@case(42, "a server behind a forward that announces its private address is rewritten, one that says the public isn't")
def test_ftp_42_server_says_the_public_address(bed: Bed) -> None:
    with dialogue(bed, "server") as d:
        for _ in range(2):
            port = d.new_port()
            d.command(b"PASV\r\n")
            d.server.say(b"227 Entering Passive Mode (" + six(PUBLIC, port) + b").\r\n")
            d.comes_in(d.told(d.client, b"227 Entering Passive Mode (", b").\r\n"), port)
            d.comes_in(d.pasv(port + 1), port + 1)
        d.alive()
        d.nothing_private()


@case(43, "a server that announces a third host opens nothing, unless third_party lists it")
def test_ftp_43_outside_server_announces_another(bed: Bed) -> None:
    with dialogue(bed) as d:
        port = d.new_port()
        d.ask(b"PASV\r\n", b"227 Entering Passive Mode (" + six(STRANGER, port) + b").\r\n")
        d.told_reason("expectation-refused", "third-party")
        d.shut_out(STRANGER, port)
        d.shut_out(d.outer_ip, port)
        d.nothing_open()


@case(43, "a server that announces a third host opens nothing, unless third_party lists it")
def test_ftp_43_inside_server_announces_another(bed: Bed) -> None:
    with dialogue(bed, "server") as d:
        port = d.new_port()
        d.ask(b"PASV\r\n", b"227 Entering Passive Mode (" + six("10.77.0.3", port) + b").\r\n")
        d.told_reason("expectation-refused", "third-party")
        d.nothing_open(port)


@case(43, "a server that announces a third host opens nothing, unless third_party lists it", kernel=NO_OPTION)
def test_ftp_43_listed(bed: Bed) -> None:
    with dialogue(bed, policy="third-party") as d:
        port = d.new_port()
        d.ask(b"PASV\r\n", b"227 Entering Passive Mode (" + six(STRANGER, port) + b").\r\n")
        d.goes_out(STRANGER, port)
        d.nothing_open()


@pytest.mark.parametrize("inside", ["client", "server"])
@case(44, "very many transfers one after the other (10,000 with --all): every one works, no expectation is left")
def test_ftp_44_many_transfers(bed: Bed, inside: str, request: pytest.FixtureRequest) -> None:
    times = 5000 if request.config.getoption("run_all") else 150
    with dialogue(bed, inside) as d:
        ports = [d.new_port() for _ in range(50)]
        for turn in range(times):
            port = ports[turn % len(ports)]
            public = d.port(port) if d.client_inside else d.pasv(port)
            data = d.inward(public, port)
            assert data is not None, f"transfer {turn} does not come"
            data.caller.sendall(b"x")
            assert data.listener.recv(1) == b"x"
            data.close()
        d.nothing_open()
        if bed.algate:
            ends = {f"{d.inner_ip}:{port}" for port in ports}
            rows = [row for row in bed.gateway.ask("mappings") if row["inside"] in ends]
            assert len(rows) <= len(ports), "mappings of ended transfers pile up"


@case(45, "many clients with the same port number to one server, naming the same data port: no cross-talk")
def test_ftp_45_same_client_port(bed: Bed) -> None:
    with contextlib.ExitStack() as stack:
        port, control = Dialogue.new_port(), Dialogue.new_port()
        all_of = [stack.enter_context(dialogue(bed, client_port=control, inner_ip=one)) for one in CROWD]
        assert len({d.server.remote for d in all_of}) == len(CROWD), "two clients look the same outside"
        for d in all_of:
            d.client.say(b"PORT " + d.six(port) + b"\r\n")
        public = [d.told(d.server, b"PORT ", b"\r\n") for d in all_of]
        assert len(set(public)) == len(CROWD), "two clients were given one public port"
        for d in reversed(all_of):
            d.reply(b"200 ok\r\n")
        for number, d in enumerate(all_of):
            data = d.comes_in(public[number], port)
            assert data.listener.getsockname()[0] == d.inner_ip
        for d in all_of:
            d.alive()


@pytest.mark.parametrize("inside", ["client", "server"])
def test_port_before_log_in(bed: Bed, inside: str) -> None:
    """A server that is an accomplice agrees to what it will: nothing opens until it has accepted a log-in."""
    if not bed.algate:
        pytest.skip(NO_OPTION)
    refused = b"530 algate: log in first, with USER and PASS.\r\n"
    with Dialogue(bed, inside, "log-in") as d:
        port = d.new_port()
        d.reply(b"220 ready\r\n")
        if d.client_inside:
            d.client.say(b"PORT " + d.six(port) + b"\r\n")
            d.client.hear(refused)
            d.told_reason("command-refused", "before-login")
            d.reply(b"200 ok\r\n")
        else:
            d.command(b"PASV\r\n")
            d.reply(b"227 Entering Passive Mode (" + d.six(port) + b").\r\n", refused)
            d.told_reason("expectation-refused", "before-login")
        d.nothing_open(port)
        d.ask(b"USER lab\r\n", b"331 password?\r\n")
        d.ask(b"PASS secret\r\n", b"230 welcome\r\n")
        d.comes_in(d.port(port) if d.client_inside else d.pasv(port), port)
        d.alive()
