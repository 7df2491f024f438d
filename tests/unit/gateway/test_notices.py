"""What the kernel tells of sessions, as records; and what it is asked for."""

from __future__ import annotations

import time
from dataclasses import replace
from ipaddress import IPv4Network
from types import SimpleNamespace
from typing import Any

import pytest

from algate.alg.audit.relay import Wish
from algate.alg.audit.translations import TranslationKind
from algate.alg.gateway import notices
from algate.bpf import abi, ticks

pytestmark = pytest.mark.unit

K = TranslationKind
NAMES = {1: "ftp"}
MADE, ENDED = abi.NoticeKind.MADE, abi.NoticeKind.ENDED
PORT, SHARED = abi.NoticeFlag.PORT, abi.NoticeFlag.SHARED


def notice(kind: int, flags: int = 0, proto: int = 6, **fields: Any) -> bytes:
    """A notice of now, of a session of ten seconds whose last packet came a second ago."""
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    began = now - 10_000_000_000
    key = abi.SessionKey(
        inside_ip=abi.ip_to_be32("10.0.0.2"), remote_ip=abi.ip_to_be32("198.51.100.7"), inside_port=abi.be16(4000),
        remote_port=abi.be16(21) if proto != 1 else 0, proto=proto,
    )  # fmt: skip
    session = abi.Session(
        id=began, bytes=(100 | 1 << 56, 200), packets=(3, 4), state=abi.SessionState.TIME_WAIT | 256, alg=1,
        last_seen=ticks.at((now - 1_000_000_000) / 1e9), port_index=5 << 16 | 4001,
        public_ip=abi.ip_to_be32("203.0.113.1"),
    )  # fmt: skip
    for name, value in fields.items():
        setattr(session, name, value)
    since = ticks.at((now - 20_000_000_000) / 1e9)
    return bytes(abi.Notice(time=now, related=7, key=key, session=session, since=since, kind=kind, flags=flags))


def test_a_session_is_made() -> None:
    (one,) = notices.records([notice(MADE)], NAMES)
    assert (one.kind, one.proto, one.alg, one.related, one.state) == (K.SESSION_CREATED, 6, "ftp", 7, "time-wait")
    assert [str(end) for end in (one.inside, one.public, one.remote)] == [
        "10.0.0.2:4000", "203.0.113.1:4001", "198.51.100.7:21",
    ]  # fmt: skip
    assert abs(one.time - time.time()) < 1 and one.octets == one.packets == (0, 0)


def test_a_session_ends_with_its_counters() -> None:
    (one,) = notices.records([notice(ENDED)], NAMES)
    assert (one.kind, one.octets, one.packets) == (K.SESSION_ENDED, (100, 200), ((1 << 32) + 3, 4))
    assert one.duration == pytest.approx(9, abs=0.1) and one.time - one.since == pytest.approx(10, abs=0.1)


def test_a_port_that_comes_or_goes_is_a_mapping() -> None:
    made, session = notices.records([notice(MADE, PORT)], NAMES)
    assert (made.kind, made.remote, made.session) == (K.MAPPING_CREATED, None, 0)
    assert session.kind == K.SESSION_CREATED
    over, freed = notices.records([notice(ENDED, PORT)], NAMES)
    assert over.kind == K.SESSION_ENDED and freed.kind == K.MAPPING_ENDED
    assert freed.time - freed.since == pytest.approx(20, abs=0.1)
    assert (freed.inside, freed.public) == (made.inside, made.public)


def test_a_shared_port_is_towards_one_destination() -> None:
    freed = notices.records([notice(ENDED, PORT | SHARED)], NAMES)[1]
    assert str(freed.remote) == "198.51.100.7:21" and freed.time - freed.since == pytest.approx(10, abs=0.1)


def test_only_what_is_wanted() -> None:
    samples = [notice(MADE, PORT), notice(MADE)]
    assert [one.kind for one in notices.records(samples, NAMES, sessions=False)] == [K.MAPPING_CREATED]
    assert [one.kind for one in notices.records(samples, NAMES, mappings=False)] == [K.SESSION_CREATED] * 2


def test_untranslated_and_echo() -> None:
    (one,) = notices.records([notice(MADE, PORT, public_ip=0)], NAMES)
    assert one.kind == K.SESSION_CREATED and one.public is None
    (echo,) = notices.records([notice(MADE, proto=1)], NAMES)
    assert str(echo.remote) == "198.51.100.7:4000"


def test_what_is_too_short_or_unknown_is_passed_over() -> None:
    assert notices.records([notice(MADE)[:-1], b"", notice(9)], NAMES) == []


class Configs:
    """The map of one configuration."""

    def __init__(self) -> None:
        self.value = abi.Config(wan=7, tell=99)

    def __getitem__(self, _: int) -> abi.Config:
        return self.value

    def put(self, _: int, value: abi.Config) -> None:
        self.value = value


def asked(wish: Wish) -> abi.Config:
    gateway: Any = SimpleNamespace(configs=Configs())
    notices.ask(gateway, wish)
    made: abi.Config = gateway.configs.value
    assert made.wan == 7
    return made


def test_what_the_kernel_is_asked() -> None:
    flag = abi.TellFlag
    assert asked(Wish()).tell == 0
    everything = flag.TCP | flag.UDP | flag.ICMP
    assert asked(Wish(mappings=True)).tell == flag.PORTS | everything
    one = Wish(sessions=True, watched=True, protos=frozenset((6,)), inside=IPv4Network("10.1.0.0/16"))
    config = asked(one)
    assert config.tell == flag.SESSIONS | flag.WATCHED | flag.TCP
    assert (str(abi.be32_to_ip(config.tell_net)), str(abi.be32_to_ip(config.tell_mask))) == ("10.1.0.0", "255.255.0.0")
    assert asked(replace(one, protos=frozenset())).tell == flag.SESSIONS | flag.WATCHED | everything
