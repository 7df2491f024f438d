"""Compiles C to bytecode with BCC, in a separate process; the result is kept, since clang takes seconds.

The law of this file: text in, `Artifact` out. It creates no map that lasts and loads no program. clang and LLVM may end
their process on an error, so it must not be the daemon's.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import hashlib
import json
import os
import platform
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from algate.bpf import flatten, headers, syscall
from algate.bpf.alone import alone
from algate.bpf.errors import UNSUPPORTED, AlgateError

SOURCE = Path(__file__).parent / "gateway.bpf.c"
SOURCE6 = Path(__file__).parent / "gateway6.bpf.c"
SOURCE64 = Path(__file__).parent / "gateway64.bpf.c"
TURNING = Path(__file__).parent / "nat64.bpf.c"
CACHE = Path("/var/cache/algate")
SHIPPED = Path(sys.prefix) / "share/algate/programs"  # of a package: what its builder compiled (ship.py)
READY = "none needed: the programs were compiled for the package"
SECONDS = 600  # emulated machines take minutes
# Unrolled, the loops over options and payload exceed the verifier's limit.
FLAGS = ("-fno-unroll-loops", "-Wno-macro-redefined")
LOAD_MAP = 0x18  # opcode of a 64-bit immediate load; source register 1: a map's descriptor
KEPT = 16  # artifacts in the cache
_PLACE = re.compile(r'^#line (\d+) ".*/', re.MULTILINE)  # the folder in what flatten says of a line


@dataclass(frozen=True)
class MapSpec:
    """A map as the C text declares it."""

    name: str
    kind: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


@dataclass(frozen=True)
class Artifact:
    """Bytecode by program; in place of a descriptor, each map load has the map's place in `maps`."""

    maps: tuple[MapSpec, ...]
    programs: dict[str, bytes]

    def dump(self) -> str:
        """JSON text."""
        programs = {name: base64.b64encode(code).decode() for name, code in self.programs.items()}
        return json.dumps({"maps": [asdict(one) for one in self.maps], "programs": programs})

    def join(self, other: Artifact) -> Artifact:
        """The programs of both over the maps of both. AlgateError if a map of one name differs."""
        places = {one.name: place for place, one in enumerate(self.maps)}
        fresh = tuple(one for one in other.maps if one.name not in places)
        places |= {one.name: len(self.maps) + place for place, one in enumerate(fresh)}
        maps = (*self.maps, *fresh)
        odd = next((one.name for one in other.maps if maps[places[one.name]] != one), None)
        if odd is not None:
            raise AlgateError(f"the map {odd} of one program text is not that of another", UNSUPPORTED)
        moved = {number: places[one.name] for number, one in enumerate(other.maps)}
        return Artifact(maps, self.programs | {name: _relocate(code, moved) for name, code in other.programs.items()})

    @classmethod
    def load(cls, text: str) -> Artifact:
        """The inverse of dump; ValueError, KeyError or TypeError for any other text."""
        data = json.loads(text)
        programs = {name: base64.b64decode(code) for name, code in data["programs"].items()}
        return cls(tuple(MapSpec(**one) for one in data["maps"]), programs)


def get(names: tuple[str, ...], header_folder: Path | None, source: Path = SOURCE) -> tuple[Artifact, str]:
    """The compiled program, the package's own, else from the cache if nothing that it depends on has changed, and which
    headers it used."""
    text = flatten.flatten(source)
    ready = shipped(text, names)
    if ready is not None:
        return ready, READY
    found = headers.prepare(header_folder)
    # Not the path: a run directory's private tree is in a different place each time, with the same files in it.
    which = str(found.path) if found.origin == headers.VARIABLE else found.origin
    parts = (text, " ".join(FLAGS), " ".join(names), platform.release(), _bcc_version(), which)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    folder = _cache_folder()
    if folder is None:
        return _compile(text, names, found), found.origin
    kept = folder / f"{key}.json"
    artifact = _kept(kept)
    if artifact is None:
        with alone(folder / f"{key}.lock"):
            artifact = _kept(kept)
            if artifact is None:
                artifact = _compile(text, names, found)
                _keep(folder, kept, artifact)
    return artifact, found.origin


def shipped(text: str, names: tuple[str, ...]) -> Artifact | None:
    """What the package brought for exactly this text. It serves any kernel: the text knows no structure of the kernel
    but those of its UAPI, so whoever compiles it, with whichever headers, gets the same."""
    return _kept(SHIPPED / f"{package_key(text, names)}.json")


