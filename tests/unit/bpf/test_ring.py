"""The perf ring's reader on memory that a fake kernel writes: wrapping, losses, order, the bound of a turn."""

from __future__ import annotations

import struct
from mmap import PAGESIZE, mmap

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from algate.bpf.buffer import HEAD, TAIL, Buffer
from algate.bpf.packing import picker
from algate.bpf.ring import Merge, online

pytestmark = pytest.mark.unit
SIZE = 4096  # bytes of data; the control page has PAGESIZE
OTHER = 3  # PERF_RECORD_COMM: not for us


class Kernel:
    """Writes records like perf: never over what the reader hasn't given back, and reports what had no room."""

    def __init__(self, start: int = 0) -> None:
        self.memory = mmap(-1, PAGESIZE + SIZE)
        self.words = memoryview(self.memory)[:PAGESIZE].cast("Q")
        self.words[HEAD] = self.words[TAIL] = start
        self.untold = 0
        self.told: list[int] = []
        self.buffer = Buffer(self.memory, self.told.append)

    def record(self, kind: int, body: bytes) -> bool:
        whole = struct.pack("=IHH", kind, 0, 8 + len(body)) + body
        head = self.words[HEAD]
        if head + len(whole) - self.words[TAIL] > SIZE:
            return False
        for offset, byte in enumerate(whole):
            self.memory[PAGESIZE + (head + offset) % SIZE] = byte
        self.words[HEAD] = head + len(whole)
        return True

    def submit(self, data: bytes) -> bool:
        """Write a sample, padded like perf does; first report earlier losses, if there is room."""
        if self.untold and self.record(2, struct.pack("=QQ", 1, self.untold)):
            self.untold = 0
        padded = data + bytes(-(4 + len(data)) % 8)
        if self.untold or not self.record(9, struct.pack("=I", len(padded)) + padded):
            self.untold += 1
            return False
        return True


def at(time: int, text: bytes = b"") -> bytes:
    return struct.pack("=Q", time) + text


def when(sample: bytes) -> int:
    return int(struct.unpack_from("=Q", sample)[0])


def merged(*kernels: Kernel) -> Merge:
    return Merge([one.buffer for one in kernels], when)


def times(found: list[tuple[int, bytes]]) -> list[int]:
    return [when(sample) for _, sample in found]


def test_what_was_written_is_read_once_and_its_room_given_back() -> None:
    kernel = Kernel()
    merge = merged(kernel)
    assert merge.oldest(64) == [] and not merge.left
    for number in range(3):
        assert kernel.submit(at(number, b"text"))
    assert kernel.buffer.unread == kernel.words[HEAD]
    assert merge.oldest(64) == [(0, at(number, b"text")) for number in range(3)]
    assert kernel.words[TAIL] == kernel.words[HEAD] > 0 == kernel.buffer.unread
    assert merge.oldest(64) == [] and not merge.left


@pytest.mark.parametrize("start", range(SIZE - 64, SIZE + 8, 8))
def test_a_record_that_goes_round_the_end(start: int) -> None:
    """The header before the end and all else after it, or split anywhere in between."""
    kernel = Kernel(start)
    sample = at(7, bytes(range(44)))
    assert kernel.submit(sample) and kernel.submit(at(8, b"next"))
    assert merged(kernel).oldest(64) == [(0, sample), (0, at(8, b"next"))]


def test_positions_grow_beyond_the_memory() -> None:
    kernel = Kernel((1 << 40) - 16)
    merge = merged(kernel)
    for number in range(500):
        assert kernel.submit(at(number, bytes(100)))
        assert times(merge.oldest(64)) == [number]


def test_losses_are_told_and_foreign_records_passed_over() -> None:
    kernel = Kernel()
    while kernel.submit(at(1, bytes(200))):
        pass
    kernel.untold = 41
    merge = merged(kernel)
    read = len(merge.oldest(1000))
    assert read == SIZE // 224 and kernel.told == [], "the kernel tells with the next sample that has room"
    kernel.record(OTHER, bytes(24))
    assert kernel.submit(at(2))
    assert times(merge.oldest(64)) == [2]
    assert kernel.told == [41]


def test_room_is_given_back_before_samples_are_looked_at() -> None:
    """What the kernel submits while the first is handled finds the room of all that were taken."""
    kernel = Kernel()
    while kernel.submit(at(1, bytes(200))):
        pass
    assert not kernel.submit(at(2, bytes(200)))
    assert merged(kernel).oldest(1)
    assert kernel.submit(at(2, bytes(100)))


