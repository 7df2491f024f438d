"""What follows from a look, and in which order: programs, then tables, then what packets may be routed to."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any

import pytest

from algate.alg.config import load as configuration
from algate.alg.daemon.devices import Devices, Sight
from algate.alg.daemon.following import Following
from algate.alg.errors import AlgateError
from algate.alg.gateway import settings
from algate.alg.gateway.netlink import Device
from algate.alg.gateway.state import DeviceState, State
from algate.alg.plugin import policy, registry

PUBLIC = IPv4Address("203.0.113.1")


def devices(wan: int = 3, mtu: int = 1500, *, address: bool = True) -> Devices:
    lan = Device("lan0", 2, b"\2" * 6, 1500, True, "veth", (IPv4Interface("10.0.0.1/24"),))
    mine = (IPv4Interface(f"{PUBLIC}/24"),) if address else ()
    return Devices([lan], Device("wan0", wan, b"\4" * 6, mtu, True, "veth", mine), [PUBLIC] if address else [])


class Stub:
    """A running gateway and its datapath that only write down what they are asked for."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.six, self.control = False, None
        self.devices = devices()
        self.gateway = self
        self.fds: dict[str, int] = {}
        self.fail = False
        self.refuse = False
        self.state = State(Path("state.json"))

    def attach(
        self, lans: list[Device], wan: Device, fds: dict[str, int], guarded: Callable[[], None] = lambda: None
    ) -> None:
        if self.fail:
            raise AlgateError("can't attach")
        self.done.append(f"attach {wan.index}")
        guarded()

    def apply(self, config: object) -> None:
        if self.refuse:
            raise AlgateError("port 8080 is in use")
        self.done.append(f"apply {self.devices.wan.index} {self.devices.addresses}")


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    made = Stub()
    monkeypatch.setattr(settings, "write_surroundings", lambda _, wan, known: made.done.append(f"know {sorted(known)}"))
    return made


@pytest.fixture
def one(stub: Stub, tmp_path: Path) -> Following:
    file = tmp_path / "a.toml"
    file.write_text('[gateway]\nlan = ["lan0"]\nwan = "wan0"\n')
    config = configuration.load(file, {}, policy.kinds(registry.discover()))
    running: Any = stub
    return Following(running, running, lambda: config)


def seen(now: Devices | None, problem: str = "", wan: int = 3) -> Sight:
    return Sight(now, problem, {2: "lan0", wan: "wan0", 7: "docker0"})


def test_a_start_knows_the_devices_before_the_lan_is_attached(one: Following, stub: Stub) -> None:
    """Else what inside hosts send to other devices is dropped in between; but a WAN without programs isn't known."""
    one.begin(seen(devices()))
    assert stub.done == ["know [7]", "attach 3", "know [2, 3, 7]"]


def test_a_start_over_what_an_earlier_run_left_leaves_no_gap(one: Following, stub: Stub) -> None:
    stub.state.devices = {"lan0": DeviceState("lan0", 2, "lan"), "wan0": DeviceState("wan0", 3, "wan")}
    one.begin(seen(devices()))
    assert stub.done == ["know [2, 3, 7]", "attach 3"]


def test_nothing_new_costs_nothing(one: Following, stub: Stub) -> None:
    assert one.follow(seen(devices())) == ""
    assert one.follow(seen(devices())) == ""
    assert stub.done == ["know [2, 3, 7]"]


def test_a_wan_made_anew_gets_its_programs_first(one: Following, stub: Stub) -> None:
    """Though it has no address yet: what comes by other devices must meet them."""
    one.follow(seen(devices()))
    assert one.follow(seen(devices(9, address=False), "wan0 has no IPv4 address", 9)) == "wan0 has no IPv4 address"
    assert stub.done[1:] == ["attach 9", f"apply 9 [{PUBLIC!r}]", "know [2, 7, 9]"]


def test_one_that_can_t_be_attached_stays_unknown(one: Following, stub: Stub) -> None:
    one.follow(seen(devices()))
    stub.fail = True
    assert one.follow(seen(devices(9), wan=9)) == "can't attach"
    assert stub.done[1:] == ["know [2, 7]"]
    stub.fail = False
    assert one.follow(seen(devices(9), wan=9)) == ""
    assert stub.done[2:] == ["attach 9", f"apply 9 [{PUBLIC!r}]", "know [2, 7, 9]"]


def test_what_was_half_done_is_tried_again(one: Following, stub: Stub) -> None:
    """A forward's port is in use, say: nobody may believe that the new device is taken up."""
    one.follow(seen(devices()))
    stub.refuse = True
    for _ in range(2):
        assert one.follow(seen(devices(9), wan=9)) == "port 8080 is in use"
        assert stub.devices == devices()
    stub.refuse = False
    assert one.follow(seen(devices(9), wan=9)) == ""
    assert stub.done[-2:] == [f"apply 9 [{PUBLIC!r}]", "know [2, 7, 9]"]


def test_a_wan_that_is_gone_leaves_what_was(one: Following, stub: Stub) -> None:
    one.follow(seen(devices()))
    assert one.follow(Sight(None, "no device wan0", {2: "lan0", 7: "docker0"})) == "no device wan0"
    assert stub.done[1:] == ["know [2, 7]"]
    assert stub.devices == devices()


def test_another_mtu_is_followed_without_a_new_attachment(one: Following, stub: Stub) -> None:
    one.follow(seen(devices()))
    one.follow(seen(devices(mtu=1400)))
    assert [word for word in stub.done if word.startswith(("attach", "apply"))] == [f"apply 3 [{PUBLIC!r}]"]
