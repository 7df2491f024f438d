"""Digest and checksum difference against slow, literal forms."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algate.alg.engine.digest import digest, sum_change

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
