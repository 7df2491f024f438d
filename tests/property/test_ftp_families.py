"""FTP of IPv6 clients through the whole helper, by NAT64 and through a filter: whatever TCP does, both ends get the
textbook's bytes, and the connections expected are the textbook's."""

from __future__ import annotations

import re
from itertools import count

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from algate.alg.engine import effects as fx
from algate.alg.engine.limits import Limits
from algate.alg.plugin.model import Control, Replace, Reset, Side
from algate.alg.protocols.ftp import PLUGIN
from algate.alg.protocols.ftp.policy import FtpPolicy
from algate.alg.testing import Stage, at, control
from tests.dialogues import GREETING, LOGIN, NO_TLS, ORDINARY, QUIT, TLS, TRANSFER, epsv
from tests.ftplab import FtpLab, tell
from tests.textbook import Exchange
from tests.wire import INSIDE6, NAT64, PREFIX, SIX

pytestmark = pytest.mark.property

ISN = st.tuples(*[st.sampled_from([0, 1000, 0x7FFF_FFF0, 0xFFFF_FF00, 0xFFFF_FFFE])] * 2)
MSS = st.tuples(st.integers(120, 400), st.integers(120, 400)) | st.just((1460, 1460))
STEPS = st.lists(
    st.tuples(st.integers(0, 11), st.integers(0, 1), st.integers(0, 2**16), st.integers(1, 200)), max_size=120
)
WAITS = st.lists(st.booleans(), min_size=24, max_size=24)
SLOW = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
OWN = "2001:db8:1::5"
OPTION = re.compile(rb"\xff[\xfb-\xfe].", re.DOTALL)
NOOP = b"200 NOOP ok.\r\n"


def eprt(number: int, granted: bool, address: str = OWN) -> Exchange:
    line = b"EPRT |2|%s|%d|\r\n" % (address.encode(), number)
    return Exchange(line, b"200 command successful.\r\n" if granted else b"500 Illegal command.\r\n")


def asks(info: fx.SessionInfo, number: int, argument: bytes, granted: bool) -> Exchange:
    """EPSV as the server hears it: of IPv4 it gets a PASV."""
    said = b"EPSV" + argument + b"\r\n"
    if not granted:
        return Exchange(said, b"500 No.\r\n")
    if not info.public_ip:
        return Exchange(said, epsv("", number).reply)
    return Exchange(said, b"227 Entering Passive Mode (198,51,100,2,%d,%d).\r\n" % divmod(number, 256))


@st.composite
def spoken(draw: st.DrawFn, info: fx.SessionInfo, secure: bool = False) -> list[Exchange]:
    """A dialogue in which all ports differ."""
    numbers = count(draw(st.sampled_from([1024, 5000, 40000, 65400])))
    made = [GREETING, *LOGIN]
    for _ in range(draw(st.integers(0, 8))):
        kind, granted = draw(st.integers(0, 6)), draw(st.booleans())
        if kind == 0:
            made.append(draw(st.sampled_from(ORDINARY)))
        elif kind == 1:
            made.append(draw(st.sampled_from((TRANSFER, NO_TLS))))
        elif kind <= 3:
            address = draw(st.sampled_from((OWN, OWN, "2001:db8:1::6")))
            made.append(eprt(next(numbers), granted, address))
        elif kind <= 5:
            made.append(asks(info, next(numbers), draw(st.sampled_from((b"", b" 2"))), granted))
        else:
            said = draw(st.sampled_from((b"EPSV ALL\r\n", b"EPSV 1\r\n", b"ALGS STATUS64\r\n")))
            made.append(Exchange(said, NOOP if info.public_ip else b"500 What?\r\n"))
    if secure:
        made += [TLS, Exchange(draw(st.binary(max_size=300)), draw(st.binary(max_size=300)))]
    return [*made, QUIT]


@pytest.mark.parametrize("info", [NAT64, SIX], ids=["nat64", "filter"])
@SLOW
@given(st.data(), ISN, MSS, st.booleans(), STEPS, st.booleans())
def test_both_ends_get_the_textbook(
    info: fx.SessionInfo, data: st.DataObject, isn: tuple[int, int], mss: tuple[int, int], stamps: bool,
    steps: list[tuple[int, int, int, int]], classify: bool,
) -> None:  # fmt: skip
    """A client that waits for replies; any chunking, repetition, loss and order, lost samples and decisions."""
    lab = FtpLab(data.draw(spoken(info)), True, (), isn, mss, stamps, limits=Limits(classify=classify), info=info)
    tell(lab, steps, faults=True)
    lab.finish()
    lab.check()
    assert lab.opened == lab.agreed


