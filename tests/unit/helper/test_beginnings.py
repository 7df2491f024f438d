"""What the kernel says of a session's first lines by itself is what the engine would say of it, or nothing."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import IPv6Network
from types import SimpleNamespace
from typing import Any

import pytest

from algate.alg.engine import effects as fx
from algate.alg.helper.beginnings import Beginnings
from algate.alg.plugin.contract import plainly
from algate.alg.plugin.policy import Rule
from algate.alg.protocols.ftp import PLUGIN, FtpPolicy
from algate.alg.protocols.ftp.dialogue import UNATTENDED_BEFORE, UNATTENDED_BEFORE_64
from algate.bpf import ticks
from algate.bpf.abi import OPENING_MIXED
from tests.dialogues import GREETING
from tests.ftplab import FtpLab
from tests.wire import NAT64

pytestmark = pytest.mark.unit


def stated(
    policy: FtpPolicy,
    everything: bool = False,
    prefix: object = None,
    plugin: Any = PLUGIN,
    mixed: bool = False,
) -> tuple[int, int]:
    flags, interest, _ = rows_of(policy, everything, prefix, plugin, mixed)
    return flags, interest


def rows_of(
    policy: FtpPolicy,
    everything: bool = False,
    prefix: object = None,
    plugin: Any = PLUGIN,
    mixed: bool = False,
    allow_out: tuple[object, ...] = (),
) -> tuple[int, int, int]:
    rows: dict[int, bytes] = {}
    words: list[fx.PutLines] = []
    config: Any = SimpleNamespace(
        nat64=SimpleNamespace(prefix=prefix), alg=SimpleNamespace(protocols={"ftp": policy}),
        firewall=SimpleNamespace(allow_out=allow_out),
    )  # fmt: skip
    found = Beginnings({"ftp": plugin}, rows.__setitem__, words.append, plainly).state(config, everything)
    said = {place: struct.unpack("=III", row) for place, row in rows.items()}
    assert set(said) == {PLUGIN.number, PLUGIN.number + OPENING_MIXED}
    assert found == any(flags for flags, *_ in said.values()) == bool(words)
    assert {one.interest for one in words} == {interest for _, interest, _ in said.values() if interest}
    return said[PLUGIN.number + OPENING_MIXED * mixed]


def test_it_is_what_the_engine_says_of_a_session() -> None:
    lab = FtpLab([GREETING], True)
    record = lab.kernel.adjust
    assert record is not None
    assert stated(FtpPolicy()) == (record.flags, record.interest) == (record.flags, UNATTENDED_BEFORE.number)
    assert record.flags & (fx.ADJUST_BEGINS | fx.ADJUST_LINES | fx.ADJUST_COPIES)


@pytest.mark.parametrize(
    "changes",
    [{"deny": ("DELE",)}, {"read_only": True}, {"max_line": 100}, {"enabled": False}, {"commands_per_second": 3}],
)
def test_a_policy_that_may_refuse_says_nothing(changes: dict[str, Any]) -> None:
    assert stated(replace(FtpPolicy(), **changes)) == (0, 0)


def test_of_a_session_by_nat64_it_is_another_row() -> None:
    """Which has the words of both families; one of IPv4 beside it begins as it always does."""
    prefix = IPv6Network("64:ff9b::/96")
    lab = FtpLab([GREETING], True, info=NAT64)
    record = lab.kernel.adjust
    assert record is not None
    own = stated(FtpPolicy(), prefix=prefix, mixed=True)
    assert own == (record.flags, record.interest) == (record.flags, UNATTENDED_BEFORE_64.number)
    assert stated(FtpPolicy(), prefix=prefix) == stated(FtpPolicy())
    assert stated(FtpPolicy(), mixed=True) == (0, 0), "without NAT64 there are none"
    assert stated(replace(FtpPolicy(), nat64="pass"), prefix=prefix, mixed=True) == stated(FtpPolicy())


def test_what_a_reply_names_is_expected_where_that_opens_nothing() -> None:
    """From 1024 on, as the kernel reads it, and where whoever is inside may go out anyway."""
    assert rows_of(FtpPolicy(expect_timeout=5.0))[2] == ticks.lasting(5.0)
    assert rows_of(FtpPolicy(min_port=80))[2] == ticks.lasting(120.0)
    assert rows_of(FtpPolicy(min_port=2000))[2] == rows_of(FtpPolicy(), allow_out=("tcp/21",))[2] == 0
    assert rows_of(FtpPolicy(), prefix=IPv6Network("64:ff9b::/96"), mixed=True)[2] == ticks.lasting(120.0)
    assert rows_of(FtpPolicy(), everything=True)[2] == 0


@pytest.mark.parametrize("lasts", [-1.0, float("inf"), "long"])
def test_a_time_that_is_none_says_nothing(lasts: object) -> None:
    said = PLUGIN.beginning(FtpPolicy())
    assert said is not None
    odd = SimpleNamespace(name="ftp", number=PLUGIN.number, beginning=lambda policy: (*said[:2], lasts))
    assert stated(FtpPolicy(), plugin=odd) == (0, 0)


def test_who_knows_nothing_of_nat64_says_nothing_of_it() -> None:
    odd = SimpleNamespace(name="ftp", number=PLUGIN.number, beginning=lambda policy: PLUGIN.beginning(policy))
    prefix = IPv6Network("64:ff9b::/96")
    assert stated(FtpPolicy(), prefix=prefix, plugin=odd) == stated(FtpPolicy())
    assert stated(FtpPolicy(), prefix=prefix, plugin=odd, mixed=True) == (0, 0)


def test_rules_and_listeners_say_nothing() -> None:
    assert stated(FtpPolicy(rules=(Rule(None, None, ()),))) == (0, 0)
    assert stated(FtpPolicy(), everything=True) == (0, 0)


@pytest.mark.parametrize("answer", [None, 5, (None, 0), (UNATTENDED_BEFORE, 0), "ab"])
def test_a_plug_in_that_says_nothing_of_use_is_asked_session_by_session(answer: object) -> None:
    odd = SimpleNamespace(name="ftp", number=PLUGIN.number, beginning=lambda policy: answer)
    assert stated(FtpPolicy(), plugin=odd) == (0, 0)
    assert stated(FtpPolicy(), plugin=SimpleNamespace(name="ftp", number=PLUGIN.number)) == (0, 0)


def test_what_the_kernel_said_is_withdrawn_where_every_line_is_to_be_held() -> None:
    lab = FtpLab([GREETING], True)
    lab.engine.attend(True)
    info = lab.kernel.info._replace(session=99)
    assert not any(isinstance(one, fx.PutAdjust) for one in lab.engine.opened(info, lab.now))
    lab.engine.stated()
    (record,) = [one.record for one in lab.engine.opened(info._replace(session=98), lab.now)]  # type: ignore[union-attr]
    assert record.session == 98 and not record.flags & fx.ADJUST_LINES and record.flags & fx.ADJUST_BEGINS


def test_names_are_held_where_much_waits_and_not_a_moment_longer() -> None:
    rows: dict[int, bytes] = {}
    config: Any = SimpleNamespace(
        nat64=SimpleNamespace(prefix=None), alg=SimpleNamespace(protocols={"ftp": FtpPolicy()}),
        firewall=SimpleNamespace(allow_out=()),
    )  # fmt: skip
    made = Beginnings({"ftp": PLUGIN}, rows.__setitem__, lambda _: None, plainly)
    made.state(config, False)
    usual = dict(rows)
    made.hold_names(True)
    said, held = (struct.unpack("=III", table[PLUGIN.number]) for table in (usual, rows))
    assert held == (*said[:2], 0) and said[2] > 0
    made.state(config, False)
    assert struct.unpack("=III", rows[PLUGIN.number]) == held, "a reload changes nothing about that"
    made.hold_names(False)
    assert rows == usual
