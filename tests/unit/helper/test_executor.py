"""Effects that become calls of the kernel: how many of them, and that another's row stays."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import pytest

from algate.alg.engine import effects as fx
from algate.alg.engine.expectations import NAMED
from algate.alg.gateway import records
from algate.alg.ha import written
from algate.alg.helper.executor import Executor
from algate.alg.plugin.model import EndPoint, Event
from algate.bpf import abi, syscall
from tests.wire import INSIDE, PUBLIC, REMOTE

pytestmark = pytest.mark.unit
KEY = fx.SessionKey(INSIDE, 3000, REMOTE, 21)


def expectation(number: int, state: int = fx.EXPECT_PENDING, port: int = 4000) -> fx.Expectation:
    to, inside = EndPoint(ip_address(PUBLIC), port), EndPoint(ip_address(INSIDE), port)
    return fx.Expectation(number, 7, KEY, 1, fx.IN, 6, REMOTE, to, inside, to, state, False, 100.0)


class Kernel:
    """The table of expectations, and the calls that were made."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.calls: list[str] = []

    def update(self, _fd: int, key: bytes, value: bytes, flags: int = 0) -> None:
        self.calls.append("update")
        if flags == syscall.Update.EXISTING and key not in self.rows:
            raise FileNotFoundError(2, "no such row")
        self.rows[key] = value

    def delete(self, _fd: int, key: bytes) -> bool:
        self.calls.append("delete")
        return self.rows.pop(key, None) is not None

    def lookup(self, _fd: int, key: bytes, _size: int) -> bytes | None:
        self.calls.append("lookup")
        return self.rows.get(key)


class Control:
    """The control program, and what it was asked to open."""

    def __init__(self) -> None:
        self.agreed: list[tuple[bytes, int]] = []

    def agree(self, key: bytes, number: int) -> bool:
        self.agreed.append((key, number))
        return True


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    made = Kernel()
    for name in ("update", "delete", "lookup"):
        monkeypatch.setattr(syscall, name, getattr(made, name))
    yield made


@pytest.fixture
def executor() -> Executor:
    gateway, ports = SimpleNamespace(expectations=SimpleNamespace(fd=-1)), SimpleNamespace(place=lambda _: 0)
    parts: Any = gateway, Control(), ports, lambda _: True, lambda _: None
    return Executor(*parts)


def test_a_row_is_the_same_in_another_state() -> None:
    key, value = records.pack_expectation(expectation(1), fx.EXPECT_PENDING, 5)
    assert (key, records.in_state(value, fx.EXPECT_OPEN)) == records.pack_expectation(expectation(1), fx.EXPECT_OPEN, 5)


def test_an_expectation_costs_four_calls(kernel: Kernel, executor: Executor) -> None:
    one = expectation(1)
    executor.carry_out([fx.PutExpectation(one), fx.OpenExpectation(one._replace(state=fx.EXPECT_OPEN))])
    assert [*kernel.rows.values()] == [executor.row(one, fx.EXPECT_OPEN)[1]]
    executor.carry_out([fx.DeleteExpectation(one, "used")])
    assert not kernel.rows and kernel.calls == ["update", "lookup", "update", "delete"]
    executor.carry_out([fx.OpenExpectation(one)])
    assert not kernel.rows and not executor.failures


def test_a_record_names_an_expectation_by_its_row_though_that_is_only_packed(executor: Executor) -> None:
    """Another gateway gets both before the kernel gets either."""
    one, record = expectation(1), fx.AdjustRecord(7, (0, 0), (0, 0), ((), ()), agrees=1)
    key, _ = executor.row(one, one.state)
    assert bytes(abi.Adjust.unpack(executor.packed(record)).agrees_key) == key


@pytest.mark.parametrize("state", [fx.EXPECT_OPEN, int(abi.ExpectationState.USED)])
def test_what_the_kernel_opened_is_left_as_it_is(kernel: Kernel, executor: Executor, state: int) -> None:
    """Used meanwhile, it would admit a second connection."""
    one = expectation(1)
    executor.carry_out([fx.PutExpectation(one)])
    ((key, value),) = kernel.rows.items()
    kernel.rows[key] = records.in_state(value, state)
    executor.carry_out([fx.OpenExpectation(one._replace(state=fx.EXPECT_OPEN))])
    assert kernel.rows[key] == records.in_state(value, state) and not executor.failures


def test_what_may_be_used_while_it_is_pending_is_opened_by_the_kernel(kernel: Kernel, executor: Executor) -> None:
    """Between a look at the row and a write it may be used, and would admit a second connection."""
    one = expectation(1)._replace(early=True)
    executor.carry_out([fx.PutExpectation(one)])
    ((key, value),) = kernel.rows.items()
    executor.carry_out([fx.OpenExpectation(one._replace(state=fx.EXPECT_OPEN))])
    control: Any = executor._control
    assert control.agreed == [(key, 1)] and kernel.rows[key] == value


def test_a_row_of_the_kernel_s_own_goes_with_its_use_and_another_s_stays(kernel: Kernel, executor: Executor) -> None:
    first, second = (expectation(1 << NAMED | number, fx.EXPECT_OPEN) for number in (1, 2))
    executor.carry_out([fx.KnownExpectation(first)])
    key, row = executor.row(second, fx.EXPECT_OPEN)
    kernel.rows[key] = row  # named again, which nobody has read yet
    executor.carry_out([fx.DeleteExpectation(first, "used")])
    assert kernel.rows == {key: row} and not kernel.calls
    executor.carry_out([fx.KnownExpectation(first), fx.DeleteExpectation(first, "withdrawn")])
    assert kernel.rows == {key: row}
    executor.carry_out([fx.KnownExpectation(second), fx.DeleteExpectation(second, "withdrawn")])
    assert not kernel.rows


