"""What doctor says of a gateway of two: each fault is named, and a pair that is well has none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from algate.alg.admin import doctor_pair as pair
from algate.alg.config.load import Config, loads
from algate.alg.ha import keepalived, likeness
from algate.alg.ha.epoch import KEY
from algate.alg.ha.redis import RedisKeys, RedisLog
from algate.alg.ha.resp import StoreAddress
from algate.alg.ha.store import Position
from algate.alg.plugin.model import EndPoint
from tests.fake_daemon import HA
from tests.unit.config.test_ha import DEVICES, WHOLE
from tests.unit.ha.engines import PASSWORD, USER, redis

CONFIG = loads(WHOLE, DEVICES)


def point(where: StoreAddress) -> EndPoint:
    return EndPoint(IPv4Address(where.host), where.port)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StoreAddress, StoreAddress, StoreAddress]]:
    """Two engines and a witness."""
    base = tmp_path_factory.mktemp("engines")
    with (
        redis(base / "a") as (one, _),
        redis(base / "b") as (two, _),
        redis(base / "w", "--appendonly", "yes") as (w, _),
    ):
        yield one, two, w


@pytest.fixture
def config(places: tuple[StoreAddress, StoreAddress, StoreAddress], tmp_path: Path) -> Config:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    file.chmod(0o600)
    engine, peer, witness = map(point, places)
    ha = replace(CONFIG.ha, engine=engine, peer=peer, witness=witness, user=USER, password_file=str(file))
    return replace(CONFIG, ha=ha)


def test_a_pair_that_is_well(config: Config, places: tuple[StoreAddress, ...]) -> None:
    async def begun() -> None:
        keys, log = RedisKeys(places[2]), RedisLog(places[1], "control")
        await keys.compare_and_set(KEY, await keys.read(KEY), b"3 a")
        await log.last()
        log.append(Position(3, 1), b"")
        await log.commit()
        for node in "ab":
            await likeness.leave(keys, node, left(config, node))
        await keys.close()
        await log.close()

    asyncio.run(begun())
    rows = [pair.pair(dict(HA)), pair.secret(config), pair.engines(config), pair.epoch(config, dict(HA)),
            pair.alike(config)]  # fmt: skip
    assert [row for row in rows if not row.ok or row.fix] == []
    other = pair.epoch(config, dict(HA) | {"node": "b"})
    assert not other.ok and "3 of a" in other.detail


def left(config: Config, node: str, more: str = "") -> bytes:
    whole = WHOLE.replace('node = "a"', f'node = "{node}"')
    return likeness.likeness(loads(whole + more, DEVICES))


def test_a_difference_between_the_nodes_is_named_and_no_value_travels(config: Config) -> None:
    a, b = left(config, "a"), left(config, "b")
    assert likeness.differences(a, b) == []
    assert likeness.differences(a, left(config, "b", "\n[timeouts]\nudp = 77\n")) == ["timeouts"]
    assert likeness.differences(a, a) == ["nat.ports"], "the same half on both"
    assert likeness.differences(a, left(config, "b", '\n[log]\nlevel = "blocks"\n')) == []
    assert b"203.0.113.1" not in a


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"state": "the other node isn't in step", "problem": "it is gone"}, "isn't in step: it is gone"),
        ({"fenced": True}, "a leads"),
    ],
)
def test_a_pair_that_is_not(more: dict[str, Any], fault: str) -> None:
    row = pair.pair(dict(HA) | more)
    assert not row.ok and fault in row.detail and row.fix


def test_others_may_not_read_the_password(config: Config) -> None:
    Path(config.ha.password_file).chmod(0o640)
    row = pair.secret(config)
    assert not row.ok and "640" in row.detail and row.fix.startswith("chmod 600")


def test_engines_that_are_gone_or_refuse_are_named(config: Config) -> None:
    gone = replace(config, ha=replace(config.ha, peer=EndPoint(IPv4Address("127.0.0.1"), 1)))
    row = pair.engines(gone)
    assert not row.ok and row.detail.startswith("peer: 127.0.0.1:1")
    Path(config.ha.password_file).write_text("another\n")
    assert "WRONGPASS" in pair.engines(config).detail


@pytest.mark.parametrize(
    ("info", "keeps", "wrong"),
    [
        ({"role": "master"}, False, ""),
        ({"role": "slave"}, False, "replicated"),
        ({"role": "master", "connected_slaves": "1"}, False, "replicated"),
        ({"role": "master", "maxmemory_policy": "allkeys-lru"}, False, "throws records away"),
        ({"role": "master", "aof_enabled": "1"}, False, "an old log comes back"),
        ({"role": "master", "aof_enabled": "0"}, True, "forgets the epoch"),
        ({"role": "master", "aof_enabled": "1"}, True, ""),
    ],
)
def test_settings_of_an_engine(info: dict[str, str], keeps: bool, wrong: str) -> None:
    said, fix = pair.settings(info, keeps)
    assert wrong in said and bool(said) == bool(fix) == bool(wrong)


def test_a_keepalived_conf_that_is_out_of_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: "/usr/sbin/keepalived")
    run_dir, conf, proc = Path("/run/algate"), tmp_path / "keepalived.conf", tmp_path / "proc"

    def row(config: Config = CONFIG) -> Any:
        return pair.keepalived(config, run_dir, conf, proc)

    assert "doesn't run" in row().detail
    (proc / "1").mkdir(parents=True)
    (proc / "1/comm").write_text("keepalived\n")
    assert "No such file" in row().detail
    conf.write_text(keepalived.text(CONFIG, "eth2", ("10.0.0.1/24",), run_dir, 0.25))
    assert row().ok and not row().fix
    moved = replace(CONFIG, nat=replace(CONFIG.nat, addresses=(IPv4Address("203.0.113.9"),)))
    assert not row(moved).ok
    conf.write_text("# by hand\n")
    assert row().ok and row().fix
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert "isn't installed" in row().detail
