"""What speaks against a forward's target, by the route to it; and who says so."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from algate.alg.admin import check, control, doctor_gateway
from algate.alg.gateway import netlink, reach, rtnetlink
from algate.alg.gateway.netlink import Device
from algate.alg.gateway.state import DeviceState, State

TARGET = IPv4Address("172.17.0.2")
NAMES = {1: "lo", 2: "lan0", 3: "wan0", 7: "docker0"}


@pytest.fixture
def routes(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, tuple[int, int]]:
    """Destination -> (type, ifindex); others have no route."""
    made: dict[bytes, tuple[int, int]] = {}
    monkeypatch.setattr(rtnetlink, "route", made.get)
    monkeypatch.setattr(netlink, "device_indices", lambda: NAMES)
    return made


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (None, "no route leads to 172.17.0.2"),
        ((rtnetlink.UNICAST, 3), "172.17.0.2 is behind wan0, the WAN"),
        ((rtnetlink.UNICAST, 2), ""),
        ((rtnetlink.UNICAST, 7), ""),
        ((rtnetlink.LOCAL, 1), ""),
    ],
)
def test_the_words(routes: dict[bytes, tuple[int, int]], way: tuple[int, int] | None, said: str) -> None:
    if way:
        routes[TARGET.packed] = way
    word = reach.obstacle(TARGET, "wan0")
    assert word.startswith(said) and bool(word) == bool(said)


def test_check_names_the_forward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, routes: dict[bytes, tuple[int, int]]
) -> None:
    def find(name: str) -> Device | None:
        return Device(name, 2, b"", 1500, True, "", ())

    monkeypatch.setattr(netlink, "find_device", find)
    file = tmp_path / "a.toml"
    forward = '[[forward]]\nproto = "tcp"\nwan_port = {}\nto = "{}:21"\n'
    file.write_text(
        '[gateway]\nlan = ["lan0"]\nwan = "wan0"\n[metrics]\nlisten = ""\n'
        + forward.format(21, "10.0.0.5") + forward.format(22, TARGET)
    )  # fmt: skip
    routes[IPv4Address("10.0.0.5").packed] = (rtnetlink.UNICAST, 2)
    found = {row.path: row.reason for row in check.check(file, {}, host=True)}
    assert found["forward[1].to"] == "no route leads to 172.17.0.2: is its device up?"
    assert "forward[0].to" not in found


def test_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, routes: dict[bytes, tuple[int, int]]) -> None:
    state = State(tmp_path / "state.json")
    asked = {"to": f"{TARGET}:21"}
    monkeypatch.setattr(control, "request", lambda _, verb, **__: [asked] if verb == "forward-list" else [])
    assert doctor_gateway.forwards(tmp_path, state).ok, "nothing is attached"
    state.devices["wan0"] = DeviceState("wan0", 3, "wan")
    row = doctor_gateway.forwards(tmp_path, state)
    assert not row.ok and "no route leads to 172.17.0.2" in row.detail and row.fix
    routes[TARGET.packed] = (rtnetlink.UNICAST, 7)
    assert doctor_gateway.forwards(tmp_path, state).ok
