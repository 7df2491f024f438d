"""What is held is no drop; each fill has its limit; the pages for probes; hosts only if asked for."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.exposition import generate_latest

from algate.alg.answers import HELD
from algate.alg.audit.families import Sources
from algate.alg.audit.fills import FILLS, Fill, HostFill, PortFill, Reloaded, Standing
from algate.alg.audit.listener import PageRequest
from algate.alg.audit.metrics import Metrics, _told
from algate.alg.gateway.fullness import bits_set
from algate.bpf import abi

pytestmark = pytest.mark.unit
STANDING = Standing(
    lambda: True, {"version": "1.2", "layout": "abc"}, 5.0, lambda: Reloaded(7.0, False),
    lambda: {name: Fill(number, 10.0 * number) for number, name in enumerate(FILLS, 1)},
    lambda: [PortFill("203.0.113.1", "tcp", 3, 95, 100)], list,
)  # fmt: skip


def made(standing: Standing | None = STANDING, **drops: int) -> Metrics:
    """Metrics of a gateway that dropped so many packets by reason ('_' for '-')."""
    numbers = {name: number for number, (name, _) in abi.reasons().items()}
    lost = {numbers[name.replace("_", "-")]: count for name, count in drops.items()}
    counters: Any = SimpleNamespace(sums=lambda: [0] * 64)
    dropped: Any = SimpleNamespace(sum=lambda number: lost.get(number, 0))
    sources = Sources(counters, dropped, lambda: {"new": 1}, dict, dict, lambda: 0)
    return Metrics(sources, standing=standing)


def test_what_is_held_is_no_drop() -> None:
    stats = made(punt_held=341, punt_again=2, unsolicited=7).stats()
    drops = {name: value for name, value in stats.items() if name.startswith("algate_drops_total")}
    assert sum(drops.values()) == 7 and not any(reason in name for name in drops for reason in HELD)
    assert stats['algate_held_total{reason="punt-held"}'] == 341
    assert {name for name, _ in abi.reasons().values()} >= HELD, "a reason that the kernel has"
    assert len(drops) + len(HELD) == len(abi.reasons()), "every reason is in one of both"


def test_families_are_told_where_there_are_more_than_one() -> None:
    found: dict[str, int] = {}
    counters: Any = SimpleNamespace(sums=lambda: [0] * 64)
    dropped: Any = SimpleNamespace(sum=lambda number: 0)
    stats = Metrics(Sources(counters, dropped, dict, dict, dict, lambda: 0, families=lambda: found)).stats
    assert not [name for name in stats() if "family" in name]
    found.update(ipv4=3, ipv6=0, nat64=2)
    told = {name: value for name, value in stats().items() if "family" in name}
    assert told == {f'algate_family_sessions{{family="{name}"}}': number for name, number in found.items()}


def test_each_fill_has_its_limit_beside_it() -> None:
    stats = made().stats()
    for number, name in enumerate(FILLS, 1):
        assert stats[f"{name}_limit"] == 10 * number
        assert name == "algate_sessions" or stats[name] == number
    labels = '{address="203.0.113.1",proto="tcp"}'
    assert [stats[f"algate_ports_{what}{labels}"] for what in ("used", "free", "limit")] == [3, 95, 100]
    assert stats['algate_build_info{version="1.2",layout="abc"}'] == 1
    assert stats["algate_translating"] == 1 and stats["algate_start_time_seconds"] == 5
    assert stats["algate_config_last_reload_success_timestamp_seconds"] == 7
    assert stats["algate_config_last_reload_successful"] == 0


def test_hosts_have_series_only_if_asked_for() -> None:
    assert not [name for name in made().stats() if "host=" in name]
    busy = [HostFill("10.0.0.2", 40, 30, 1), HostFill("10.0.0.3", 4, 3, 0)]
    stats = made(replace(STANDING, hosts=lambda: busy)).stats()
    assert stats['algate_host_sessions{host="10.0.0.2"}'] == 40
    assert stats['algate_host_refused_total{host="10.0.0.2"}'] == 1
    assert len([name for name in stats if "host=" in name]) == 6


def test_promtool_finds_nothing_wrong() -> None:
    assert shutil.which("promtool"), "promtool is missing: `deploy/dev.sh setup test` installs Debian's prometheus"
    text = generate_latest(made(replace(STANDING, hosts=lambda: [HostFill("10.0.0.2", 4, 3, 1)])).registry)
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_a_probe_is_answered_by_what_it_asks() -> None:
    asked = PageRequest("", {})
    assert (_told(lambda: (True, "alive"))(asked).status, _told(lambda: (False, "no"))(asked).status) == (200, 503)
    assert _told(lambda: (False, "no sign of life"))(asked).body == b"no sign of life\n"


def test_ports_are_counted_within_their_range() -> None:
    block = bytearray(abi.BITMAP_BLOCK * 8)
    for port in (1023, 1024, 5000, 65535):
        block[port // 8] |= 1 << port % 8
    both = bytes(abi.BITMAP_BLOCK * 8) + bytes(block)
    assert bits_set(both, 1, 1024, 65535) == 3
    assert bits_set(both, 1, 1025, 65534) == 1
    assert bits_set(both, 0, 1, 65535) == 0
