"""Joins a C file and its local includes into one text, with `#line` markers that keep clang's messages true.

The law of this file: text in, text out; it knows no C beyond `#include`. BCC rewrites map operations only in the main
file, so a `.lookup()` in an included header would compile and then fail to load.
"""

from __future__ import annotations

import re
from pathlib import Path

from algate.bpf.errors import AlgateError

_LOCAL = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"')
DEPTH = 20


def flatten(main: Path, folders: tuple[Path, ...] = ()) -> str:
    """The text of `main` with every `#include "..."` in place; `#include <...>` stays.

    A name is looked for next to the including file, then in `folders`. A file is included once, as if it had `#pragma
    once`; a `.def` file (X-macro) each time. AlgateError names the file and line of a missing include.
    """
    return "".join(_lines(main.resolve(), folders, set(), ()))


def _lines(path: Path, folders: tuple[Path, ...], seen: set[Path], parents: tuple[Path, ...]) -> list[str]:
    seen.add(path)
    out = [f'#line 1 "{path}"\n']
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = _LOCAL.match(line)
        if not match:
            out.append(line + "\n")
            continue
        found = _find(match[1], path, number, folders)
        if found in parents or found == path or len(parents) > DEPTH:
            if found.suffix == ".def":
                raise AlgateError(f"{path}:{number}: {match[1]} includes itself")
            out.append("\n")
        elif found in seen and found.suffix != ".def":
            out.append("\n")
        else:
            out += _lines(found, folders, seen, (*parents, path))
            out.append(f'#line {number + 1} "{path}"\n')
    return out


def _find(name: str, path: Path, number: int, folders: tuple[Path, ...]) -> Path:
    for folder in (path.parent, *folders):
        if (folder / name).is_file():
            return (folder / name).resolve()
    looked = ", ".join(str(folder) for folder in (path.parent, *folders))
    raise AlgateError(f'{path}:{number}: #include "{name}" found neither in {looked}')
