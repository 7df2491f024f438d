"""The gateway behind a 1:1 NAT: what it announces, whom that address means, and that it opens nothing more."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from algate.alg.plugin.model import Direction, Event, Expect, Open, Pass, Replace, Reserve, Side
from algate.alg.plugin.policy import Rule
from algate.alg.plugin.values import PortRange
from algate.alg.protocols.ftp import PLUGIN
from algate.alg.protocols.ftp.policy import FtpPolicy
from algate.alg.testing import Stage, at, control

CLIENT, SERVER = Side.CLIENT, Side.SERVER
NAT = IPv4Address("192.0.2.9")  # the gateway's address for the outside; its own public address is 203.0.113.1
POLICY = FtpPolicy(announce=NAT)
CALLED = ["10,0,0,5", "203,0,113,1", "192,0,2,9"]  # own, mapped, announced: all three mean the speaker inside


def stage(side: Side, policy: FtpPolicy = POLICY, **ends: str) -> Stage:
    """That side is inside. Greeted and logged in; the first reserved port is 50001."""
    made = Stage(PLUGIN, policy, control(side, **ends), [50001, 50002])
    for side, data in ((SERVER, b"220 ready\r\n"), (CLIENT, b"USER u\r\n"), (SERVER, b"230 in\r\n")):
        made.say(side, data)
    made.events.clear()
    return made


def inward(tag: int, *, opened: bool) -> Expect:
    peer = at("198.51.100.2:1").ip
    return Expect(tag, Direction.IN, peer, None, 120.0, open=opened, acts_after=None if opened else 0.05)


def true_end(made: Stage) -> None:
    """The mapped end point is expected, whatever was announced."""
    assert made.expectations[1].public == at("203.0.113.1:50001") and made.expectations[1].open


# -- a client inside -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("called", CALLED)
def test_a_client_inside_is_announced(called: str) -> None:
    made = stage(CLIENT)
    line = f"PORT {called},19,137\r\n".encode()
    shown = b"PORT 192,0,2,9,195,81\r\n"
    made.client << line >> Reserve(1, at("10.0.0.5:5001")) >> inward(1, opened=False) >> Replace(len(line), shown)
    made.server << b"200 ok\r\n" >> Open(1) >> Pass(8)
    made.done()
    true_end(made)


@pytest.mark.parametrize("called", CALLED)
def test_so_it_is_by_eprt(called: str) -> None:
    made = stage(CLIENT)
    line = f"EPRT |1|{called.replace(',', '.')}|5001|\r\n".encode()
    shown = b"EPRT |1|192.0.2.9|50001|\r\n"
    made.client << line >> Reserve(1, at("10.0.0.5:5001")) >> inward(1, opened=False) >> Replace(len(line), shown)
    made.server << b"200 ok\r\n" >> Open(1) >> Pass(8)
    made.done()
    true_end(made)


# -- a server inside -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("called", CALLED)
def test_a_server_inside_is_announced(called: str) -> None:
    made = stage(SERVER)
    made.client << b"PASV\r\n" >> Pass(6)
    line = f"227 here ({called},19,137).\r\n".encode()
    shown = b"227 here (192,0,2,9,195,81).\r\n"
    made.server << line >> Reserve(1, at("10.0.0.5:5001")) >> inward(1, opened=True) >> Replace(len(line), shown)
    made.done()
    true_end(made)


def test_a_server_that_already_says_all_of_it_is_let_alone() -> None:
    made = stage(SERVER)
    made.client << b"PASV\r\n" >> Pass(6)
    line = b"227 here (192,0,2,9,195,81).\r\n"
    made.server << line >> Reserve(1, at("10.0.0.5:50001")) >> inward(1, opened=True) >> Pass(len(line))
    made.done()
    true_end(made)


def test_229_carries_no_address() -> None:
    made = stage(SERVER)
    made.client << b"EPSV\r\n" >> Pass(6)
    line, shown = b"229 here (|||5001|)\r\n", b"229 here (|||50001|)\r\n"
    made.server << line >> Reserve(1, at("10.0.0.5:5001")) >> inward(1, opened=True) >> Replace(len(line), shown)
    made.done()
    true_end(made)
    assert made.events[-1].detail == "229 10.0.0.5:5001 as 203.0.113.1:50001"


# -- whom it doesn't concern ---------------------------------------------------------------------------------------


def test_the_outside_names_itself_as_ever() -> None:
    made = stage(SERVER)
    made.say(CLIENT, b"PORT 198,51,100,2,19,137\r\n")
    assert [one.expect.to for one in made.expectations.values()] == [at("198.51.100.2:5001")]
    made = stage(CLIENT)
    made.say(CLIENT, b"PASV\r\n")
    made.say(SERVER, b"227 (198,51,100,2,19,137)\r\n")
    assert [one.expect.to for one in made.expectations.values()] == [at("198.51.100.2:5001")]


@pytest.mark.parametrize("ip", ["192,0,2,9", "203,0,113,1"])
def test_the_outside_is_not_meant_by_the_gateway_s_addresses(ip: str) -> None:
    made = stage(SERVER)
    made.say(CLIENT, f"PORT {ip},19,137\r\n".encode())
    assert made.reasons("expectation-refused") == ["port-not-client"]
    made = stage(CLIENT)
    made.say(CLIENT, b"PASV\r\n")
    made.say(SERVER, f"227 ({ip},19,137)\r\n".encode())
    assert made.reasons("expectation-refused") == ["third-party"] and not made.expectations


@pytest.mark.parametrize("announce", [None, NAT])
def test_another_address_of_the_gateway_is_nobody_s_own(announce: IPv4Address | None) -> None:
    """It may be what the outside sees for another inside host."""
    made = stage(CLIENT, FtpPolicy(announce=announce))
    made.client << b"PORT 203,0,113,2,19,137\r\n" >> Pass(25)
    made.done()
    assert made.reasons("expectation-refused") == ["port-not-client"] and not made.reserved


def test_without_the_key_the_nat_s_address_is_a_stranger_s() -> None:
    made = stage(SERVER, FtpPolicy())
    made.say(CLIENT, b"PASV\r\n")
    made.say(SERVER, b"227 (192,0,2,9,19,137)\r\n")
    assert made.reasons("expectation-refused") == ["third-party"] and not made.reserved


def test_low_ports_stay_shut() -> None:
    made = stage(CLIENT)
    made.say(CLIENT, b"PORT 192,0,2,9,0,22\r\n")
    assert made.reasons("expectation-refused") == ["port-too-low"] and not made.reserved


@pytest.mark.parametrize("said", [b"PORT 10,0,0,5,19,137\r\n", b"PORT 192,0,2,9,19,137\r\n"])
def test_in_a_hairpin_the_gateway_s_own_address_leads_there(said: bytes) -> None:
    """A hairpin's other half reads that line: for it the peer is at that address, and no other."""
    made = stage(CLIENT, remote="203.0.113.1:21")
    made.say(CLIENT, said)
    assert made.heard[SERVER].endswith(b"PORT 203,0,113,1,195,81\r\n")
    other = stage(SERVER, inside="10.0.0.6:21", public="203.0.113.1:21", remote="203.0.113.1:40000")
    other.say(CLIENT, b"PORT 203,0,113,1,195,81\r\n")
    assert [one.expect.to for one in other.expectations.values()] == [at("203.0.113.1:50001")]
    other.say(CLIENT, b"PASV\r\n")
    other.say(SERVER, b"200 ok\r\n227 (10,0,0,6,19,137)\r\n")
    assert other.heard[CLIENT].endswith(b"227 (203,0,113,1,195,81)\r\n")


