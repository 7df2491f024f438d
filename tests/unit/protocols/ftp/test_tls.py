"""What happens to a session when TLS begins: it is left alone, and a bounded range of ports opens if configured."""

from __future__ import annotations

import pytest

from algate.alg.config.conflicts import held_ports
from algate.alg.config.load import ConfigError, loads
from algate.alg.plugin.model import Bypass, Direction, Expect, Pass, Reserve, Side
from algate.alg.plugin.values import PortRange
from algate.alg.protocols.ftp import PLUGIN
from algate.alg.protocols.ftp.policy import FtpPolicy
from algate.alg.testing import Stage, at, control

CLIENT, SERVER = Side.CLIENT, Side.SERVER
RANGE = FtpPolicy(tls_passive_ports=PortRange(50000, 50100))
DEVICES = {"gateway.lan": ["eth1"], "gateway.wan": "eth0"}


def greeted(policy: FtpPolicy, inside: Side, ports: list[int] | None = None) -> Stage:
    made = Stage(PLUGIN, policy, control(inside), ports)
    made.say(SERVER, b"220 ready\r\n")
    made.say(CLIENT, b"AUTH TLS\r\n")
    return made


def test_a_server_inside_gets_its_range_before_tls_begins_ftp_35() -> None:
    made = greeted(RANGE, SERVER)
    said = made.server << b"234 go\r\n"
    said >> Reserve(1, at("10.0.0.5:50000"), count=101, shared=True)
    said >> Expect(
        1, Direction.IN, at("198.51.100.2:1").ip, at("203.0.113.1:50000"), 1_000_000.0, open=True, once=False, ports=101
    )
    said >> Pass(8) >> Bypass("tls")
    made.done()
    made.say(CLIENT, b"\x16\x03\x01PORT 10,0,0,5,19,137\r\n")
    assert list(made.expectations) == [1]


def test_a_server_outside_may_be_reached_on_its_range() -> None:
    made = greeted(RANGE, CLIENT)
    said = made.server << b"234 go\r\n"
    said >> Expect(
        1, Direction.OUT, at("10.0.0.5:1").ip, at("198.51.100.2:50000"), 1_000_000.0, open=True, once=False, ports=101
    )
    said >> Pass(8) >> Bypass("tls")
    made.done()


def test_without_the_option_nothing_opens_and_the_event_says_why() -> None:
    made = greeted(FtpPolicy(), SERVER)
    made.server << b"234 go\r\n" >> Pass(8) >> Bypass("tls")
    made.done()
    assert made.reasons("expectation-refused") == ["tls-no-ports"]
    assert greeted(FtpPolicy(), CLIENT).reasons("expectation-refused") == []


def test_a_range_that_others_hold_is_told() -> None:
    made = greeted(RANGE, SERVER, ports=[])
    made.say(SERVER, b"234 go\r\n")
    assert made.bypassed and not made.expectations
    assert made.reasons("expectation-refused") == ["no-port-free"]


@pytest.mark.parametrize("reply", [b"534 no", b"431 later", b"500 what"])
def test_a_refused_auth_opens_nothing_and_reading_goes_on_ftp_35(reply: bytes) -> None:
    made = greeted(RANGE, SERVER)
    made.say(SERVER, reply + b"\r\n")
    assert not made.bypassed and not made.expectations
    made.say(CLIENT, b"USER u\r\n")
    made.say(SERVER, b"230 in\r\n")
    made.say(CLIENT, b"PASV\r\n")
    made.say(SERVER, b"227 (10,0,0,5,19,137)\r\n")
    assert list(made.expectations) == [1]


def test_what_was_agreed_in_the_clear_ends_with_tls() -> None:
    made = Stage(PLUGIN, RANGE, control(SERVER))
    made.say(SERVER, b"220 ready\r\n")
    made.say(CLIENT, b"USER u\r\n")
    made.say(SERVER, b"230 in\r\n")
    made.say(CLIENT, b"PASV\r\n")
    made.say(SERVER, b"227 (10,0,0,5,19,137)\r\n")
    made.say(CLIENT, b"AUTH TLS\r\n")
    made.say(SERVER, b"234 go\r\n")
    assert [one.expect.ports for one in made.expectations.values()] == [101]


@pytest.mark.parametrize(("strict", "port"), [(False, None), (True, 20)])
@pytest.mark.parametrize("inside", list(Side))
def test_active_data_from_port_20_alone_ftp_68(strict: bool, port: int | None, inside: Side) -> None:
    made = Stage(PLUGIN, FtpPolicy(strict_source_port=strict, before_login=True), control(inside))
    made.say(SERVER, b"220 ready\r\n")
    made.say(CLIENT, b"PORT 10,0,0,5,19,137\r\n" if inside is CLIENT else b"PORT 198,51,100,2,19,137\r\n")
    assert [one.expect.from_port for one in made.expectations.values()] == [port]
    made.say(SERVER, b"200 ok\r\n")
    made.say(CLIENT, b"PASV\r\n")
    made.say(SERVER, b"227 (10,0,0,5,19,137)\r\n" if inside is SERVER else b"227 (198,51,100,2,19,137)\r\n")
    assert [one.expect.from_port for one in made.expectations.values()] == [None], "a client's port is any"


# -- the configuration ---------------------------------------------------------------------------------

TWO = """
[[forward]]
proto = "tcp"
wan_port = 21
to = "10.0.0.5:21"
alg = "ftp"
[[forward]]
proto = "tcp"
wan_port = 2121
to = "10.0.0.6:21"
alg = "ftp"
"""


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        ("[alg.ftp]\ntls_passive_ports = '50000-51024'", "alg.ftp.tls_passive_ports", "1025 ports are more than 1024"),
        (
            TWO + "[alg.ftp]\ntls_passive_ports = '50000-50100'", "alg.ftp.tls_passive_ports",
            "50000-50100 for 10.0.0.6 overlaps 50000-50100 for 10.0.0.5: give each server its own range",
        ),
        (
            TWO + "[[alg.ftp.rule]]\nserver = '10.0.0.5'\ntls_passive_ports = '2100-2200'", "alg.ftp.tls_passive_ports",
            "2100-2200 for 10.0.0.5 overlaps wan_port 2121 of forward[1]",
        ),
        (
            TWO + "[alg.ftp]\ntls_passive_ports = '50000'\n[[alg.ftp.rule]]\nserver = '10.0.0.5'\n"
            "client = '198.51.100.0/24'\ntls_passive_ports = '50000-50001'", "alg.ftp.tls_passive_ports",
            "50000 for 10.0.0.6 overlaps",
        ),
    ],
)  # fmt: skip
def test_a_public_port_leads_to_one_place(text: str, path: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(text, DEVICES)
    assert any(one.path == path and reason in one.reason for one in caught.value.problems), caught.value.problems


def test_each_server_its_range_by_rules() -> None:
    made = loads(
        TWO + "[[alg.ftp.rule]]\nserver = '10.0.0.5'\ntls_passive_ports = '50000-50100'\n"
        "[[alg.ftp.rule]]\nserver = '10.0.0.6'\ntls_passive_ports = '50101'\n",
        DEVICES,
    )
    assert [(str(one.ip), str(one.ports)) for one in held_ports(made, made.forwards)] == [
        ("10.0.0.5", "50000-50100"),
        ("10.0.0.6", "50101"),
    ]
