"""What a gateway of the tests leaves to the next one (tests/spare.py): each kind of map is as a new one."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator

import pytest

from algate.bpf import syscall
from algate.bpf.libbpf import library
from algate.bpf.tables import possible_cpus
from tests import spare

HASH, ARRAY, PERCPU_HASH, PERCPU_ARRAY, LRU_HASH, LPM_TRIE, QUEUE = 1, 2, 5, 6, 9, 11, 22  # enum bpf_map_type
NO_PREALLOC = 1
KEY = {HASH: 8, ARRAY: 4, PERCPU_HASH: 8, PERCPU_ARRAY: 4, LRU_HASH: 8, LPM_TRIE: 8, QUEUE: 0}
VALUE = 12
ROWS = 5000  # more than one batch
FULL = bytes([255]) * 1024


@pytest.fixture
def made(request: pytest.FixtureRequest) -> Iterator[int]:
    kind = request.param
    fd = syscall.create(kind, "tried", KEY[kind], VALUE, ROWS, NO_PREALLOC if kind == LPM_TRIE else 0)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("made", [ARRAY, PERCPU_ARRAY], indirect=True)
def test_arrays_are_zero(made: int) -> None:
    size = VALUE if syscall.map_info(made).type == ARRAY else 16 * possible_cpus()
    rows = [row.to_bytes(4, "little") for row in (0, 1, 4096, ROWS - 1)]
    for row in rows:
        syscall.update(made, row, FULL)
    spare.wash(made)
    assert {syscall.lookup(made, row, size) for row in rows} == {bytes(size)}


@pytest.mark.parametrize("made", [HASH, PERCPU_HASH, LRU_HASH, LPM_TRIE], indirect=True)
def test_hashes_are_empty(made: int) -> None:
    for number in range(100):
        syscall.update(made, bytes((32, 0, 0, 0, number, 1, 2, 3)), FULL)  # of a trie: the prefix's length first
    spare.wash(made)
    assert syscall.next_key(made, None, 8) is None


@pytest.mark.parametrize("made", [QUEUE], indirect=True)
def test_queues_are_empty(made: int) -> None:
    room = ctypes.create_string_buffer(VALUE)
    for _ in range(3):
        assert library().bpf_map_update_elem(made, None, FULL, 0) == 0
    spare.wash(made)
    assert library().bpf_map_lookup_and_delete_elem(made, None, room) < 0


@pytest.mark.parametrize("made", [HASH], indirect=True)
def test_what_would_take_long_is_not_lent(made: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spare, "MOST", 10)
    for number in range(11):
        syscall.update(made, bytes((0, 0, 0, 0, number, 0, 0, 0)), FULL)
    with pytest.raises(spare.FullError):
        spare.wash(made)


def test_which_of_them_fits() -> None:
    plain = spare.Kind.wanted("")
    assert (
        spare.Kind.wanted("[nat]\nfiltering = 'address-dependent'\n[ipv6]\nfilter = false\n[nat64]\nprefix = ''\n")
        == plain
    )
    others = ("[ipv6]\nfilter = true\n", "[nat64]\nprefix = '64:ff9b::/96'\n", "[nat]\nmax_sessions = 64\n")
    addresses = "[nat]\naddresses = ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4', '192.0.2.5']\n"
    assert len({plain, *map(spare.Kind.wanted, (*others, addresses))}) == 5