def test_tls_reserves_what_it_did() -> None:
    ports = PortRange(50000, 50100)
    made, plain = (stage(SERVER, FtpPolicy(announce=ip, tls_passive_ports=ports)) for ip in (NAT, None))
    for one in (made, plain):
        one.ports = None
        one.say(CLIENT, b"AUTH TLS\r\n")
        one.say(SERVER, b"234 go\r\n")
    assert made.expectations and made.expectations == plain.expectations and made.events == plain.events


# -- rules and events ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "shown"),
    [("10.0.0.5", b"192,0,2,9"), ("10.0.0.6", b"203,0,113,1"), ("10.0.0.7", b"192,0,2,10")],
)
def test_each_session_has_its_rule_s(client: str, shown: bytes) -> None:
    rules = tuple(
        Rule(IPv4Network(ip), None, (("announce", told),))
        for ip, told in (("10.0.0.6", None), ("10.0.0.7", IPv4Address("192.0.2.10")))
    )
    on = control(CLIENT, f"{client}:40000")
    policy = FtpPolicy(announce=NAT, rules=rules).resolve(on.inside.ip, on.remote.ip)
    made = stage(CLIENT, policy, inside=f"{client}:40000")
    made.say(CLIENT, f"PORT {client.replace('.', ',')},19,137\r\n".encode())
    assert made.heard[SERVER].endswith(b"PORT " + shown + b",195,81\r\n")


def test_events_tell_what_was_announced() -> None:
    made = stage(CLIENT)
    made.say(CLIENT, b"PORT 10,0,0,5,19,137\r\n")
    made.say(SERVER, b"200 ok\r\n")
    ends = (("from", "198.51.100.2"), ("to", "10.0.0.5:5001"), ("announced", "192.0.2.9:50001"), ("user", "u"))
    detail = "PORT 10.0.0.5:5001 as 192.0.2.9:50001"
    assert made.events == [
        Event("expectation-made", detail, fields=(("state", "pending"), *ends)),
        Event("expectation-opened", detail, fields=ends),
    ]


def test_what_is_announced_as_it_is_mapped_is_not_told_twice() -> None:
    for side in Side:
        made = stage(side, FtpPolicy(announce=IPv4Address("203.0.113.1")))
        made.say(CLIENT, b"PORT 10,0,0,5,19,137\r\n" if side is CLIENT else b"PASV\r\n")
        made.say(SERVER, b"200 ok\r\n" if side is CLIENT else b"227 (10,0,0,5,19,137)\r\n")
        assert made.events[0].event == "expectation-made" and "announced" not in dict(made.events[0].fields)
