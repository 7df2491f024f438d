"""`algate capture`: both sides of a real session in one file that tshark reads, with reasons and without passwords."""

from __future__ import annotations

import contextlib
import ftplib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from algate.cli.lab.ftplib_client import FtplibClient
from algate.cli.lab.gateways import AlgateGateway, algate
from algate.cli.lab.host import call_in
from algate.cli.lab.lab import Lab
from algate.cli.lab.servers import FtpServer, start_server
from tests.netns.talk import data, until, verb

pytestmark = pytest.mark.netns
SECRET = "hunter22"
FIELDS = ("frame.interface_name", "tcp.checksum.status", "tcp.payload", "frame.comment")


@pytest.fixture(scope="module")
def gateway() -> Iterator[AlgateGateway]:
    with Lab() as lab, AlgateGateway(lab, config='[alg.ftp]\ndeny = ["DELE"]\n') as made:
        yield made


@pytest.fixture(scope="module")
def server(gateway: AlgateGateway) -> Iterator[FtpServer]:
    made = start_server("vsftpd", gateway.lab.server)
    (made.pub / "file").write_bytes(b"content")
    yield made
    made.stop()


@contextlib.contextmanager
def connected(gateway: AlgateGateway) -> Iterator[tuple[FtplibClient, str]]:
    """A session that has only been greeted, and its id."""
    client = FtplibClient(timeout=20)
    known = {row["id"] for row in data(gateway, "sessions", "--alg", "ftp")}
    call_in(gateway.lab.client.netns, lambda: client.connect(gateway.lab.plan.servers[0], 21))
    (number,) = {row["id"] for row in data(gateway, "sessions", "--alg", "ftp")} - known
    yield client, number
    client.close()


def started(gateway: AlgateGateway, number: str, path: Path, *argv: str) -> subprocess.Popen[str]:
    """A capture that has begun, asked for from outside the gateway's namespace."""
    words = [*algate(), "capture", number, "-w", str(path), *argv, "--run-dir", str(gateway.run_dir)]
    made = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert made.stderr is not None
    line = made.stderr.readline()
    assert line.startswith("algate: recording "), line + made.stderr.read()
    return made


def ended(made: subprocess.Popen[str]) -> str:
    """Its last words."""
    _, said = made.communicate(timeout=30)
    assert made.returncode == 0, said
    return said


def read(path: Path) -> list[dict[str, str]]:
    """The packets, by tshark; what it finds wrong with the file or with a checksum is an error."""
    argv = ["tshark", "-r", str(path), "-o", "tcp.check_checksum:TRUE", "-T", "fields", "-E", "aggregator=|"]
    done = subprocess.run([*argv, *(f"-e{one}" for one in FIELDS)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "rror" not in done.stderr and "cut short" not in done.stderr, done.stderr
    text = subprocess.run(["tshark", "-r", str(path), "-V"], capture_output=True, text=True, timeout=60).stdout
    assert "Malformed" not in text
    rows = [
        dict(zip(("on", "sum", "payload", "said"), one.split("\t"), strict=True)) for one in done.stdout.splitlines()
    ]
    return [one | {"payload": bytes.fromhex(one["payload"].replace(":", "")).decode()} for one in rows]


def test_a_session_from_log_in_to_its_end(gateway: AlgateGateway, server: FtpServer, tmp_path: Path) -> None:
    path = tmp_path / "made.pcapng"
    with connected(gateway) as (client, number):
        made = started(gateway, number, path)
        client.login(server.login.user, server.login.password)
        client.sendcmd(f"PASS {SECRET}")  # this server asks anonymous users for none, and takes any
        client.mode = "PORT"
        client.set_pasv(False)
        got: list[bytes] = []
        call_in(gateway.lab.client.netns, lambda: client.retrbinary("RETR pub/file", got.append))
        with pytest.raises(ftplib.error_perm):
            client.sendcmd("DELE pub/file")
        client.quit()
    assert "the session is over" in ended(made) and got == [b"content"]
    rows = read(path)
    plan, lan, wan = gateway.lab.plan, "lan0", "wan0"
    assert {row["on"] for row in rows} == {lan, wan}
    assert {row["sum"] for row in rows} == {"1"}, "each checksum is right for what is written"
    assert SECRET.encode() not in path.read_bytes()
    told = {(row["on"], row["payload"].split(" ")[0].strip()): row for row in rows if row["payload"]}
    blank = f"PASS {'*' * len(SECRET)}\r\n"
    assert told[lan, "PASS"]["payload"] == told[wan, "PASS"]["payload"] == blank
    assert "decision: replace" in told[lan, "PORT"]["said"] and "expected" in told[lan, "PORT"]["said"]
    assert "rewritten: in place of" in told[wan, "PORT"]["said"]
    assert told[wan, "PORT"]["payload"].startswith("PORT " + plan.public[0].replace(".", ","))
    assert "decision: refused" in told[lan, "DELE"]["said"] and "(denied-command)" in told[lan, "DELE"]["said"]
    assert (wan, "DELE") not in told
    assert "made by the gateway" in told[lan, "502"]["said"] and (wan, "502") not in told
    assert "passed in the kernel" in told[lan, "RETR"]["said"] or "decision: pass" in told[lan, "RETR"]["said"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_ends_by_a_key_by_packets_and_by_time(gateway: AlgateGateway, server: FtpServer, tmp_path: Path) -> None:
    with connected(gateway) as (client, number):
        by_key = started(gateway, number, tmp_path / "key")
        by_packets = started(gateway, number, tmp_path / "packets", "--packets", "3")
        by_time = started(gateway, number, tmp_path / "time", "--seconds", "0.5")
        client.login(server.login.user, server.login.password)
        assert "3 packets" in ended(by_packets) and len(read(tmp_path / "packets")) == 3
        assert "0.5 s are over" in ended(by_time)
        by_key.send_signal(signal.SIGINT)
        assert "stopped" in ended(by_key) and len(read(tmp_path / "key")) > 3
        until(lambda: gateway.ask("status")["control_sessions"])


def test_wrong_use_is_one_line(gateway: AlgateGateway, tmp_path: Path) -> None:
    unknown = verb(gateway, "capture", "00000000000000ff", "-w", str(tmp_path / "x"))
    assert (unknown.returncode, unknown.stderr.count("\n")) == (1, 1)
    assert "no control session" in unknown.stderr and not (tmp_path / "x").exists()
    bad = verb(gateway, "capture", "10.0.0.2:21", "-w", str(tmp_path / "x"))
    assert bad.returncode == 2 and "not a session id" in bad.stderr
