"""`algate export`, `algate import` and `algate check --pins`: what a gateway holds, out of its pins and into others.

The law of this file: files and pin folders. It runs no program and needs no daemon: an import is refused while one
runs, and whatever is wrong with it is said before anything is changed. `algate run` then takes over what was
imported, as after a restart.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from algate.alg.errors import FAILED, AlgateError
from algate.alg.findings import ProblemRow
from algate.alg.gateway import estate, estate_file, namespace
from algate.alg.gateway.claim import Claim
from algate.bpf import abi, description, pins, syscall
from algate.bpf.description import PART
from algate.bpf.packing import from_native
from algate.bpf.pinned import Pinned
from algate.bpf.programs import PORT_ROWS_LEAST, UNPINNED, entries, programs

CARRIED = "another version's: `algate run` carries its sessions over"
REFUSED = (
    "another version's, which doesn't describe them: export with that version first, or give the sessions up with"
    " `algate down --purge`"
)


def export(run_dir: Path, target: str) -> int:
    """Write what the gateway of a run directory holds to a file, or "-": stdout. Returns the number of lines."""
    namespace.require_root("algate export")
    folder = _folder(run_dir)
    lines = 0
    with _output(target) as out, Pinned(folder, description.readable(folder, run_dir)) as maps:
        config = next(value for _, value in maps.items("configs"))
        secret = abi.Config.unpack(estate.converter(maps.described, "config")(config)).secret
        for line in estate_file.write(maps.described, maps.items, secret):
            out.write(line.encode() + b"\n")
            lines += 1
    return lines


def _folder(run_dir: Path) -> Path:
    """The gateway's pins, of whichever version."""
    base = pins.folder(run_dir)
    own = base / abi.layout_hash()
    found = [own] if own.is_dir() else description.others(base)
    if not found:
        raise AlgateError(f"no tables are pinned for {run_dir}: is a gateway running there?")
    return found[0]


@contextmanager
def _output(target: str) -> Iterator[BinaryIO]:
    """The whole file or nothing of it; nobody else may read it: it tells who talks to whom."""
    if target == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(target)
    fresh = path.with_name(path.name + PART)
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            yield file
        fresh.replace(path)
    except OSError as error:
        raise AlgateError(f"can't write {path}: {error.strerror}") from None
    finally:
        fresh.unlink(missing_ok=True)


def import_(run_dir: Path, source: str, max_sessions: int) -> tuple[int, int]:
    """Make the pins of a gateway from an export. Returns how many sessions came, and how many had lost their port.
    AlgateError if the file isn't whole, a daemon runs, or there are pins already; then nothing was changed."""
    namespace.require_root("algate import")
    with Claim(run_dir):
        base = pins.folder(run_dir)
        if any(not one.endswith(PART) for one in pins.names(base)):
            raise AlgateError(f"there is a gateway's state in {base} already: end it with `algate down --purge` first")
        try:
            with sys.stdin.buffer if source == "-" else open(source, "rb") as file:
                found = estate_file.read(file)
        except OSError as error:
            raise AlgateError(f"can't read {source}: {error.strerror}") from None
        except estate_file.ExportError as error:
            raise AlgateError(f"{'stdin' if source == '-' else source}: {error}; nothing was changed") from None
        estate.settle(found)
        _fill(base, found, max_sessions, run_dir)
        return len(found.maps["sessions"]), found.left


def _fill(base: Path, found: estate.Estate, max_sessions: int, run_dir: Path) -> None:
    """Make the maps and pin them, all or none."""
    part = base / (abi.layout_hash() + PART)
    shutil.rmtree(part, ignore_errors=True)
    fresh = not base.is_dir()
    part.mkdir(parents=True, mode=0o700)
    fds: dict[str, int] = {}
    try:
        rows = max((from_native(row) for row in found.maps["ports"]), default=0)
        blocks = max(PORT_ROWS_LEAST, 1 + rows // abi.PORTS_PER_ADDRESS)
        for spec in programs(run_dir, bool(found.maps["addresses6"] or found.maps["allow_in"]))[0].maps:
            if spec.name not in UNPINNED:
                size = entries(spec, max_sessions, blocks * abi.PORTS_PER_ADDRESS)
                fds[spec.name] = syscall.create(spec.kind, spec.name, spec.key_size, spec.value_size, size, spec.flags)
                syscall.obj_pin(fds[spec.name], part / spec.name)
        estate.write(found, fds.__getitem__)
        fds[description.PIN] = description.keep(part)
        part.rename(part.with_name(part.name.removesuffix(PART)))
    except OSError as error:
        raise AlgateError(f"can't import: {error.strerror or error}; nothing was changed", FAILED) from None
    finally:
        for fd in fds.values():
            os.close(fd)
        shutil.rmtree(part, ignore_errors=True)
        if fresh and base.is_dir() and not any(base.iterdir()):
            base.rmdir()


def check_pins(run_dir: Path) -> list[ProblemRow]:
    """Whether this version can go on with the pins of a run directory: nothing to say if they are its own or none."""
    base = pins.folder(run_dir)
    rows = []
    for folder in description.others(base):
        if description.read(folder) is None:
            rows.append(ProblemRow("refused", str(folder), REFUSED))
        else:
            rows.append(ProblemRow("converted", str(folder), CARRIED))
    return rows
