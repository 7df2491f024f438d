"""What an earlier start's programs, which go on without a daemon, do with IPv6.

The law of this file: it reads pins and changes nothing. A pinned map proves nothing by being there: it stays when IPv6
is turned off. What counts is a program in the array of stages, and what the configuration in the kernel says.
"""

from __future__ import annotations

import sys
from ipaddress import IPv6Network
from pathlib import Path
from typing import NamedTuple

from algate.bpf import description, pins, syscall
from algate.bpf.description import Description
from algate.bpf.errors import AlgateError
from algate.bpf.pinned import Pinned
from algate.bpf.tables import U32

_NONE = bytes(4)  # the first row, and no program


class InForce(NamedTuple):
    """`filtered`: IPv6 is; `prefix`: of NAT64."""

    filtered: bool = False
    prefix: IPv6Network | None = None


def in_force(run_dir: Path) -> InForce:
    """Of a gateway's pins, of any version that describes its maps; nothing where they can't be read."""
    if not pins.exists(run_dir):
        return InForce()
    base = pins.folder(run_dir)
    found = [installed(base / name) for name in sorted(pins.names(base)) if not name.endswith(description.PART)]
    prefix = next((one.prefix for one in found if one.prefix is not None), None)
    return InForce(any(one.filtered for one in found), prefix)


def installed(folder: Path) -> InForce:
    """Of one pin folder."""
    described = description.read(folder)
    if described is None:
        return InForce()
    try:
        with Pinned(folder, described) as pinned:
            return _read(pinned, described)
    except (AlgateError, OSError, KeyError):  # gone meanwhile, or of a version that has no IPv6
        return InForce()


def _read(pinned: Pinned, described: Description) -> InForce:
    header, raw = described.header, dict(pinned.items("configs6")).get(_NONE, b"")
    stages, six = header.enums["stage"].members, header.constants["STAGES_SIX"]
    if not raw or not _program(pinned, six + stages["STAGE_NEW_OUT"]):
        return InForce()
    fields = {one.name: raw[one.offset :] for one in described.fields("config6")}
    flags, bits = (int.from_bytes(fields[name][:4], sys.byteorder) for name in ("flags", "prefix_bits"))
    translated = bits and _program(pinned, stages["STAGE_FROM6"])
    prefix = IPv6Network((fields["prefix"][:16], bits)) if translated else None
    return InForce(bool(flags & header.enums["six_flag"].members["SIX_FILTER"]), prefix)


def _program(pinned: Pinned, row: int) -> bool:
    """Whether that stage has one: user space reads its id."""
    return syscall.lookup(pinned.fd("stages"), U32.pack(row), U32.size) not in (None, _NONE)
