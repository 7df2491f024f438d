"""The public ports under two processors at once, until none is left: none given twice, lost, or refused early.

The law of this file: a separate gateway on a bench, no packet on any wire.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from algate.alg.gateway.gc import Sweep
from algate.bpf import abi
from algate.bpf.loader import Gateway
from algate.bpf.requests import ControlProgram
from algate.cli.lab.lab import mount_bpffs
from tests.bpf import rig as bench
from tests.compliance.pool import FIRST, LAST, ONE_MAPPING, SENDERS, Senders, faults, race, racing, taken

POOL = LAST - FIRST + 1
BRIEF = {abi.TimeoutKind.UDP: 0.05}
PINS = Path("/sys/fs/bpf")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[bench.Rig]:
    """A gateway with room for more sessions than there are ports."""
    mount_bpffs(PINS)
    pins = PINS / f"ag-{secrets.token_hex(4)}"
    pins.mkdir()
    with bench.namespace():
        devices = bench.build_devices()
        gateway = Gateway(pins, 4 * POOL, 1, tmp_path)
        try:
            made = bench.Rig(gateway, devices)
            made.configure(hold_down=0)
            yield made
        finally:
            gateway.close()
            for pin in pins.iterdir():
                pin.unlink()
            pins.rmdir()


def sweep(rig: bench.Rig) -> int:
    """Run one whole sweep; returns how many sessions it ended."""
    one = Sweep(rig.gateway, ControlProgram(rig.gateway.fds["control"]))
    for _ in one.run():
        pass
    return one.deleted


def test_two_processors_fill_the_pool(rig: bench.Rig) -> None:
    """No port twice; the first refusal comes when 99.9 % are given, and then all are."""
    seen = race(rig, stop_when_full=True)
    assert seen.filled is not None, f"{seen.made} sessions and no refusal: the pool holds {POOL}"
    assert seen.filled >= 0.999 * POOL, f"refused when {seen.filled} of {POOL} ports were given"
    assert taken(rig.gateway) == seen.made <= POOL
    assert faults(rig.gateway) == []


def test_tries_stay_few_up_to_the_last_port(rig: bench.Rig) -> None:
    """The cost of a port doesn't grow with the fill: few searches need more than four tries."""
    before = rig.gateway.counters.sums()
    seen = race(rig, stop_when_full=True)
    after = rig.gateway.counters.sums()
    more = after[abi.Counter.PORT_TRIES_MORE] - before[abi.Counter.PORT_TRIES_MORE]
    assert more <= 0.02 * seen.made, f"{more} of {seen.made} ports took more than four tries"


def test_one_mapping_on_two_processors(rig: bench.Rig) -> None:
    """Both processors make sessions of one inside end point: one mapping results, and it counts every session."""
    seen = race(rig, ONE_MAPPING)
    assert (seen.made, seen.refused) == (2 * POOL, 0)
    assert taken(rig.gateway) == 1
    assert faults(rig.gateway) == []


def test_two_processors_while_the_sweep_deletes(rig: bench.Rig) -> None:
    """Sessions end while the senders run, ports come back: no port twice, none lost, and in the end all are free."""
    rig.configure(hold_down=0, timeouts=BRIEF)
    for senders in (SENDERS, ONE_MAPPING, SENDERS):
        assert_survives(rig, senders)
    rig.configure(hold_down=0, timeouts={abi.TimeoutKind.UDP: 0})
    sweep(rig)
    assert len(rig.gateway.sessions) == len(rig.gateway.mappings) == taken(rig.gateway) == 0
    assert not any(bits for _, bits in rig.gateway.port_bits.items()), "the bitmap still hides ports"


def assert_survives(rig: bench.Rig, senders: Senders) -> None:
    """Both senders go over all ports once while the sweep runs; afterwards the tables agree."""
    deleted = 0
    with racing(rig, senders) as seen:
        while seen.busy():
            deleted += sweep(rig)
    assert faults(rig.gateway) == []
    assert deleted > 1000, "the sweep had nothing to do: no race was tried"
    assert seen.made > POOL, f"only {seen.made} sessions although ports come back"
