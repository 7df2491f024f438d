"""Actions are made by their slots' setters, and are in every other way what dataclasses are."""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from ipaddress import ip_address
from typing import Any

import pytest

from algate.alg.plugin.model import Control, Direction, EndPoint, Event, Expect, Pass, Reserve, Side

pytestmark = pytest.mark.unit
END = EndPoint(ip_address("10.0.0.5"), 4000)
MADE: list[Any] = [
    Pass(3), Event("e"), Event("e", "d", fields=(("a", 1),)), Reserve(1, END, shared=True),
    Expect(1, Direction.IN, END.ip, None, 3.0, acts_after=0.5), Control(1, END, END, END, Side.CLIENT, unread=True),
]  # fmt: skip


@pytest.mark.parametrize("one", MADE, ids=lambda one: type(one).__name__)
def test_it_is_a_frozen_dataclass_as_any(one: Any) -> None:
    by_name = {field.name: getattr(one, field.name) for field in fields(one)}
    assert type(one)(**by_name) == one == copy.copy(one) == pickle.loads(pickle.dumps(one)) == replace(one)
    assert list(inspect.signature(type(one)).parameters) == list(by_name)
    with pytest.raises(FrozenInstanceError):
        setattr(one, next(iter(by_name)), 1)
    with pytest.raises(TypeError, match=r"__init__\(\)"):
        type(one)(**by_name, more=1)


def test_a_class_derived_from_one_is_made_as_any() -> None:
    @dataclass(frozen=True)
    class Named(Event):
        more: int = 7

    made = Named("e", reason="r")
    assert (made.event, made.reason, made.fields, made.more) == ("e", "r", (), 7)
    assert replace(made, more=8).more == 8
