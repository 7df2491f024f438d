"""abi.py against the compiler: Python derives the same layouts as C."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from algate.bpf import abi, layout, stub
from algate.bpf.programs import STAGES, STAGES6, STAGES64

pytestmark = pytest.mark.unit

HEADER = (abi.INCLUDE / "abi.h").read_text()


def compiler() -> str:
    found = next(filter(None, map(shutil.which, ("gcc", "cc", "clang", "clang-14"))), None)
    assert found, "no C compiler: apt-get install gcc libc6-dev"
    return found


def compiled_layout(tmp_path: Path) -> dict[str, int]:
    """`struct.field` -> offset and `struct` -> size, as a C program prints them."""
    lines = []
    for struct in abi.HEADER.structs.values():
        lines.append(f'printf("{struct.name} %zu\\n", sizeof(struct {struct.name}));')
        for field in struct.fields:
            lines.append(f'printf("{struct.name}.{field.name} %zu\\n", offsetof(struct {struct.name}, {field.name}));')
    for enum in abi.HEADER.enums.values():
        lines += [f'printf("{name} %lld\\n", (long long){name});' for name in enum.members]
    lines += [f'printf("{name} %lld\\n", (long long){name});' for name in abi.HEADER.constants]
    source = '#include <stddef.h>\n#include <stdio.h>\n#include <linux/types.h>\n#include "abi.h"\nint main(void) {\n'
    (tmp_path / "layout.c").write_text(source + "\n".join(lines) + "\nreturn 0; }\n")
    flags = ["-Wall", "-Werror", "-I", str(abi.INCLUDE)]
    subprocess.run([compiler(), *flags, "-o", tmp_path / "layout", tmp_path / "layout.c"], check=True)
    out = subprocess.run([tmp_path / "layout"], check=True, capture_output=True, text=True).stdout
    return {name: int(value) for name, value in map(str.split, out.splitlines())}


def python_layout() -> dict[str, int]:
    found: dict[str, int] = dict(abi.HEADER.constants)
    for struct in abi.HEADER.structs.values():
        made = getattr(abi, abi.camel(struct.name))
        found[struct.name] = ctypes.sizeof(made)
        for field in struct.fields:
            found[f"{struct.name}.{field.name}"] = getattr(made, abi.attribute(field.name)).offset
    for enum in abi.HEADER.enums.values():
        found |= enum.members
    return found


def test_offsets_sizes_and_numbers_are_the_compilers(tmp_path: Path) -> None:
    assert python_layout() == compiled_layout(tmp_path)


def test_every_struct_and_enum_is_parsed() -> None:
    declared = set(re.findall(r"^(?:struct|enum) (\w+) \{", HEADER, re.MULTILINE))
    assert declared == set(abi.HEADER.structs) | set(abi.HEADER.enums)


def test_stub_is_up_to_date() -> None:
    assert stub.PATH.read_text() == stub.text(), "run: python -m algate.bpf.stub"


def test_enumerators_lose_their_first_word() -> None:
    assert abi.SessionState(2) is abi.SessionState.ESTABLISHED
    assert abi.Counter(0) is abi.Counter.PACKETS_OUT
    assert abi.COUNTER_COUNT == 32
    assert "COUNT" not in abi.TimeoutKind.__members__ and len(abi.TimeoutKind) == abi.TIMEOUT_COUNT
    assert abi.ConfigFlag.PARITY | abi.ConfigFlag.HAIRPIN == 24
    assert abi.Direction(1) is abi.Direction.IN


def test_reasons_are_named_as_metrics_name_them() -> None:
    reasons = abi.reasons()
    assert reasons[15][0] == "no-decision"
    assert max(reasons) < 128 and len({name for name, _ in reasons.values()}) == len(reasons)
    assert len(reasons) == (abi.INCLUDE / "reasons.def").read_text().count("\nX(")


def test_byte_order_helpers() -> None:
    key = abi.SessionKey(inside_ip=abi.ip_to_be32("10.0.0.5"), inside_port=abi.be16(21), proto=6)
    assert bytes(key) == bytes([10, 0, 0, 5, 0, 0, 0, 0, 0, 21, 0, 0, 6, 0, 0, 0])
    assert abi.be16(key.inside_port) == 21
    assert abi.be32_to_ip(key.inside_ip) == IPv4Address("10.0.0.5")
    assert abi.SessionKey.unpack(bytes(key)) == key
    assert len(abi.Punt.NAMES) == len(re.sub("[^a-zA-Z]", "", abi.Punt.FORMAT))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("struct a { __u8 x; __u32 y; };", "3 bytes of implicit padding before 'y'"),
        ("struct a { __u32 y; __u8 x; };", "3 bytes of implicit padding at the end"),
        ("struct a { __u8 x; }; struct b { struct a a[3]; __u16 y; };", "1 bytes of implicit padding before 'y'"),
        ("struct a { int x; };", "int is not a fixed-width type"),
        ("struct a { __u8 x : 3; };", "is not a plain field"),
        ("struct a { __u8 x[2][2]; };", "is not a plain field"),
        ("struct a { struct { __u8 x; } y; };", "not understood"),
        ("struct a { __u8 x[SOME]; };", "'SOME' is not an integer"),
        ("typedef int x;", "not understood"),
        ("#if X\n#endif", "#if is not part"),
    ],
)
def test_outside_the_subset_is_refused(text: str, says: str) -> None:
    with pytest.raises(layout.LayoutError, match=re.escape(says)):
        layout.parse(text)


def test_hash_sees_declarations_and_not_comments() -> None:
    first = layout.parse("struct a { __u32 x; };")
    assert layout.parse("/* words */\nstruct a {\n  __u32 x; // more\n};").hash == first.hash
    assert layout.parse("struct a { __s32 x; };").hash != first.hash
    assert layout.parse("struct a { __u32 y; };").hash != first.hash


def test_no_two_programs_have_the_same_row() -> None:
    rows = [*map(int, STAGES), *STAGES6, *STAGES64]
    assert len(set(rows)) == len(rows) and max(rows) < abi.STAGE_COUNT
