"""Which hosts were refused: of both families by their addresses, of NAT64's by their handles' too."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest

from algate.alg.admin import limits
from algate.alg.gateway import shares
from algate.alg.helper.helper import now
from algate.alg.helper.refused import RefusedHost
from algate.bpf import abi
from tests.unit.gateway.test_addresses import CLIENT, HANDLES, V4, FakeGateway, known

__all__ = ["known"]
NETWORK = bytes((0, 7, 7, 7))  # what stands for the host's /64, which is counted
pytestmark = pytest.mark.unit


@pytest.mark.usefixtures("known")
def test_a_host_behind_a_handle_is_told_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abi.Interned, "unpack", lambda _: SimpleNamespace(host=int.from_bytes(NETWORK, sys.byteorder)))
    gone = bytes((0, 9, 9, 9))
    sources = (V4, HANDLES[CLIENT], CLIENT.packed, gone, b"")
    lately = [RefusedHost(one, "host-ports", 6, 2, now()) for one in sources]
    asked: list[bytes] = []

    def had(_gateway: Any, reason: str, source: bytes, _proto: int) -> shares.Had:
        asked.append(source)
        return shares.Had(3, 3, "ports", "max_ports_per_host")

    monkeypatch.setattr(shares, "had", had)
    refused = SimpleNamespace(lately=lambda: lately)
    running = cast(Any, SimpleNamespace(gateway=FakeGateway(), helper=SimpleNamespace(refused=refused)))
    rows = limits.refusals(running)
    assert [(row.inside, row.has) for row in rows] == [("198.51.100.2", 3), (str(CLIENT), 3), (str(CLIENT), 3)]
    assert asked == [V4, NETWORK, NETWORK], "as the kernel counts them"
    assert [row.inside for row in limits.refusals(running, {str(CLIENT)})] == [str(CLIENT)] * 2
