"""Tables, pins and test-runs against the kernel, with a small program for these tests."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from algate.bpf import abi, headers, syscall, tables, testrun
from algate.bpf.errors import AlgateError
from algate.bpf.syscall import Update

pytestmark = pytest.mark.bpf

BPF_MAP_TYPE_HASH = 1

PROGRAM = """
#include <uapi/linux/bpf.h>
#include <uapi/linux/pkt_cls.h>
struct key { __u32 a, b, c, d; };
struct value { __u64 words[8]; };
BPF_HASH(sessions, struct key, struct value, 100000);
BPF_HASH(small, __u32, __u64, 4);
BPF_LPM_TRIE(trie, struct key, __u32, 64);
BPF_ARRAY(array, __u64, 8);
BPF_PERCPU_ARRAY(counters, __u64, 8);
int classify(struct __sk_buff *skb)
{
    __u32 row = 3;
    counters.increment(row);
    counters.increment(row);
    if (skb->mark != 7 || skb->gso_size != 1448)
        return 2;
    skb->mark = 9;
    __u16 first = 0x0201;
    bpf_skb_store_bytes(skb, 0, &first, 2, 0);
    return bpf_skb_change_tail(skb, skb->len + 3, 0) ? 2 : (int)skb->ingress_ifindex;
}
int express(struct xdp_md *xdp)
{
    return xdp->rx_queue_index == 0 && xdp->ingress_ifindex == 1 ? XDP_TX : XDP_DROP;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Any:
    headers.prepare(tmp_path_factory.mktemp("run")).activate()
    import bcc

    return bcc.BPF(text=PROGRAM.encode())


def sessions(program: Any) -> tables.Table[abi.SessionKey, abi.Session]:
    codecs = tables.layout(abi.SessionKey), tables.layout(abi.Session)
    return tables.Table(program[b"sessions"].map_fd, *codecs)


def test_entry_by_entry(program: Any) -> None:
    table = sessions(program)
    key, value = abi.SessionKey(inside_ip=1, proto=6), abi.Session(id=5, packets=(7, 8))
    assert table.get(key) is None and not table.delete(key)
    with pytest.raises(KeyError):
        table[key]
    with pytest.raises(FileNotFoundError, match="bpf_map_update_elem"):
        table.put(key, value, Update.EXISTING)
    table.put(key, value, Update.CREATE)
    with pytest.raises(FileExistsError):
        table.put(key, abi.Session(id=6), Update.CREATE)
    assert table[key] == value and list(table[key].packets) == [7, 8]
    assert len(table) == 1 and list(table.items()) == [(key, value)]
    assert table.delete(key) and len(table) == 0


def test_all_entries_in_batches_and_raw(program: Any) -> None:
    table = sessions(program)
    number = 50_000
    table.put_many([(abi.SessionKey(inside_ip=n), abi.Session(id=n, last_seen=n)) for n in range(number)])
    assert len(table) == number
    keys, values = table.read_all_raw()
    pairs = zip(
        struct.iter_unpack(abi.SessionKey.FORMAT, keys), struct.iter_unpack(abi.Session.FORMAT, values), strict=True
    )
    seen = set()
    for key, value in pairs:
        row = tables.names(abi.Session, value)
        assert key[0] == row["id"] == row["last_seen"]
        seen.add(key[0])
    assert len(seen) == number
    table.clear()
    assert len(table) == 0


@pytest.mark.parametrize("missing", [(), (0,), (3,), (0, 1), (2, 4), (4, 5), (0, 1, 2, 3, 4, 5)])
def test_many_are_deleted_whichever_are_there(program: Any, missing: tuple[int, ...]) -> None:
    fd = program[b"sessions"].map_fd
    keys = [struct.pack("=4I", 7000 + number, 0, 0, 0) for number in range(6)]
    for number, key in enumerate(keys):
        if number not in missing:
            syscall.update(fd, key, bytes(64))
    syscall.delete_all(fd, keys)
    assert [syscall.lookup(fd, key, 64) for key in keys] == [None] * 6
    syscall.delete_all(fd, [])


def test_full_table_says_so(program: Any) -> None:
    table = tables.Table(program[b"small"].map_fd, tables.U32, tables.U64)
    table.put_many({n: n for n in range(4)})
    with pytest.raises(OSError, match="bpf_map_update_elem") as caught:
        table.put(9, 9)
    assert caught.value.errno == 7
    assert dict(table.items()) == {0: 0, 1: 1, 2: 2, 3: 3}


def test_other_sizes_are_refused(program: Any) -> None:
    with pytest.raises(AlgateError, match=r"map sessions: .* 16 and 64 bytes, this version wants 16 and 8; .*--purge"):
        tables.Table(program[b"sessions"].map_fd, tables.layout(abi.SessionKey), tables.U64)


def test_tries_are_walked(program: Any) -> None:
    codec = tables.Codec[bytes](16, bytes, bytes)
    table = tables.Table(program[b"trie"].map_fd, codec, tables.U32)
    entries = {struct.pack("=4I", 96, n, n, 0): n for n in range(1, 20)}
    table.put_many(entries)
    assert dict(table.items()) == entries
    table.clear()
    assert len(table) == 0


def test_arrays(program: Any) -> None:
    table = tables.Table(program[b"array"].map_fd, tables.U32, tables.U64)
    table.put(7, 2**63)
    assert table[7] == 2**63 and table[0] == 0 and table.get(8) is None
    assert len(table) == 8


@pytest.fixture
def pin(program: Any) -> Iterator[Path]:
    folder = Path("/sys/fs/bpf")
    if not os.path.ismount(folder):
        import subprocess

        subprocess.run(["mount", "-t", "bpf", "bpf", folder], check=True)
    path = folder / f"ag-test-{os.getpid()}"
    yield path
    path.unlink(missing_ok=True)


def test_pins_and_information(program: Any, pin: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(pin)):
        syscall.obj_get(pin)
    syscall.obj_pin(program[b"small"].map_fd, pin)
    with pytest.raises(FileExistsError):
        syscall.obj_pin(program[b"small"].map_fd, pin)
    fd = syscall.obj_get(pin)
    try:
        info = syscall.map_info(fd)
        assert info == syscall.map_info(program[b"small"].map_fd)
        assert (info.type, info.key_size, info.value_size, info.max_entries) == (BPF_MAP_TYPE_HASH, 4, 8, 4)
        assert info.name == "small"
    finally:
        os.close(fd)


def test_classifier_runs_with_context(program: Any) -> None:
    import bcc

    function = program.load_func(b"classify", bcc.BPF.SCHED_CLS)
    counters = tables.PerCpuCounters(program[b"counters"].map_fd)
    frame = bytes(64)
    result = testrun.run(function.fd, frame, testrun.skb_context(ifindex=1, ingress_ifindex=1, mark=7, gso_size=1448))
    assert result.value == 1 and result.context.mark == 9
    assert result.data == b"\x01\x02" + bytes(65)
    assert testrun.run(function.fd, frame, repeat=9).value == 2
    assert counters.sum(3) == 20 and counters.sums() == [0, 0, 0, 20, 0, 0, 0, 0]
    assert syscall.prog_info(function.fd).name == "classify"
    with pytest.raises(OSError, match="bpf_prog_test_run of 3 bytes: Invalid argument"):
        testrun.run(function.fd, b"abc")


def test_express_runs_with_context(program: Any) -> None:
    import bcc

    function = program.load_func(b"express", bcc.BPF.XDP)
    frame = bytes(range(64))
    result = testrun.run(function.fd, frame, testrun.xdp_context(64, ingress_ifindex=1))
    assert result.value == 3 and result.data == frame
