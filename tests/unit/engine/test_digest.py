"""Digest and checksum difference against slow, literal forms."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import shutil
import struct
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algate.alg.engine.digest import digest, replacement, sum_change, summed
from tests.imports import ROOT

SIZE = 1 << 64


def literal(secret: int, payload: bytes) -> int:
    h = secret
    padded = payload + bytes(-len(payload) % 8)
    for (word,) in struct.iter_unpack("<Q", padded):
        h = ((h ^ word) * 0x9E3779B97F4A7C15) % SIZE
        h ^= h >> 32
    h ^= len(payload)
    h = h * 0xD6E8FEB86659FD93 % SIZE
    return h ^ (h >> 32)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 64, 65, 1535, 1536])
def test_digest_is_the_literal_one(size: int) -> None:
    payload = bytes(n * 7 & 255 for n in range(size))
    assert digest(0x1122334455667788, payload) == literal(0x1122334455667788, payload)


def test_digest_depends_on_secret_length_and_bytes() -> None:
    values = {digest(1, b"ab"), digest(2, b"ab"), digest(1, b"ab\0"), digest(1, b"ac"), digest(1, b"")}
    assert len(values) == 5


def ones_complement_sum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"<{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_sum_change_turns_one_sum_into_the_other(old: bytes, new: bytes) -> None:
    before, after = (ones_complement_sum(data + bytes(len(data) & 1)) for data in (old, new))
    assert (before + sum_change(old, new) - after) % 0xFFFF == 0


@given(st.binary(max_size=60), st.integers(0, 70), st.integers(0, 70))
def test_summed_is_the_sum_of_words_in_network_order(data: bytes, start: int, stop: int) -> None:
    part = data[start:stop] + bytes(len(data[start:stop]) & 1)
    assert summed(data, start, stop) == sum(struct.unpack(f">{len(part) // 2}H", part)) % 0xFFFF


@pytest.fixture(scope="module")
def in_c(tmp_path_factory: pytest.TempPathFactory) -> Any:
    headers, compiler = Path(sysconfig.get_path("include")), shutil.which("gcc")
    if compiler is None or not (headers / "Python.h").exists():
        pytest.skip("no C compiler, or no Python.h: install gcc python3-dev")
    built, source = tmp_path_factory.mktemp("digest") / "digest.so", ROOT / "alg/engine/digest.c"
    subprocess.run([compiler, "-O2", "-fPIC", "-shared", "-Wall", f"-I{headers}", "-o", built, source], check=True)
    loader = importlib.machinery.ExtensionFileLoader("digest", str(built))
    spec = importlib.util.spec_from_file_location("digest", built, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@given(
    st.integers(0, SIZE - 1), st.binary(max_size=60), st.binary(max_size=60), st.integers(-9, 70), st.integers(-9, 70)
)
def test_c_says_the_same(in_c: Any, secret: int, old: bytes, new: bytes, start: int, stop: int) -> None:
    assert in_c.digest(secret, old) == digest(secret, old)
    assert in_c.replacement(secret, old, new) == replacement(secret, old, new)
    assert in_c.sum_change(old, new) == sum_change(old, new)
    assert in_c.summed(old, start, stop) == summed(old, start, stop)


@pytest.mark.parametrize("given", [(), (1,), (1, "x"), (-1, b""), (SIZE, b""), (1, b"", b""), ("1", b""), (1.0, b"")])
def test_c_takes_nothing_else(in_c: Any, given: tuple[Any, ...]) -> None:
    with pytest.raises((TypeError, OverflowError)):
        in_c.digest(*given)
    for function in (in_c.replacement, in_c.sum_change, in_c.summed):
        with pytest.raises((TypeError, OverflowError)):
            function(*given[:1], *given)