@pytest.mark.parametrize("size", [0, 4, 7, 4000])
def test_rubbish_is_passed_over_as_a_loss(size: int) -> None:
    """A record of size 0 would be read for ever, one that reaches beyond the head too early."""
    kernel = Kernel()
    kernel.submit(at(1))
    head = kernel.words[HEAD]
    kernel.record(9, bytes(24))
    kernel.memory[PAGESIZE + head + 6 : PAGESIZE + head + 8] = struct.pack("=H", size)
    merge = merged(kernel)
    assert times(merge.oldest(64)) == [1]
    assert kernel.told == [1]
    kernel.submit(at(3))
    assert times(merge.oldest(64)) == [3]


def test_a_sample_that_says_it_is_longer_than_its_record_is_cut() -> None:
    kernel = Kernel()
    kernel.record(9, struct.pack("=I", 60000) + at(5, b"four"))
    (found,) = merged(kernel).oldest(64)
    assert found == (0, at(5, b"four"))


def test_rings_are_merged_by_time_and_a_turn_is_bounded() -> None:
    first, second = Kernel(), Kernel()
    for number in range(50):
        first.submit(at(2 * number))
        second.submit(at(2 * number + 1))
    merge = merged(first, second)
    assert times(merge.oldest(64)) == list(range(64)) and merge.left
    second.submit(at(1000))
    assert times(merge.oldest(64)) == [*range(64, 100), 1000] and not merge.left


def test_a_bound_does_not_let_a_quiet_ring_overtake_a_full_one() -> None:
    """What the quiet ring has is newer than all that the bound leaves in the full one."""
    full, quiet = Kernel(), Kernel()
    for number in range(100):
        full.submit(at(number))
    quiet.submit(at(500))
    merge = merged(full, quiet)
    assert times(merge.oldest(64)) == list(range(64))
    assert times(merge.oldest(64)) == [*range(64, 100), 500]


def test_what_comes_during_a_turn_is_for_the_next() -> None:
    """Otherwise a ring that fills as fast as it is read would be read for ever."""
    kernel = Kernel()
    kernel.submit(at(1))
    taken: list[bytes] = []

    def when_busy(sample: bytes) -> int:
        taken.append(sample)
        kernel.submit(at(len(taken) + 1))
        return when(sample)

    merge = Merge([kernel.buffer], when_busy)
    assert times(merge.oldest(64)) == [1] and not merge.left
    assert times(merge.oldest(64)) == [2]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 2), st.sampled_from((0, 1, 7, 40, 400))),  # a ring and the size of its next sample
        st.integers(1, 5),  # a turn of at most that many
    ),
    max_size=200,
)


@given(STEPS, st.lists(st.integers(0, 3 * SIZE // 8), min_size=3, max_size=3))
@example([(0, 0), (1, 0), 1, 1, 1], [0, 0, 0])
@example([(0, 0), (0, 0), (0, 0), 1, (1, 0), 1, 1, (0, 0)], [0, 0, 0])
def test_any_stream_arrives_whole_in_order_or_is_told_lost(
    steps: list[tuple[int, int] | int], starts: list[int]
) -> None:
    kernels = [Kernel(8 * start) for start in starts]
    merge = merged(*kernels)
    clock, refused = 0, [0, 0, 0]
    sent: list[list[bytes]] = [[], [], []]
    got: list[list[bytes]] = [[], [], []]
    for step in [*steps, 10_000]:
        if isinstance(step, tuple):
            number, size = step
            clock += 1
            sample = at(clock, bytes([clock & 255]) * size)
            if kernels[number].submit(sample):
                sent[number].append(sample)
            else:
                refused[number] += 1
            continue
        found = merge.oldest(step)
        assert len(found) <= step
        assert times(found) == sorted(times(found))
        for number, sample in found:
            got[number].append(sample)
        waiting = [sent[n][len(got[n])] for n in range(3) if len(got[n]) < len(sent[n])]
        assert merge.left == bool(waiting)
        ahead = [number for _, number, _ in merge._ahead]
        assert len(set(ahead)) == len(ahead), "one sample of a ring is taken before its turn, no more"
        assert not found or all(when(one) > times(found)[-1] for one in waiting), "an older one was left behind"
    for number, kernel in enumerate(kernels):
        assert [one.rstrip(b"\0") for one in got[number]] == [one.rstrip(b"\0") for one in sent[number]]
        assert all(one[: len(whole)] == whole for one, whole in zip(got[number], sent[number], strict=True))
        assert sum(kernel.told) + kernel.untold == refused[number]


def test_the_time_of_a_punt_is_read_by_its_name() -> None:
    pick = picker("punt", "time")
    assert pick(at(1 << 60, bytes(200))) == 1 << 60
    assert pick(b"short") == 0


@pytest.mark.parametrize(("text", "cpus"), [("0\n", [0]), ("0-3\n", [0, 1, 2, 3]), ("0,2-3,8\n", [0, 2, 3, 8])])
def test_the_cpus_that_are_online(text: str, cpus: list[int]) -> None:
    assert online(text) == cpus
