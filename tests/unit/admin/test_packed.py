"""Sessions as they are in memory: the lines made of them say what rows say, field by field."""

from __future__ import annotations

import asyncio
import json
from ipaddress import IPv4Address
from random import Random
from typing import Any

import pytest

from algate.alg.admin import columns, listings, messages
from algate.alg.admin.columns import Columns, Moment
from algate.alg.admin.messages import Packed, PackedPart
from algate.alg.answers import SCHEMA
from algate.alg.rows import SessionRow
from algate.bpf import abi, ticks
from algate.cli.output import tsv_line
from tests.many_sessions import ManySessions


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> ManySessions:
    """Of every kind: other protocols and states, far beyond 32 bits, expected, not translated."""
    made, random = ManySessions(monkeypatch, {1: "ftp", 7: 'a "plug-in"'}), Random(1)
    for number in range(1, 5000):
        made.add(
            number, f"10.{number % 3}.0.{number % 250}", random.randrange(65536), proto=random.choice((6, 17, 1, 47)),
            state=random.randrange(1, 10) | 256 * random.randrange(64), alg=random.choice((0, 0, 1, 7, 9)),
            bytes=(random.randrange(1 << 40), random.choice((0, 3 << 56 | 7))), age=random.random() * 100,
            packets=(random.randrange(1 << 32), 4), port_index=random.randrange(1 << 20), idle=random.random() * 900,
            public_ip=random.choice((0, 0x01020304)),
        )  # fmt: skip
        if number % 7 == 0:
            made.parents[made.rows[next(reversed(made.rows))].id] = number
    return made


def asked(many: ManySessions, **args: Any) -> list[Any]:
    """The head, then the parts."""
    answer = asyncio.run(listings.sessions(many.running, {"packed": True, **args}))
    assert isinstance(answer, Packed)
    return [json.loads(json.dumps(answer.head)), *(one for one in answer.parts if one is not None)]


def parts(found: list[PackedPart], head: dict[str, Any]) -> list[tuple[bytes, bytes, Moment]]:
    made = []
    for one in found:
        about = json.loads(json.dumps(dict(one.about)))
        split = about["sessions"] * head["key"]
        parents = {int(child): parent for child, parent in about["parents"].items()}
        made.append((one.raw[:split], one.raw[split:], Moment(about["tick"], about["ns"], parents)))
    return made


def near(one: SessionRow, other: SessionRow) -> bool:
    """The same but for the moment."""
    moved = ("age", "expires_in")
    rest = {name: value for name, value in one.as_dict().items() if name not in moved}
    return rest.items() <= other.as_dict().items() and all(
        abs(getattr(one, name) - getattr(other, name)) < 5.0 for name in moved
    )


def test_lines_and_rows_say_the_same(many: ManySessions) -> None:
    head, *found = asked(many)
    assert len(found) == 3, "a part for each batch"
    plain = asyncio.run(listings.sessions(many.running, {}))
    rows = [row for piece in plain.pieces for row in piece]
    made = Columns(head)
    there = parts(found, head)
    same = [row for part in there for row in made.rows(*part)]
    assert len(same) == len(rows) == 4999 and all(map(near, same, rows))
    text = "".join(made.tsv(*part) for part in there)
    objects = json.loads("[" + ",\n".join(made.json(*part) for part in there) + "]")
    for line, one, row in zip(text.splitlines(), objects, same, strict=True):
        cells, wanted = line.split("\t"), tsv_line(row).rstrip("\n").split("\t")
        assert [one for at, one in enumerate(cells) if at not in (10, 11)] == [
            one for at, one in enumerate(wanted) if at not in (10, 11)
        ]
        assert float(cells[10]) == pytest.approx(row.age, abs=1e-6)
        assert one == {"schema": SCHEMA} | row.as_dict() | {"age": float(cells[10]), "expires_in": float(cells[11])}


def test_some_of_them(many: ManySessions) -> None:
    head, *found = asked(many, inside="10.1.0.0/16", limit=7, proto="tcp")
    plain = asyncio.run(listings.sessions(many.running, {"inside": "10.1.0.0/16", "limit": 7, "proto": "tcp"}))
    rows = [row for piece in plain.pieces for row in piece]
    same = [row for part in parts(found, head) for row in Columns(head).rows(*part)]
    assert len(same) == 7 and all(map(near, same, rows))
    head, *found = asked(many, sort="bytes", limit=3000)
    same = [row for part in parts(found, head) for row in Columns(head).rows(*part)]
    sums = [row.bytes_out + row.bytes_in for row in same]
    assert len(found) == 2 and len(sums) == 3000 and sums == sorted(sums, reverse=True)
    assert len(asked(many, limit=0)) == 1 and len(asked(many, inside="192.0.2.1")) == 1


@pytest.mark.parametrize("now", [5, 1 << 31, (1 << 32) - 3])
def test_idle_times_over_the_wrap(many: ManySessions, now: int) -> None:
    """And of what another CPU, whose clock is ahead, has just seen."""
    head, *_ = asked(many, limit=1)
    values = b"".join(bytes(abi.Session(state=2, last_seen=(now - ago) % ticks.WRAP)) for ago in (0, 100, -3, 1 << 30))
    keys = bytes(abi.SessionKey(proto=6)) * 4
    rows = list(Columns(head).rows(keys, values, Moment(now, 0, {})))
    idle = [head["limits"]["6"][2] * ticks.SECONDS - row.expires_in for row in rows]
    assert idle == pytest.approx([0, 100 * ticks.SECONDS, 0, (1 << 30) * ticks.SECONDS])


def test_over_the_socket_in_any_pieces(many: ManySessions) -> None:
    """As messages.py writes it, and a refusal instead."""
    answer = asyncio.run(listings.sessions(many.running, {"packed": True}))
    whole = b"".join(messages.answer(answer))
    first, _, rest = whole.partition(b"\n")
    assert messages.read_packed(first)["key"] == 16
    line, _, rest = rest.partition(b"\n")
    about = messages.read_packed(line)
    assert about["bytes"] == about["sessions"] * 80
    assert rest.endswith(b'{"bytes": 0}\n')
    with pytest.raises(messages.ControlError, match="gone"):
        messages.read_packed(messages.refusal("gone", 1))


def test_addresses_are_kept_in_bounds() -> None:
    ips = columns.AddressTexts()
    ips.update(dict.fromkeys(range((1 << 20) + 1), ""))
    assert ips[abi.ip_to_be32(IPv4Address("10.1.2.3"))] == "10.1.2.3" and len(ips) == 1
