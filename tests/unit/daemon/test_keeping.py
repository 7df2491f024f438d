"""What is put back, what is only told, and that nothing is put back for ever."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from algate.alg.daemon.devices import Devices, Sight
from algate.alg.daemon.keeping import Keeping, Survey
from algate.alg.daemon.losses import Losses
from algate.alg.errors import AlgateError
from algate.alg.gateway import netlink
from algate.alg.gateway.hooks import Placed
from algate.alg.gateway.netlink import Device

WAN = Device("wan0", 3, b"\4" * 6, 1500, True, "veth", ())
LAN = replace(WAN, name="lan0", index=2)
FILTER = Placed("lan0", 2, "tc_lan", "filter", 77)
FRONT = Placed("lan0", 2, "tcx_lan", "front", 78)
SEEN = Sight(Devices([LAN], WAN, [IPv4Address("203.0.113.1")]), "", {2: "lan0", 3: "wan0", 9: "ppp0"})
WELL = Survey((), (), True, (), 3, frozenset())


class Stub:
    """A running gateway, its datapath and its pins, which write down what is asked of them."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.devices = SEEN.devices
        self.gateway = self.helper = self.tap = self
        self.placed = {("lan0", "ingress"): FILTER}
        self.fds: dict[str, int] = {}
        self.name, self.index = "algate0", 11
        self.fail = False
        self.missing: list[str] = []

    def put_back(self, one: Placed, _: object) -> None:
        if self.fail:
            raise AlgateError("no such device")
        self.done.append(str(one))

    def renew(self) -> None:
        self.done.append("tap")

    def attach_tap(self, name: str, index: int, _: object) -> None:
        self.done.append(f"{name} {index}")

    def unpinned(self) -> list[str]:
        return self.missing

    def pin_again(self) -> None:
        self.done.append("pins")


@pytest.fixture
def stub() -> Stub:
    return Stub()


@pytest.fixture
def losses() -> Losses:
    return Losses()


@pytest.fixture
def keeping(stub: Stub, losses: Losses, monkeypatch: pytest.MonkeyPatch) -> Keeping:
    monkeypatch.setattr(Placed, "there", lambda _: False)
    running: Any = stub
    return Keeping(running, running, losses)


def test_what_is_ours_is_put_back(
    keeping: Keeping, stub: Stub, losses: Losses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netlink, "write_sysctl", lambda *words: stub.done.append(" ".join(words)))
    assert keeping.keep(SEEN, replace(WELL, gone=(FILTER,), off=("wan0",), tap=False))
    assert stub.done == ["tc_lan on lan0", "wan0 forwarding 1", "tap", "algate0 11"]
    assert losses.taken == losses.mended == {"filter": 1, "forwarding": 1, "tap": 1}
    assert losses.state() == "translating"


def test_a_program_of_a_former_device_is_not(keeping: Keeping, stub: Stub) -> None:
    keeping.keep(SEEN, replace(WELL, gone=(replace(FILTER, index=99),)))
    assert stub.done == []


def test_what_can_t_be_put_back_is_told_until_it_is(keeping: Keeping, stub: Stub, losses: Losses) -> None:
    stub.fail = True
    for _ in range(2):
        assert not keeping.keep(SEEN, replace(WELL, gone=(FILTER,)))
    assert losses.state() == "not translating: tc_lan on lan0 is gone, and can't be put back: no such device"
    assert (losses.taken["filter"], losses.mended["filter"]) == (1, 0)
    assert keeping.keep(SEEN, WELL)
    assert losses.state() == "translating"


def test_a_fight_is_told(keeping: Keeping, stub: Stub, losses: Losses) -> None:
    for _ in range(50):
        keeping.keep(SEEN, replace(WELL, gone=(FILTER,)))
    assert len(stub.done) == 4
    assert losses.state() == "not translating: tc_lan on lan0: somebody takes it again and again (4 times)"
    assert losses.now() == {"filter": 1}


def test_what_nobody_tells_of_is_put_back(
    keeping: Keeping, stub: Stub, losses: Losses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter's going is told by the kernel; of a device that is gone nothing is put back."""
    monkeypatch.setattr(netlink, "device_indices", lambda: {2: "lan0"})
    stub.placed |= {("lan0", "front"): FRONT, ("wan0", "egress"): Placed("wan0", 3, "tc_wan_out", "tcx", 79)}
    keeping.keep_hooks()
    assert stub.done == ["tcx_lan on lan0"]
    assert losses.taken == losses.mended == {"filter": 1}


def test_a_filter_alone_translates(
    keeping: Keeping, stub: Stub, losses: Losses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stood in front of it can't be put back: told, and no more."""
    monkeypatch.setattr(netlink, "device_indices", lambda: {2: "lan0"})
    stub.placed = {("lan0", "front"): FRONT}
    stub.fail = True
    keeping.keep_hooks()
    assert losses.now() == {"filter": 1}
    assert losses.state() == "translating"


def test_a_default_route_that_never_was_isn_t_missed(keeping: Keeping, losses: Losses) -> None:
    assert keeping.keep(SEEN, replace(WELL, way=0))
    assert keeping.keep(SEEN, WELL)
    assert not keeping.keep(SEEN, replace(WELL, way=9))
    assert losses.state() == "not translating: the default route leads by ppp0, not by wan0"
    assert keeping.keep(SEEN, WELL) and losses.state() == "translating"


def test_rp_filter_as_it_was_is_right(keeping: Keeping, losses: Losses) -> None:
    assert keeping.keep(SEEN, replace(WELL, strict=frozenset({"lan0"})))
    assert losses.amiss == {}
    assert keeping.keep(SEEN, replace(WELL, strict=frozenset({"lan0", "wan0"})))
    assert losses.now() == {"rp_filter": 1}
    assert losses.state() == "translating"


def test_a_look_that_failed_changes_nothing(keeping: Keeping, losses: Losses) -> None:
    keeping.keep(SEEN, WELL)
    assert not keeping.keep(SEEN, None)
    assert losses.amiss == {}


def test_pins(keeping: Keeping, stub: Stub, losses: Losses) -> None:
    assert not keeping.keep_pins()
    stub.missing = ["sessions"]
    assert keeping.keep_pins()
    for _ in range(9):
        keeping.keep_pins()
    assert stub.done == ["pins"] * 4
    assert losses.state() == "translating, but pins: somebody takes it again and again (4 times)"
    stub.missing = []
    keeping.keep_pins()
    assert losses.state() == "translating"
