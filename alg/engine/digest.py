"""The arithmetic over payload bytes that kernel and helper must do alike: keyed digest and checksum difference.

The law of this file: pure functions of bytes; the first three have twins in `bpf/include/alg.h`. digest.c says the
same in C: where a compiler made it (setup.py), Python imports that instead. The same tests run on both.
"""

from __future__ import annotations

import struct
import sys
from typing import Final

_MASK: Final = 0xFFFF_FFFF_FFFF_FFFF
_STEP: Final = 0x9E37_79B9_7F4A_7C15
_LAST: Final = 0xD6E8_FEB8_6659_FD93
_PADDING: Final = (b"", bytes(7), bytes(6), bytes(5), bytes(4), bytes(3), bytes(2), bytes(1))
_ORDER: Final = sys.byteorder
_number: Final = int.from_bytes  # looked up once, as in frames
_WORDS: Final = tuple(struct.Struct(f"<{n}Q").unpack for n in range(193))  # up to DIGEST_MAX


def digest(secret: int, payload: bytes) -> int:
    """64-bit keyed hash of a payload of at most 1,536 bytes. `secret` is config.secret.

    It ties a decision to the very bytes that were judged; it need not resist anybody who knows the secret.
    """
    size = len(payload)
    h = secret
    for word in _WORDS[(size + 7) >> 3](payload + _PADDING[size & 7]):
        h = (h ^ word) * _STEP & _MASK
        h ^= h >> 32
    h = (h ^ size) * _LAST & _MASK
    return h ^ h >> 32


def replacement(secret: int, old: bytes, new: bytes) -> tuple[int, int]:
    """Digest of `old` and sum_change() to `new`: what a decision to replace carries."""
    return digest(secret, old), sum_change(old, new)


def sum_change(old: bytes, new: bytes) -> int:
    """What the ones'-complement sum gains when `old` becomes `new`, both at an even offset: a folded `bpf_csum_diff`.

    In host order of words, as the kernel adds them; the pseudo header's length is not part of it. RFC 1071, RFC 1624.
    """
    return (_number(new, _ORDER) - _number(old, _ORDER)) % 0xFFFF


def summed(data: bytes, start: int, stop: int) -> int:
    """The remainder by 0xFFFF of the sum of a part's words in network order, the last byte padded."""
    part = data[start:stop]
    return (_number(part, "big") << 8 * (len(part) & 1)) % 0xFFFF
