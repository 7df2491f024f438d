"""What the operator allows and refuses, with real servers and clients: FTPS data, refused commands, rates, idling.

Takes about 25 s, since one transfer is slow on purpose; one gateway for all.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.judge import Mode
from algate.cli.lab.lab import Lab
from algate.cli.lab.servers import start_server
from algate.cli.lab.trial import digest, forwards
from tests.netns.talk import PATIENCE, data, talking, until, verb
from tests.topology import no_netfilter

FIRST, LAST = 50000, 50010
FREE, OTHER = "203.0.113.10", "203.0.113.11"  # outside: clients of the server inside, and servers
IDLE = 3.0  # s, tcp_established
CONFIG = f"""
[timeouts]
tcp_transitory = 1
[nat]
hold_down = 0
[alg.ftp]
tls_passive_ports = "{FIRST}-{LAST}"
[[alg.ftp.rule]]
client = "{OTHER}"
tls_passive_ports = ""
[[alg.ftp.rule]]
server = "{FREE}"
deny = ["DELE"]
[[alg.ftp.rule]]
server = "{OTHER}"
tls = "refuse"
commands_per_second = 8
"""


class Place:
    """A gateway with a server on either side, both with TLS."""

    def __init__(self, lab: Lab, gateway: AlgateGateway) -> None:
        self.lab = lab
        self.gateway = gateway
        files = certificate(lab.folder)
        self.inside = start_server("vsftpd", lab.client, more={**files, "pasv_min_port": FIRST, "pasv_max_port": LAST})
        self.outside = start_server("vsftpd", lab.server, more={**files, "anon_max_rate": 128_000})
        for server in (self.inside, self.outside):
            (server.pub / "file").write_bytes(bytes(range(256)) * 40)
        (self.outside.pub / "slow").write_bytes(bytes(256) * 4096)

    def curl(self, source: str, url: str, *more: str) -> subprocess.CompletedProcess[str]:
        """curl in the outside host from one of its addresses, or in the inside host."""
        host = self.lab.client if source == self.lab.client.address else self.lab.server
        words = ["curl", "-q", "-sS", "-k", "--interface", source, "--connect-timeout", "4", "--max-time", "5"]
        return host.run([*words, "--user", "anonymous:x", *more, url], timeout=30)

    def url(self, path: str) -> str:
        """URL on the inside server, as seen from outside."""
        return f"ftp://{self.lab.plan.public[0]}/pub/{path}"

    def says(self, *words: str) -> bool:
        """Whether one line of the log has all these words."""
        return any(all(word in line for word in words) for line in self.gateway.log.splitlines())

    def knocks(self, source: str, port: int) -> bool:
        """Whether a connection from an outside address to a public port is answered at all."""
        with self.lab.server.socket() as one:
            one.settimeout(0.5)
            one.bind((source, 0))
            try:
                one.connect((self.lab.plan.public[0], port))
            except ConnectionRefusedError:
                return True  # a RST from inside: it came through
            except OSError:
                return False
            return True


def certificate(folder: Path) -> dict[str, object]:
    """A self-signed key, as vsftpd wants it."""
    pem = folder / "tls.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-keyout", str(pem), "-out", f"{pem}.crt", "-days", "2", "-subj", "/CN=lab"]
    subprocess.run(words, check=True, capture_output=True)
    return {
        "ssl_enable": "YES",
        "allow_anon_ssl": "YES",
        "force_local_logins_ssl": "NO",
        "force_local_data_ssl": "NO",
        "require_ssl_reuse": "NO",
        "ssl_ciphers": "HIGH",
        "rsa_cert_file": f"{pem}.crt",
        "rsa_private_key_file": pem,
    }


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with Lab() as lab, AlgateGateway(lab, forwards(lab), config=CONFIG) as gateway:
        yield Place(lab, gateway)
        no_netfilter(lab, gateway)


# -- TLS --------------------------------------------------------------------------------------------


def gates(place: Place) -> list[dict[str, Any]]:
    return [row for row in data(place.gateway, "expectations") if row["public"] and "-" in row["public"]]


def test_data_inside_tls_passes_on_the_range_ftp_35(place: Place) -> None:
    """get and put by a real client outside from a real server inside, all of it encrypted."""
    got = place.lab.folder / "got"
    for number in range(3):
        done = place.curl(FREE, place.url("file"), "--ssl-reqd", "-o", str(got))
        assert done.returncode == 0, done.stderr
        assert digest(got) == digest(place.inside.pub / "file"), number
    done = place.curl(FREE, place.url("up"), "--ssl-reqd", "-T", str(got))
    assert done.returncode == 0, done.stderr
    assert digest(place.inside.pub / "up") == digest(got)
    until(lambda: not gates(place), 5)
    assert place.says(f"TLS {place.lab.plan.public[0]}:{FIRST}-{LAST} expected")
    assert place.says(f"{FIRST}-{LAST}", "came")


def test_without_the_range_no_data_and_the_log_says_why(place: Place) -> None:
    done = place.curl(OTHER, place.url("file"), "--ssl-reqd", "-o", "/dev/null")
    assert done.returncode != 0
    assert place.says("refused", "tls_passive_ports is not set", "tls-no-ports")
    plain = place.curl(OTHER, place.url("file"), "-o", "/dev/null")
    assert plain.returncode == 0, "in the clear it works as ever"


def tls_session(place: Place, source: str) -> socket.socket:
    """A control connection of the outside host that said AUTH TLS; nothing of TLS itself is spoken."""
    one = place.lab.server.socket()
    one.settimeout(PATIENCE)
    one.bind((source, 0))
    one.connect((place.lab.plan.public[0], 21))
    assert one.recv(200).startswith(b"220")
    one.sendall(b"AUTH TLS\r\n")
    assert one.recv(200).startswith(b"234")
    return one


def test_the_range_is_for_one_client_while_its_session_lives(place: Place) -> None:
    """Two sessions of one client share the range: it closes with the second one. No other host, no other port."""
    public = place.lab.plan.public[0]
    assert not place.knocks(FREE, FIRST + 5)
    first = tls_session(place, FREE)
    (row,) = gates(place)
    assert (row["public"], row["from"], row["state"]) == (f"{public}:{FIRST}-{LAST}", FREE, "open")
    assert row["to"] == f"{place.lab.client.address}:{FIRST}-{LAST}"
    assert place.knocks(FREE, FIRST) and place.knocks(FREE, LAST)
    assert not place.knocks(FREE, FIRST - 1) and not place.knocks(FREE, LAST + 1)
    assert not place.knocks(OTHER, FIRST)
    second = tls_session(place, FREE)
    assert len(gates(place)) == 1, "one row for both"
    second.close()
    time.sleep(1.5)  # the gateway looks once a second
    assert place.knocks(FREE, FIRST + 1)
    place.gateway.stop_daemon()
    assert place.knocks(FREE, FIRST + 2), "the kernel has it"
    place.gateway.start()
    assert place.knocks(FREE, FIRST + 3) and len(gates(place)) == 1
    first.close()
    until(lambda: not gates(place), 5)
    assert not place.knocks(FREE, FIRST + 4)


def test_auth_is_refused_in_the_servers_name(place: Place) -> None:
    """curl falls back to plain FTP if it may, and gives up if not; the server sees no AUTH."""
    inside, url = place.lab.client.address, f"ftp://{OTHER}/pub/file"
    done = place.curl(inside, url, "--ssl", "-v", "-o", "/dev/null")
    assert done.returncode == 0 and "534 algate: " in done.stderr, done.stderr
    done = place.curl(inside, url, "--ssl-reqd", "-o", "/dev/null")
    assert done.returncode == 64, done.stderr
    assert place.says("refused", "AUTH", "tls-refused")


# -- refused commands -----------------------------------------------------------------------------------


def speak(place: Place, address: str, words: bytes, answers: int) -> list[bytes]:
    """Log in from inside, send all the words in one segment, and read that many answers."""
    with place.lab.client.socket() as one:
        one.settimeout(PATIENCE)
        one.connect((address, 21))
        heard = one.makefile("rb")
        assert heard.readline().startswith(b"220")
        one.sendall(b"USER anonymous\r\n")
        assert heard.readline().startswith(b"230")
        one.sendall(words)
        return [heard.readline() for _ in range(answers)]


def test_denied_among_pipelined_commands_ftp_88(place: Place) -> None:
    """Answers come in the order of the commands, the file is still there, and the next command works."""
    words = b"NOOP\r\nDELE pub/file\r\nPWD\r\ndele pub/file\r\nDELE pub/file\r\nTYPE I\r\n"
    answers = speak(place, FREE, words, 6)
    assert [line[:3] for line in answers] == [b"200", b"502", b"257", b"502", b"502", b"200"]
    assert all(b"algate" in line and b"policy" in line for line in answers if line.startswith(b"502"))
    assert (place.outside.pub / "file").exists()
    assert place.says("refused", "DELE pub/file", "denied-command")


def test_after_a_refusal_transfers_work_in_every_mode_ftp_88(place: Place) -> None:
    """Both streams are shifted by what was taken out and put in."""
    with talking(place.lab.client, FREE, place.outside.login) as talker:
        for mode in Mode:
            with pytest.raises(Exception, match="502 algate"):
                talker.say("DELE pub/file")
            assert talker.fetch("pub/file", mode) == bytes(range(256)) * 40


def test_who_hurries_is_refused_and_nobody_else_notices_ftp_83(place: Place) -> None:
    """Each command beyond the rate is answered with 450; another session works meanwhile."""
    answers = speak(place, OTHER, b"NOOP\r\n" * 40, 40)
    codes = [line[:3] for line in answers]
    assert set(codes) == {b"200", b"450"} and codes.count(b"450") >= 20
    assert place.says("refused", "NOOP", "command-rate")
    assert speak(place, FREE, b"NOOP\r\n" * 40, 40) == [b"200 NOOP ok.\r\n"] * 40


# -- keeping alive ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hasty(place: Place) -> Place:
    """The same gateway with little patience for idle sessions."""
    config = place.lab.folder / "algate.toml"
    config.write_text(config.read_text().replace("tcp_transitory = 1", f"tcp_transitory = 1\ntcp_established = {IDLE}"))
    done = verb(place.gateway, "reload")
    assert done.returncode == 0, done.stderr
    return place


def test_a_long_transfer_keeps_its_control_session_ftp_73(hasty: Place) -> None:
    """Eight seconds of data, with an idle timeout of three: the 226 comes, and the session goes on."""
    with talking(hasty.lab.client, FREE, hasty.outside.login) as talker:
        start = time.monotonic()
        assert len(talker.fetch("pub/slow")) == 256 * 4096
        assert time.monotonic() - start > 2 * IDLE
        assert talker.say("NOOP").startswith("200")


def test_an_idle_session_ends_as_the_timeout_says(hasty: Place) -> None:
    """The counterpart: without data it isn't kept."""

    def known() -> list[Any]:
        found: list[Any] = data(hasty.gateway, "sessions", "--alg", "ftp", "--state", "established")
        return found

    with hasty.lab.client.socket() as one:
        one.connect((FREE, 21))
        assert one.recv(200).startswith(b"220") and known()
        until(lambda: not known(), 4 * IDLE)
