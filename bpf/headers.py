"""Finds kernel headers that BCC can compile with, and never writes outside the folder it was given.

The law of this file: file names and environment variables only; no bcc, no compiling.

BCC wants one tree with generic, architecture and generated headers. It looks at `/lib/modules/RELEASE`, or at
`BCC_KERNEL_SOURCE`. XDP and TC programs use only UAPI headers, so the headers of *any* kernel work. Debian splits
them into two packages, neither of which is enough; linked together in a private tree they are (measured: 6.1 headers
on a 6.18 kernel).
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from algate.bpf.alone import alone
from algate.bpf.errors import UNSUPPORTED, AlgateError

VARIABLE = "BCC_KERNEL_SOURCE"
KHEADERS = (Path("/sys/kernel/kheaders.tar.xz"), Path("/proc/kheaders.tar.xz"))
ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm64", "ppc64le": "powerpc", "s390x": "s390", "riscv64": "riscv"}


@dataclass(frozen=True, slots=True)
class Headers:
    """One tree that BCC accepts. `env` must be in the environment while BCC compiles; empty: BCC finds it itself."""

    path: Path
    origin: str
    env: dict[str, str] = field(default_factory=dict)

    def activate(self) -> None:
        """Put `env` into this process's environment, where libbcc reads it at each compilation."""
        os.environ.update(self.env)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Where headers are: one complete tree, the two halves of a Debian package, or an archive (`halves` empty)."""

    origin: str
    halves: tuple[Path, ...] = ()
    archive: Path | None = None
    native: bool = False


def find(root: Path = Path("/"), release: str | None = None) -> Candidate:
    """The best headers of this machine: those of the running kernel first, then the newest of any other.

    Raises AlgateError (exit code 3) that names the package to install.
    """
    release = release or platform.release()
    for candidate in _candidates(root, release):
        if candidate.archive is not None or _complete(candidate.halves):
            return candidate
    raise AlgateError(
        f"no kernel headers for BCC: neither /lib/modules/{release}/build, /sys/kernel/kheaders.tar.xz nor /usr/src"
        f" has a usable tree; install one (any version serves): apt-get install {_package()}",
        UNSUPPORTED,
    )


def prepare(run_dir: Path | None = None) -> Headers:
    """Make the found headers usable, with a private tree under `run_dir`/headers if BCC can't use them as they are.

    Without `run_dir` the tree goes to a folder of the calling user under the temporary directory. A BCC_KERNEL_SOURCE
    that the caller has set is kept. Raises AlgateError (exit code 3) if nothing is found.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen and not chosen.startswith(str(_folder(run_dir))):
        if not _complete((Path(chosen),)):
            raise AlgateError(
                f"{VARIABLE}={chosen} is not a complete kernel header tree (include/linux/kconfig.h and"
                f" arch/{_arch()}/include/generated are needed); unset it and algate looks by itself",
                UNSUPPORTED,
            )
        return Headers(Path(chosen), f"{VARIABLE}", {VARIABLE: chosen})
    candidate = find()
    if candidate.native:
        return Headers(candidate.halves[0], candidate.origin)
    if len(candidate.halves) == 1:
        tree = candidate.halves[0]
    else:
        tree = _private(candidate, _folder(run_dir))
    return Headers(tree, candidate.origin, {VARIABLE: str(tree)})


def _candidates(root: Path, release: str) -> Iterator[Candidate]:
    modules = root / "lib/modules"
    own = modules / release
    if (own / "build").is_dir() and (own / "source").is_dir():
        halves = ((own / "build").resolve(), (own / "source").resolve())
        yield Candidate(f"headers of the running kernel in {own}", halves, native=True)
    if (own / "build").is_dir():
        yield Candidate(f"headers of the running kernel in {own}/build", ((own / "build").resolve(),), native=True)
    for archive in KHEADERS:
        path = root / archive.relative_to("/")
        if path.is_file():
            yield Candidate(f"headers embedded in the kernel ({path})", archive=path)
    for path in sorted((root / "usr/src").glob("linux-headers-*"), key=_version, reverse=True):
        if not path.name.endswith("-common"):
            yield Candidate(f"headers of another kernel in {path}", _halves_of(path))
    for path in sorted(modules.glob("*/build"), key=_version, reverse=True):
        source = path.parent / "source"
        both = [path.resolve(), source.resolve()] if source.is_dir() else [path.resolve()]
        yield Candidate(f"headers of another kernel in {path.parent}", tuple(both))


