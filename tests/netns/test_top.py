"""`algate top` of a real gateway, in tmux: every view, true counts above 2,000 sessions, explain, and a real end."""

from __future__ import annotations

import ftplib
import re
import shlex
import socket
import time
from collections.abc import Iterator

import pytest

from algate.cli.lab.gateways import AlgateGateway, algate
from algate.cli.lab.lab import Lab, LabPlan
from algate.cli.lab.servers import FtpServer, start_server
from tests.netns.talk import Talker, data, until, verb
from tests.screen import TestScreen, own_tmux
from tests.topology import no_netfilter

FLOWS = 3000
CLIENTS = ("10.77.0.2", "10.77.0.3")
CONFIG = """
[alg.ftp]
deny = ["DELE"]
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(LabPlan(clients=CLIENTS)) as made:
        yield made


@pytest.fixture(scope="module")
def server(lab: Lab) -> FtpServer:
    return start_server("vsftpd", lab.server)


@pytest.fixture(scope="module")
def gateway(lab: Lab, server: FtpServer) -> Iterator[AlgateGateway]:
    """With 3,000 flows of one host."""
    with AlgateGateway(lab, config=CONFIG) as made:
        with lab.clients[1].socket(kind=socket.SOCK_DGRAM) as crowd:
            for port in range(10_000, 10_000 + FLOWS):
                crowd.sendto(b"x", (lab.plan.servers[0], port))
                if port % 100 == 0:
                    time.sleep(0.01)
        until(lambda: data(made, "sessions", "--count")["count"] >= FLOWS)
        yield made
        no_netfilter(lab, made)


@pytest.fixture
def screen(gateway: AlgateGateway) -> Iterator[TestScreen]:
    """top in a tmux of its own."""
    command = shlex.join([*algate(), "top", "--run-dir", str(gateway.run_dir)])
    with own_tmux() as tmux:
        made = TestScreen([*tmux, "new-session", command], 120, 31, {})
        yield made
        made.type(b"\x03")
        made.read(0.5)
        made.close()


def test_the_counts_are_true_and_nothing_is_missed(gateway: AlgateGateway, lab: Lab, server: FtpServer) -> None:
    """The first 2,000 in the table's order had two FTP sessions among 3,000 flows only by luck."""
    address = lab.plan.servers[0]
    with Talker(lab.client, address, server.login) as one, Talker(lab.client, address, server.login):
        one.say("PASV")
        done = verb(gateway, "top", "--once", "--columns", "160", "--filter", "proto=tcp")
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert sum(line.startswith("ftp ") for line in lines) == 2
        assert any("exp" in line[:6] for line in lines)
        told = re.search(r"lines 1-3 of 3  \(([0-9,]+) in all\)", lines[2])
        assert told is not None, lines[2]
        total = int(told[1].replace(",", ""))
        assert FLOWS < total < FLOWS + 50
        assert f"sessions {total:,}" in lines[1]
        done = verb(
            gateway, "top", "--once", "--columns", "160", "--filter", "proto=udp", "--sort", "outside", "--reverse"
        )
        lines = done.stdout.splitlines()
        assert f"100 of {FLOWS:,} shown" in lines[2]
        assert f"{address}:{10_000 + FLOWS - 1} " in lines[4], "the last one of all, not of the first ones found"


def test_every_view_of_a_real_gateway(gateway: AlgateGateway, lab: Lab, server: FtpServer, screen: TestScreen) -> None:
    with Talker(lab.client, lab.plan.servers[0], server.login) as talker:
        with pytest.raises(ftplib.error_perm):
            talker.say("DELE x")
        with lab.server.socket(kind=socket.SOCK_DGRAM) as scan:
            for port in range(5000, 5020):
                scan.sendto(b"x", (lab.plan.public[0], port))
        screen.shows("sessions  sort rate", "of 3,0", " q  quit")
        screen.type(b"2")
        screen.shows("hosts  sort rate", *CLIENTS, "3.0k")
        screen.type(b"3")
        screen.shows("ports  sort fill", lab.plan.public[0], "udp", "░")
        screen.type(b"4")
        screen.shows("drops  sort rate", "unsolicited", "scans of the internet", "denied-command")
        screen.type(b"5")
        screen.shows("events  sort time", "denied-command", "DELE x")
        screen.type(b"/reason=any\r")
        screen.shows("filter reason=any", "denied-command")
        screen.type(b"1/alg=ftp state=established\r")
        screen.shows("filter alg=ftp state=established", "lines 1-1 of 1", "ftp    established")
        screen.type(b"\r")
        screen.shows("session ", "explain", "control session of")
        screen.type(b"k")
        screen.shows(f"End ftp {lab.client.address}", "y/n")
        screen.type(b"n")
        screen.shows("nothing was ended")
        assert talker.say("NOOP").startswith("200")
        screen.type(b"k")
        screen.shows("y/n")
        screen.type(b"y")
        screen.shows("1 session ended: ftp")
        until(lambda: data(gateway, "sessions", "--alg", "ftp", "--state", "established", "--count")["count"] == 0)
        screen.type(b"\x1b2")
        screen.shows("hosts  sort rate")
        screen.type(b"/inside=10.77.0.3\r")
        screen.shows("lines 1-1 of 1")
        screen.type(b"k")
        question = re.compile(r"End all 3,0[0-9][0-9] sessions of 10\.77\.0\.3\?")
        screen.until("the question", lambda text: question.search(text) is not None)
        screen.type(b"n")
        screen.shows("nothing was ended")


def test_a_daemon_that_dies_is_told_and_found_again(gateway: AlgateGateway, screen: TestScreen) -> None:
    screen.shows("sessions  sort rate", "translating")
    assert gateway.stop_daemon() == 0
    screen.shows("retrying: no daemon on")
    gateway.start()
    screen.shows("translating", "of 3,0")