@pytest.mark.parametrize("info", [NAT64, SIX], ids=["nat64", "filter"])
@SLOW
@given(st.data(), ISN, STEPS, WAITS)
def test_a_client_that_speaks_ahead(
    info: fx.SessionInfo, data: st.DataObject, isn: tuple[int, int], steps: list[tuple[int, int, int, int]],
    waits: list[bool],
) -> None:  # fmt: skip
    """It sends EPSV and what follows before the answers to earlier commands have come."""
    lab = FtpLab(data.draw(spoken(info)), True, [True] * 3 + waits, isn, info=info)
    tell(lab, steps)
    lab.finish()
    lab.check()


@pytest.mark.parametrize("info", [NAT64, SIX], ids=["nat64", "filter"])
@SLOW
@given(st.data(), STEPS, st.booleans())
def test_the_helper_dies_and_another_goes_on(
    info: fx.SessionInfo, data: st.DataObject, steps: list[tuple[int, int, int, int]], secure: bool
) -> None:
    """Between any two effects: an EPSV that waits for its 227, a NOOP for its answer."""
    lab = FtpLab(data.draw(spoken(info, secure)), True, (), info=info)
    tell(lab, steps, faults=True, restarts=True)
    lab.finish()
    lab.check()


TEXT = st.lists(
    st.sampled_from([
        b"EPSV", b"EPRT", b"PASV", b"PORT", b"ALGS", b"AUTH", b"NOOP", b" ", b"|2|2001:db8:1::5|5001|", b"ALL", b"2",
        b"STATUS64", b"DISABLE64", b"227 ", b"229 ", b"227-", b"200 ", b"234 ", b"220 ", b"230 ", b"(|||5001|)",
        b"(198,51,100,2,19,137)", b"\r\n", b"\r\n", b"\n", b"\xff\xfd\x01", b"\xff\xfb", b"\xff", b"\0", b"\r", b"x",
    ]) | st.binary(max_size=4),
    max_size=12,
)  # fmt: skip


def four_of(inside: Side) -> Control:
    """A session between the families, with that side inside."""
    if inside is Side.CLIENT:
        return Control(1, at(f"[{OWN}]:40000"), at("203.0.113.1:40000"), at("198.51.100.2:21"), inside, prefix=PREFIX)
    return Control(1, at(f"[{OWN}]:21"), at("203.0.113.1:21"), at("198.51.100.2:4000"), inside, prefix=PREFIX)


@pytest.mark.parametrize("inside", list(Side))
@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(list(Side)), TEXT), max_size=12), st.booleans())
@example([(side, [b"227 ", b"\xff\xfd\x01", b"|2|2001:db8:1::5|5001|", b"\r\n"]) for side in Side], False)
def test_no_bytes_whatever_break_it(inside: Side, said: list[tuple[Side, list[bytes]]], whole: bool) -> None:
    """It raises on none, its verdicts fit, and an address of the inside's family never crosses in a translated line;
    one that only loses Telnet's options isn't."""
    stage = Stage(PLUGIN, FtpPolicy(before_login=True), four_of(inside))
    own = b""
    for side, words in said:
        own += b"".join(words) if side is inside else b""
        pieces = [b"".join(words)] if whole else words
        actions = stage.say(side, *(one for one in pieces if one))
        for action in actions:
            assert not isinstance(action, Reset)
            if not isinstance(action, Replace) or side is not inside or action.data in OPTION.sub(b"", own):
                continue
            if action.data[:4] in (b"PORT", b"227 ", b"229 "):
                assert b"2001:db8" not in action.data, "the inside address leaves"
    stage.now += 100.0
    for side in Side:
        stage.say(side, end=True)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(list(Side)), TEXT), max_size=8), st.data())
def test_any_cut_is_the_same(said: list[tuple[Side, list[bytes]]], data: st.DataObject) -> None:
    """How what is said was cut into segments makes no difference to what is heard."""
    whole = Stage(PLUGIN, FtpPolicy(before_login=True), four_of(Side.CLIENT))
    cut = Stage(PLUGIN, FtpPolicy(before_login=True), four_of(Side.CLIENT))
    for side, words in said:
        text = b"".join(words)
        at_ = data.draw(st.integers(0, len(text)))
        whole.say(side, *([text] if text else []))
        cut.say(side, *(one for one in (text[:at_], text[at_:]) if one))
        if whole.bypassed or cut.bypassed:
            return
    assert whole.heard == cut.heard
    assert [one.expect.to for one in whole.expectations.values()] == [
        one.expect.to for one in cut.expectations.values()
    ]


def test_the_address_of_the_tests_is_the_sessions() -> None:
    assert at(f"[{OWN}]:1").ip.packed == INSIDE6 and control().inside.ip.version == 4