def _halves_of(path: Path) -> tuple[Path, ...]:
    """A Debian package's own half and the common one next to it; just the tree if it isn't split (Ubuntu)."""
    if _complete((path,)):
        return (path,)
    common = sorted(path.parent.glob("linux-headers-*-common"), key=_version, reverse=True)
    same = [half for half in common if path.name.startswith(half.name.removesuffix("-common") + "-")]
    named = re.search(r"include\s+(\S+)/Makefile", _text(path / "Makefile"))
    if named and Path(named[1]).is_dir():
        return (path, Path(named[1]))
    return (path, same[0]) if same else (path,)


def _complete(halves: tuple[Path, ...]) -> bool:
    """Whether the halves together hold what BCC includes before a program's first line."""
    generic = ("linux/kconfig.h", "uapi/linux/bpf.h", "generated/autoconf.h")
    needed = [f"include/{name}" for name in generic] + [f"arch/{_arch()}/include/generated"]
    return all(any((half / name).exists() for half in halves) for name in needed)


def _private(candidate: Candidate, folder: Path) -> Path:
    """A complete tree under `folder`, made once, under another name at first, so that others never see half of it."""
    name = candidate.archive.name if candidate.archive else candidate.halves[0].name
    tree = folder / f"{name}-{platform.release()}"
    if _complete((tree,)):
        return tree
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _refuse_foreign(folder)
    with alone(folder / f"{tree.name}.lock"):
        if not _complete((tree,)):  # else it was made meanwhile
            _make(candidate, tree)
    return tree


def _make(candidate: Candidate, tree: Path) -> None:
    """Make a tree under another name at first, and put it in the place of a damaged one."""
    folder = tree.parent
    making = Path(tempfile.mkdtemp(prefix=".making-", dir=folder))
    try:
        if candidate.archive:
            with tarfile.open(candidate.archive) as archive:
                archive.extractall(making)
        else:
            _link(candidate.halves, making)
        if not _complete((making,)):
            raise AlgateError(f"{candidate.origin}: not a complete tree; install another: {_package()}", UNSUPPORTED)
        if tree.exists():
            shutil.rmtree(tree)
        making.rename(tree)
    except OSError:
        if not _complete((tree,)):
            raise
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _link(halves: tuple[Path, ...], tree: Path) -> None:
    """Link the entries of both halves' include folders; the first half wins."""
    for folder in ("include", f"arch/{_arch()}/include"):
        (tree / folder).mkdir(parents=True)
        for half in halves:
            for entry in (half / folder).iterdir() if (half / folder).is_dir() else ():
                link = tree / folder / entry.name
                if not link.is_symlink():
                    link.symlink_to(entry)


def _refuse_foreign(folder: Path) -> None:
    """A folder that another user prepared could feed the compiler, CWE-379."""
    if folder.stat().st_uid != os.geteuid():
        raise AlgateError(f"{folder} belongs to another user; remove it or give another --run-dir", UNSUPPORTED)


def _folder(run_dir: Path | None) -> Path:
    return run_dir.resolve() / "headers" if run_dir else Path(tempfile.gettempdir()) / f"algate-headers-{os.geteuid()}"


def _version(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(path))]


def _arch() -> str:
    return ARCHITECTURES.get(platform.machine(), platform.machine())


def _package() -> str:
    debian = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64", "s390x": "s390x"}
    return f"linux-headers-{debian.get(platform.machine(), platform.machine())}"


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