def test_the_row_of_a_newer_one_stays(kernel: Kernel, executor: Executor) -> None:
    old, new = expectation(1), expectation(2)
    executor.carry_out([fx.PutExpectation(old), fx.PutExpectation(new), fx.DeleteExpectation(old, "withdrawn")])
    assert [records.expectation_id(row) for row in kernel.rows.values()] == [2]
    executor.carry_out([fx.DeleteExpectation(new, "withdrawn")])
    assert not kernel.rows


@pytest.mark.parametrize(("there", "left"), [(1, 0), (2, 1)])
def test_of_a_row_that_an_earlier_helper_made_the_kernel_is_asked(
    kernel: Kernel, executor: Executor, there: int, left: int
) -> None:
    kernel.rows.update([executor.row(expectation(there), fx.EXPECT_OPEN)])
    executor.carry_out([fx.DeleteExpectation(expectation(1), "expired")])
    assert len(kernel.rows) == left and kernel.calls[0] == "lookup"


def test_an_heir_has_the_row(kernel: Kernel, executor: Executor) -> None:
    old, heir = expectation(1), expectation(2, fx.EXPECT_OPEN)
    executor.carry_out([fx.PutExpectation(old), fx.DeleteExpectation(old, "used", heir=heir)])
    assert [*kernel.rows.values()] == [executor.row(heir, fx.EXPECT_OPEN)[1]]
    executor.carry_out([fx.DeleteExpectation(heir, "used")])
    assert not kernel.rows


@pytest.mark.parametrize("early", [1, 0])
def test_what_may_be_ahead_of_the_other_gateway_is_done_while_the_rest_waits(
    kernel: Kernel, executor: Executor, early: int
) -> None:
    one = expectation(1)
    then = executor.prepare([fx.PutExpectation(one), fx.OpenExpectation(one._replace(state=fx.EXPECT_OPEN))], early)
    assert kernel.calls == ["update"] * early
    then()
    assert kernel.calls.count("update") == 2 and executor.outcomes["made"] == 1
    assert [*kernel.rows.values()] == [executor.row(one, fx.EXPECT_OPEN)[1]]


def full(*_: Any) -> None:
    raise OSError(7, "full")


def test_behind_a_write_that_failed_ahead_nothing_is_done(
    kernel: Kernel, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = expectation(1)
    monkeypatch.setattr(syscall, "update", full)
    then = executor.prepare([fx.PutExpectation(one), fx.DeleteExpectation(one, "withdrawn")], 1)
    then()
    assert executor.failures["PutExpectation"] == 1 and not kernel.calls and not executor.outcomes


RECORD = fx.AdjustRecord(7, (0, 0), (0, 0), ((), ()))
GONE = fx.DeleteExpectation(expectation(1), "withdrawn")
FREED = fx.ReleasePort(6, GONE.expectation.to, GONE.expectation.to, 1, False)
HELD: list[fx.Effect] = [fx.DropDecisions(7, ()), fx.DropHeld(7, 0), fx.KeepHeld(7, 0, b"PORT")]


@pytest.mark.parametrize(
    ("effects", "number"),
    [
        ([], 0), (HELD, 3), ([fx.PutExpectation(expectation(1)), *HELD], 4), ([fx.PutAdjust(RECORD), *HELD], 0),
        ([fx.PutExpectation(expectation(1, fx.EXPECT_OPEN)), *HELD], 0),
        ([fx.PutExpectation(expectation(1)._replace(early=True)), *HELD], 0), ([*HELD, fx.Inject(0, b""), *HELD], 3),
        ([*HELD, fx.OpenExpectation(expectation(1))], 3), ([GONE, FREED, *HELD, fx.PutAdjust(RECORD)], 5),
        ([*HELD, GONE._replace(heir=expectation(2, fx.EXPECT_OPEN))], 3),
    ],
)  # fmt: skip
def test_the_first_that_lets_something_pass_ends_what_may_be_ahead(effects: list[fx.Effect], number: int) -> None:
    assert written.ahead(effects) == number


SAID = fx.Announce(7, None, Event("expected"))
PORT_AGAIN: list[fx.Effect] = [GONE, FREED, SAID, fx.PutExpectation(expectation(2)), SAID, fx.Inject(0, b"PORT")]


@pytest.mark.parametrize(
    ("early", "fails", "done"),
    [(0, False, ["frame", "free", "say", "say"]), (5, False, ["frame", "free", "say", "say"]),
     (0, True, ["free", "say"]), (5, True, ["free", "say"])],
)  # fmt: skip
def test_no_frame_waits_for_what_only_tells_or_frees(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, early: int, fails: bool, done: list[str]
) -> None:
    """It comes behind, and of a list that was stopped only what stood before."""
    did: list[str] = []

    def did_frame(_: bytes) -> bool:
        did.append("frame")
        return True

    gateway = SimpleNamespace(expectations=SimpleNamespace(fd=-1))
    ports = SimpleNamespace(place=lambda _: 0, release=lambda *_: did.append("free"))
    parts: Any = gateway, None, ports, did_frame, lambda _: did.append("say")
    executor = Executor(*parts)
    if fails:
        monkeypatch.setattr(syscall, "update", full)
    then = executor.prepare(PORT_AGAIN, early) if early else partial(executor.carry_out, PORT_AGAIN)
    assert not did, "nothing of it is ahead of the other gateway"
    then()
    assert did == done
