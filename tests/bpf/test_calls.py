"""The calls of the kernel that the helper makes for every line: in Python (calls.py) and in C (calls.c) the same."""

from __future__ import annotations

import ctypes
import errno
import importlib.machinery
import importlib.util
import os
import shutil
import socket
import struct
import subprocess
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from algate.bpf import syscall, testrun
from algate.bpf.syscall import Update
from tests.imports import ROOT

pytestmark = pytest.mark.bpf

HASH, KEY, VALUE = 1, bytes(8), b"v" * 40
SCHED_CLS, ADD = 3, 7


def load(path: Path) -> ModuleType:
    name = "calls"
    loader: Any = (
        importlib.machinery.SourceFileLoader if path.suffix == ".py" else importlib.machinery.ExtensionFileLoader
    )
    spec = importlib.util.spec_from_file_location(name, path, loader=loader(name, str(path)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=["calls.py", "calls.c"])
def calls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    source = ROOT / "bpf" / request.param
    if source.suffix == ".py":
        return load(source)
    headers, compiler = Path(sysconfig.get_path("include")), shutil.which("gcc")
    if compiler is None or not (headers / "Python.h").exists():
        pytest.skip("no C compiler, or no Python.h: install gcc python3-dev")
    built = tmp_path_factory.mktemp("calls") / "calls.so"
    subprocess.run([compiler, "-O2", "-fPIC", "-shared", "-Wall", f"-I{headers}", "-o", built, source], check=True)
    return load(built)


@pytest.fixture
def table() -> Any:
    fd = syscall.create(HASH, "calls", len(KEY), len(VALUE), 2)
    yield fd
    os.close(fd)


def test_an_entry_is_written_read_and_deleted(calls: Any, table: int) -> None:
    assert calls.lookup(table, KEY, len(VALUE)) is None
    assert calls.update(table, KEY, VALUE) is None
    assert calls.lookup(table, KEY, len(VALUE)) == VALUE
    calls.update(table, KEY, bytes(40), Update.EXISTING)
    assert calls.lookup(table, KEY, len(VALUE)) == bytes(40)
    assert calls.delete(table, KEY) is True
    assert calls.delete(table, KEY) is False
    assert calls.lookup(table, KEY, len(VALUE)) is None


def test_what_the_kernel_refuses_is_an_error_that_names_the_call(calls: Any, table: int) -> None:
    calls.update(table, KEY, VALUE)
    with pytest.raises(FileExistsError, match="bpf_map_update_elem: File exists"):
        calls.update(table, KEY, VALUE, Update.CREATE)
    with pytest.raises(FileNotFoundError, match="bpf_map_update_elem: No such file"):
        calls.update(table, b"another.", VALUE, Update.EXISTING)
    calls.update(table, b"another.", VALUE)
    with pytest.raises(OSError) as full:
        calls.update(table, b"a third.", VALUE)
    assert full.value.errno == errno.E2BIG
    nothing = os.open("/dev/null", os.O_RDONLY)
    for call, *rest in (("lookup", KEY, 40), ("update", KEY, VALUE), ("delete", KEY), ("request", bytes(64))):
        with pytest.raises(OSError) as wrong:
            getattr(calls, call)(nothing, *rest)
        assert wrong.value.errno in (errno.EBADF, errno.EINVAL) and "bpf_" in str(wrong.value)
    os.close(nothing)


@pytest.mark.parametrize("arguments", [("x", KEY), (3, "text"), (3,), (3, KEY, KEY, KEY)])
def test_arguments_of_another_kind_are_refused(calls: Any, arguments: tuple[Any, ...]) -> None:
    with pytest.raises((TypeError, ctypes.ArgumentError)):
        calls.delete(*arguments)


def test_a_request_is_answered_in_its_own_length(calls: Any) -> None:
    program = classifier()
    request = b"\0" * 14 + b"\1" + bytes(range(49))
    assert calls.request(program, request) == testrun.run(program, request).data == b"\7" + request[1:]
    os.close(program)


def classifier() -> int:
    """A program that writes ADD into its packet's first byte: load data, see that there is one, store, leave."""
    code = b"".join(
        struct.pack("<BBhi", *one)
        for one in (
            (0x61, 0x12, 76, 0), (0x61, 0x13, 80, 0), (0xBF, 0x24, 0, 0), (0x07, 0x04, 0, 1), (0x2D, 0x34, 1, 0),
            (0x72, 0x02, 0, ADD), (0xB7, 0x00, 0, 0), (0x95, 0, 0, 0),
        )
    )  # fmt: skip
    instructions, license_ = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
    attr = struct.pack("<IIQQ", SCHED_CLS, len(code) // 8, ctypes.addressof(instructions), ctypes.addressof(license_))
    room = ctypes.create_string_buffer(attr, 120)
    fd = ctypes.CDLL(None, use_errno=True).syscall(321, 5, room, 120)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    return int(fd)


def test_a_frame_is_written_as_one(calls: Any) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    with ours, theirs:
        assert calls.send(ours.fileno(), b"head", b"frame") is True
        assert theirs.recv(100) == b"headframe"
        while calls.send(ours.fileno(), b"", bytes(1000)):
            pass  # until its queue is full
    assert calls.send(-1, b"head", b"frame") is False


def test_who_waits_for_an_answer_hears_it_or_whom_else_to_look_at(calls: Any) -> None:
    ours, theirs = socket.socketpair()
    ring, bell = os.pipe()
    with ours, theirs:
        fd = ours.fileno()
        assert calls.hear(fd, 0.001, [ring]) == (None, False)
        assert calls.hear(fd, 0, []) == (None, False)
        theirs.send(b"answer")
        assert calls.hear(fd, 5, [ring]) == (b"answer", False)
        os.write(bell, b"x")
        assert calls.hear(fd, 5, [ring]) == (None, True)
        theirs.send(b"answer")
        assert calls.hear(fd, 5, [ring]) == (b"answer", True)
        theirs.close()
        assert calls.hear(fd, 5, []) == (b"", False)
        with pytest.raises(TypeError):
            calls.hear(fd, 5, ["a word"])
        with pytest.raises(TypeError):
            calls.hear(fd, "long", [])
    for one in (ring, bell):
        os.close(one)


def test_what_breaks_while_somebody_waits_is_an_error(calls: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        ours = socket.create_connection(door.getsockname())
        theirs = door.accept()[0]
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()  # by a reset
    with ours, pytest.raises(ConnectionResetError):
        calls.hear(ours.fileno(), 5, [])
