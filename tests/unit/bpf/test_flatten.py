"""One text made of many files, with every line still traceable to its origin."""

from __future__ import annotations

from pathlib import Path

import pytest

from algate.bpf.errors import AlgateError
from algate.bpf.flatten import flatten

pytestmark = pytest.mark.unit


def files(root: Path, **texts: str) -> Path:
    for name, text in texts.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return root


def origins(text: str) -> dict[str, str]:
    """Each unique line -> `file:line` as the `#line` markers say."""
    found: dict[str, str] = {}
    name, number = "", 0
    for line in text.splitlines():
        if line.startswith("#line "):
            _, at, path = line.split()
            name, number = Path(path.strip('"')).name, int(at)
            continue
        if line.strip():
            found[line] = f"{name}:{number}"
        number += 1
    return found


def test_lines_keep_their_file_and_number(tmp_path: Path) -> None:
    files(
        tmp_path,
        main_dot_c='#include <uapi/x.h>\n#include "inc/a.h"\nmain_three\n  #  include "inc/b.h"  // why\nmain_five\n',
        inc__a_dot_h='a_one\n#include "b.h"\na_three\n',
        inc__b_dot_h="b_one\n\nb_three",
    )
    text = flatten(tmp_path / "main.c")
    assert origins(text) == {
        "#include <uapi/x.h>": "main.c:1",
        "main_three": "main.c:3",
        "main_five": "main.c:5",
        "a_one": "a.h:1",
        "a_three": "a.h:3",
        "b_one": "b.h:1",
        "b_three": "b.h:3",
    }
    assert text.count("b_one") == 1
    assert text.index("a_one") < text.index("b_one") < text.index("a_three") < text.index("main_three")


def test_x_macro_files_come_each_time(tmp_path: Path) -> None:
    files(tmp_path, main_dot_c='#include "r.def"\nmid\n#include "r.def"\nend\n', r_dot_def="X(A)\n")
    text = flatten(tmp_path / "main.c")
    assert text.count("X(A)") == 2
    assert origins(text)["end"] == "main.c:4"


def test_a_circle_ends(tmp_path: Path) -> None:
    files(
        tmp_path, a_dot_h='#include "b.h"\nfrom_a\n', b_dot_h='#include "a.h"\nfrom_b\n', c_dot_def='#include "c.def"\n'
    )
    assert origins(flatten(tmp_path / "a.h")) == {"from_a": "a.h:2", "from_b": "b.h:2"}
    with pytest.raises(AlgateError, match=r"c\.def:1: c\.def includes itself"):
        flatten(tmp_path / "c.def")


def test_folders_are_searched_after_the_files_own(tmp_path: Path) -> None:
    files(tmp_path, main_dot_c='#include "a.h"\n', include__a_dot_h="found\n")
    assert "found" in flatten(tmp_path / "main.c", (tmp_path / "include",))
    with pytest.raises(AlgateError, match=r'main\.c:1: #include "a\.h" found neither in'):
        flatten(tmp_path / "main.c")
