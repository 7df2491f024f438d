"""The gateway on a bench, loaded once for the rung with its own pins, and emptied for each test."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from algate.bpf.loader import Gateway
from tests.bpf import rig as bench
from tests.bpf import turned
from tests.bpf.watched import Watched, watch

BPFFS = Path("/sys/fs/bpf")
MAX_SESSIONS = 4096


@contextmanager
def _loading(headers: Path, **kinds: bool) -> Iterator[bench.Rig]:
    """Programs and maps, in a network namespace and a pin folder of their own."""
    if not os.path.ismount(BPFFS):
        subprocess.run(["mount", "-t", "bpf", "bpf", BPFFS], check=True)
    pins = BPFFS / f"ag-{secrets.token_hex(4)}"
    pins.mkdir()
    with bench.namespace():
        devices = bench.build_devices()
        gateway = Gateway(pins, MAX_SESSIONS, 2, headers, **kinds)
        try:
            yield bench.Rig(gateway, devices)
        finally:
            gateway.close()
            for pin in pins.iterdir():
                pin.unlink()
            pins.rmdir()


@pytest.fixture(scope="package")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bench.Rig]:
    """What a gateway with IPv6 loads, for all of the rung."""
    with _loading(tmp_path_factory.mktemp("headers"), six=True) as made:
        yield made


@pytest.fixture(scope="package")
def loaded64(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bench.Rig]:
    """What one with NAT64 loads."""
    with _loading(tmp_path_factory.mktemp("headers"), nat64=True) as made:
        yield made


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """The test stays on a CPU: each has a ring of its own, and what fills one finds room in another."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def rig64(loaded64: bench.Rig) -> bench.Rig:
    """An empty gateway with turned.PREFIX."""
    loaded64.reset()
    turned.prefix_is(loaded64, turned.PREFIX)
    return loaded64


@pytest.fixture
def rig(loaded: bench.Rig) -> bench.Rig:
    """An empty gateway."""
    loaded.reset()
    return loaded


@pytest.fixture
def watched(rig: bench.Rig) -> Watched:
    """A control session, whose beginning was read already."""
    session = watch(rig)
    rig.taken()
    return session