def package_key(text: str, names: tuple[str, ...]) -> str:
    """The name of a package's file: by the text, wherever it lies, and the byte order, which is in the bytecode."""
    text = _PLACE.sub('#line \\1 "', text)
    return hashlib.sha256("\0".join((text, " ".join(FLAGS), " ".join(names), sys.byteorder)).encode()).hexdigest()


def _kept(path: Path) -> Artifact | None:
    """Read one from the cache; None if it isn't there, or is damaged."""
    try:
        return Artifact.load(path.read_text())
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _bcc_version() -> str:
    """A word that changes with the library; importing bcc would take longer than the rest."""
    for place in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"):
        library = Path(place) / "libbcc.so.0"
        if library.exists():
            return f"{library.resolve().name} {library.stat().st_size}"
    return ""


def _cache_folder() -> Path | None:
    """A folder that only this user can write to; None if there is none: then every start compiles."""
    try:
        CACHE.mkdir(mode=0o700, exist_ok=True)
        status = CACHE.stat()
    except OSError:
        return None
    return CACHE if status.st_uid == os.geteuid() and not status.st_mode & 0o022 else None


def _keep(folder: Path, path: Path, artifact: Artifact) -> None:
    """Write all of it or nothing, and delete the oldest artifacts."""
    try:
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
            name = file.name
            file.write(artifact.dump())
        os.replace(name, path)
        kept = sorted(folder.glob("*.json"), key=lambda one: one.stat().st_mtime, reverse=True)
        for old in kept[KEPT:]:
            old.unlink(missing_ok=True)
    except OSError:  # a full disk costs the next start some seconds
        with contextlib.suppress(OSError, UnboundLocalError):
            os.unlink(name)


def _compile(text: str, names: tuple[str, ...], found: headers.Headers) -> Artifact:
    with tempfile.TemporaryDirectory(prefix="algate-") as folder:
        source, result = Path(folder) / "program.c", Path(folder) / "artifact.json"
        source.write_text(text)
        argv = [sys.executable, "-m", "algate.bpf.compiler", str(source), str(result), *names]
        try:
            done = subprocess.run(
                argv, env={**os.environ, **found.env}, capture_output=True, text=True, errors="replace",
                timeout=SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise AlgateError(f"clang didn't finish within {SECONDS} s") from None
        if done.returncode != 0 or not result.exists():
            raise AlgateError(_first_error(done.stderr, f"exit code {done.returncode}"), UNSUPPORTED)
        return Artifact.load(result.read_text())


def _first_error(said: str, fallback: str) -> str:
    if "No module named 'bcc'" in said:
        return "Python package bcc is missing: apt-get install python3-bpfcc"
    errors = [line.strip() for line in said.splitlines() if "error" in line.lower()]
    return f"the gateway program doesn't compile: {errors[0] if errors else fallback}"


def main(source: str, result: str, names: list[str]) -> None:
    """In the separate process: compile `source`, write the artifact of the programs `names`."""
    from bcc import BPF
    from bcc.libbcc import lib

    made = BPF(text=Path(source).read_text(), cflags=list(FLAGS))
    lib.bpf_table_name.restype = ctypes.c_char_p
    maps, places = [], {}
    for number in range(lib.bpf_num_tables(made.module)):
        name, fd = lib.bpf_table_name(made.module, number), lib.bpf_table_fd_id(made.module, number)
        info = syscall.map_info(fd)
        places[fd] = number
        maps.append(
            MapSpec(name.decode(), int(info.type), info.key_size, info.value_size, info.max_entries, info.flags)
        )
    programs = {name: _relocate(made.dump_func(name.encode()), places) for name in names}
    Path(result).write_text(Artifact(tuple(maps), programs).dump())


def _relocate(code: bytes, places: Mapping[int, int]) -> bytes:
    """Bytecode with every map descriptor replaced."""
    changed = bytearray(code)
    for at in range(0, len(code), 8):
        opcode, registers, _, value = struct.unpack_from("=BBhi", code, at)
        if opcode == LOAD_MAP and registers >> 4 == 1:
            struct.pack_into("=i", changed, at + 4, places[value])
    return bytes(changed)


def bind(code: bytes, fds: list[int]) -> bytes:
    """Bytecode whose map loads have real descriptors: `fds` in the order of Artifact.maps."""
    return _relocate(code, dict(enumerate(fds)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
