"""The optional compiled build: with ALGATE_COMPILED=1, mypyc translates the modules below to C while the wheel is made.

The law of this file: pyproject.toml says what the package is; this adds extension modules, and only if asked to. Each
.so stands in the wheel beside its .py and is what Python imports. No editable install: it would put them into the tree.

Two of them are written in C by hand: calls.c and digest.c, which say the same as calls.py and digest.py.

Which modules: those that a punt passes through, where compiling them pays. Not those that third parties derive from
(an interpreted class can have no compiled base), nor dataclasses of keys: a default isn't of the type declared there.
Nor those with coroutines: one that mypyc makes and that waits in a `finally` or `except` leaves its exception behind as
the thread's, and whatever is raised later, anywhere, is chained to it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from setuptools import Extension, setup

WANTED = os.environ.get("ALGATE_COMPILED", "") == "1"
MYPY = "mypy>=1.15,<3"  # as in pyproject.toml's extra `dev`
COMPILED = (
    "alg/audit/events.py", "alg/audit/transfers.py", "alg/engine/*.py", "alg/gateway/addresses.py",
    "alg/gateway/counted.py", "alg/gateway/records.py", "alg/ha/concerns.py", "alg/ha/entries.py", "alg/ha/outbox.py",
    "alg/ha/patience.py", "alg/ha/wire.py", "alg/ha/written.py",
    "alg/helper/behind.py", "alg/helper/delays.py", "alg/helper/endings.py", "alg/helper/executor.py",
    "alg/helper/guard.py", "alg/helper/helper.py", "alg/helper/raw_tables.py", "alg/helper/tap.py",
    "alg/helper/telling.py", "alg/helper/watchers.py", "alg/helper/ports.py", "alg/plugin/contract.py",
    "alg/plugin/fixed.py", "alg/plugin/spelled.py", "alg/protocols/ftp/*.py", "alg/protocols/irc/*.py",
    "alg/protocols/lines.py", "bpf/buffer.py", "bpf/requests.py", "bpf/ring.py", "bpf/ticks.py",
)  # fmt: skip
IN_C = {  # what says the same as a module, written in C by hand
    "bpf/calls.py": "bpf/calls.c", "alg/engine/digest.py": "alg/engine/digest.c",
}  # fmt: skip
INTERPRETED = {
    "alg/protocols/ftp/policy.py", "alg/protocols/ftp/words.py", "alg/protocols/ftp/diagram.py",
    "alg/protocols/irc/words.py",
}  # fmt: skip
SETTINGS = """[mypy]
python_version = 3.11
mypy_path = {tree}
namespace_packages = true
explicit_package_bases = true
ignore_missing_imports = true
no_site_packages = true
"""


def compiled(root: Path) -> list[str]:
    """The modules to compile, by their paths in the tree."""
    found = (path for pattern in COMPILED for path in sorted(root.glob(pattern)) if path.name != "__init__.py")
    apart = INTERPRETED | IN_C.keys()
    return [one for path in found if (one := path.relative_to(root).as_posix()) not in apart] + [*IN_C]


def extensions(root: Path) -> list[Any]:
    """What mypyc makes of the modules, found by their import names through links, as deploy/dev.sh makes them."""
    from mypyc.build import mypycify

    tree = root / "build" / "compiled"
    (tree / "algate").mkdir(parents=True, exist_ok=True)
    for part in ("alg", "bpf", "cli"):
        link = tree / "algate" / part
        if not link.is_symlink():
            link.symlink_to(root / part)
    (tree / "mypy.ini").write_text(SETTINGS.format(tree=tree))
    names = set(compiled(root))
    for lib in root.glob("build/lib.*/algate"):  # left by another build, which compiled more
        for old in lib.rglob("*.so"):
            if old.relative_to(lib).as_posix().partition(".")[0] + ".py" not in names:
                old.unlink()
    files = [os.path.relpath(tree / "algate" / name) for name in compiled(root) if name not in IN_C]
    made: list[Any] = mypycify(
        [f"--config-file={tree / 'mypy.ini'}", *files], opt_level="2", debug_level="0", group_name="algate",
        target_dir=str(tree / "c"),
    )  # fmt: skip
    for module, source in IN_C.items():
        made.append(Extension("algate." + module.removesuffix(".py").replace("/", "."), [source]))
    return made


def main() -> None:
    """Called by setuptools, once for each step of a build."""
    if not WANTED:
        setup()
        return
    if {"editable_wheel", "develop"} & set(sys.argv):
        sys.exit("ALGATE_COMPILED=1 and an editable install exclude each other: the tree would no longer be what runs")
    asked = "egg_info" in sys.argv or "dist_info" in sys.argv  # what the build needs, before it is there
    made = [] if asked else extensions(Path(__file__).resolve().parent)
    setup(ext_modules=made, setup_requires=[MYPY] if asked else [])


if __name__ == "__main__":
    main()
