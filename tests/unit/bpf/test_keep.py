"""Which bytecode is the same to the kernel."""

from __future__ import annotations

import hashlib
import struct

from algate.bpf.compiler import Artifact, MapSpec
from algate.bpf.keep import maps_of, tags

RETURN = struct.pack("=BBhi", 0x95, 0, 0, 0)


def load(value: int) -> bytes:
    return struct.pack("=BBhi", 0x18, 0x11, 0, value) + bytes(8)


def test_a_tag_leaves_descriptors_out_and_nothing_else() -> None:
    assert tags(load(3) + RETURN) == tags(load(7) + RETURN) != tags(load(3) + RETURN + RETURN)
    assert hashlib.sha1(load(0) + RETURN).digest()[:8].hex() in tags(load(9) + RETURN)


def test_the_maps_of_a_program_are_those_that_it_loads() -> None:
    specs = tuple(MapSpec(name, 1, 4, 4, 1, 0) for name in ("first", "second", "third"))
    made = Artifact(specs, {"one": load(2) + load(0) + load(2) + RETURN, "none": RETURN})
    assert maps_of(made, "one") == {"first", "third"} and maps_of(made, "none") == set()
