"""Each transfer leaves one event that tells its file and payload, though nobody follows: every mode, client inside or
outside, fetched or stored; and one that the server refuses says so."""

from __future__ import annotations

import ftplib
from collections.abc import Iterator
from typing import Any

import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.host import Host
from algate.cli.lab.judge import Mode
from algate.cli.lab.servers import FtpServer, start_server
from tests.netns.talk import Talker, talking, until, verb
from tests.topology import gateway_lab

pytestmark = pytest.mark.netns
SIZES = (3, 70_000)


@pytest.fixture(scope="module")
def gateway() -> Iterator[AlgateGateway]:
    with gateway_lab("algate") as (_, made):
        assert isinstance(made, AlgateGateway)
        yield made


@pytest.fixture(scope="module", params=["inside", "outside"])
def talker(request: pytest.FixtureRequest, gateway: AlgateGateway) -> Iterator[tuple[str, Talker]]:
    """A client on that side, its server on the other."""
    lab = gateway.lab
    client, host, address = (lab.client, lab.server, lab.plan.servers[0])
    if request.param == "outside":
        client, host, address = lab.server, lab.client, lab.plan.public[0]
    server = _served(host)
    with talking(client, address, server.login) as made:
        yield request.param, made
    server.stop()


def _served(host: Host) -> FtpServer:
    server = start_server("vsftpd", host)
    for size in SIZES:
        (server.pub / f"file{size}").write_bytes(b"x" * size)
    return server


def told(gateway: AlgateGateway, event: str) -> list[dict[str, Any]]:
    """The fields of all such events so far: nobody follows, so that lines pass as they usually do."""
    (now,) = (one for one, _ in zip(gateway.tell("top"), range(1), strict=False))
    return [one["fields"] for one in now["events"] if one["event"] == event]


def transfers(gateway: AlgateGateway) -> list[dict[str, Any]]:
    """Without those of a connection that was made for a file that isn't there."""
    return [one for one in told(gateway, "transfer") if one["reply"] != "550"]


@pytest.mark.parametrize("mode", list(Mode))
def test_each_transfer_leaves_one_event_with_its_payload(
    gateway: AlgateGateway, talker: tuple[str, Talker], mode: Mode
) -> None:
    side, client = talker
    before = len(transfers(gateway))
    for size in SIZES:
        assert client.fetch(f"pub/file{size}", mode) == b"x" * size
        client.store(f"pub/{mode}{size}", b"y" * size, mode)
    until(lambda: len(transfers(gateway)) >= before + 2 * len(SIZES))
    found = transfers(gateway)[before:]
    said = [(one["verb"], one["name"], one["bytes"]) for one in found]
    fetched = [("RETR", f"pub/file{size}", size) for size in SIZES]
    assert sorted(said) == sorted([*fetched, *(("STOR", f"pub/{mode}{size}", size) for size in SIZES)])
    assert {(one["client"], one["counted"]) for one in found} == {(side, "payload")}
    inward, outward = ("in", "out") if side == "inside" else ("out", "in")
    assert [one["bytes"] for one in found if one["direction"] == inward] == list(SIZES)
    assert [one["bytes"] for one in found if one["direction"] == outward] == list(SIZES)
    assert all(one["ip_bytes"] >= one["bytes"] + 40 for one in found)


@pytest.mark.parametrize("mode", [Mode.PORT, Mode.PASV])
def test_a_refused_transfer_is_told(gateway: AlgateGateway, talker: tuple[str, Talker], mode: Mode) -> None:
    _, client = talker
    before, name = len(told(gateway, "transfer-failed")), f"pub/none-{mode}"
    with pytest.raises(ftplib.error_perm):
        client.fetch(name, mode)
    until(lambda: len(told(gateway, "transfer-failed")) > before)
    (found,) = told(gateway, "transfer-failed")[before:]
    assert (found["verb"], found["name"], found["answer"][:3]) == ("RETR", name, "550")


def test_nothing_is_left_of_them(gateway: AlgateGateway) -> None:
    broken = verb(gateway, "check", "--live")
    assert broken.returncode == 0, broken.stdout
    assert gateway.ask("expectations") == []
