"""The house's floors: an import may only lead down, and no modules import each other in a cycle."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.imports import ROOT, Arrows, arrows, circles

pytestmark = pytest.mark.pure  # both builds are of this text

# From the lowest to the highest. Rooms on one line are side by side and don't know each other. A room is a folder
# with all that is in it, or a module outside of any; a new one needs a line, or a place in one.
FLOORS = (
    ("bpf",),
    (
        "alg.__init__",
        "alg.errors",
        "alg.wording",
        "alg.rows",
        "alg.answers",
        "alg.threads",
        "alg.version",
        "cli.__init__",
    ),
    ("alg.plugin", "alg.findings"),
    ("alg.protocols",),
    ("alg.testing", "alg.config"),
    ("alg.engine",),
    ("alg.audit",),
    ("alg.gateway",),
    ("alg.ha",),
    ("alg.helper",),
    ("alg.daemon",),
    ("alg.admin",),
    ("client",),
    ("cli.text", "cli.typed"),
    ("cli.grid",),
    ("cli.view",),
    ("cli.objects",),
    ("cli.completion",),
    ("cli.options", "cli.output"),
    ("cli.listing",),
    ("cli.capture", "cli.lab", "cli.top"),
    ("cli.bench",),
    ("cli.commands",),
    ("cli.app",),
    ("cli.manual", "cli.schemas"),
)
FLOOR = {f"algate.{room}": number for number, rooms in enumerate(FLOORS) for room in rooms}


def room(module: str) -> str | None:
    """The room of FLOORS that a module is in."""
    if module in ("algate.alg", "algate.cli"):
        module += ".__init__"
    parts = module.split(".")
    return next((name for end in range(len(parts), 1, -1) if (name := ".".join(parts[:end])) in FLOOR), None)


def homeless(arrows: Arrows) -> list[str]:
    """The modules that are in no room."""
    return [module for module in arrows if room(module) is None]


def wrong(arrows: Arrows) -> list[str]:
    """Each import that leads up, or to another room of the same floor."""
    ways = [(one, other, room(one), room(other)) for one in arrows for other in sorted(arrows[one])]
    return [
        f"{one} -> {other}"
        for one, other, start, end in ways
        if start and end and start != end and FLOOR[start] <= FLOOR[end]
    ]


def test_every_module_is_on_a_floor() -> None:
    assert homeless(arrows()) == []


def test_every_room_of_the_table_is_there() -> None:
    assert {room(module) for module in arrows()} == set(FLOOR)


def test_no_import_leads_up() -> None:
    assert wrong(arrows()) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(arrows()) == []


def test_every_folder_says_its_thought() -> None:
    short = [
        str(path.relative_to(ROOT))
        for tree in ("alg", "bpf", "cli")
        for path in sorted((ROOT / tree).glob("**/__init__.py"))
        if "protocols/" not in str(path) and len(path.read_text().split('"""')[1].splitlines()) < 3
    ]
    assert short == []


@pytest.mark.parametrize(
    "text",
    [
        "from algate.alg.engine import stream",
        "from algate.alg.engine.stream import Stream",
        "import algate.alg.engine.stream",
        "def lazily():\n    from ..engine import stream",
        "if TYPE_CHECKING:\n    from ..engine.stream import Stream",
    ],
)
def test_a_planted_import_that_leads_up_is_seen(tmp_path: Path, text: str) -> None:
    plant(tmp_path, {"alg/plugin/model.py": text, "alg/engine/stream.py": "from algate.alg.plugin import model"})
    assert wrong(arrows(tmp_path)) == ["algate.alg.plugin.model -> algate.alg.engine.stream"]
    assert circles(arrows(tmp_path)) == [["algate.alg.engine.stream", "algate.alg.plugin.model"]]


def test_a_planted_import_from_side_to_side_is_seen(tmp_path: Path) -> None:
    plant(tmp_path, {"cli/lab/host.py": "from algate.cli.top import top", "cli/top/top.py": ""})
    assert wrong(arrows(tmp_path)) == ["algate.cli.lab.host -> algate.cli.top.top"]


def test_a_planted_circle_is_seen_however_long(tmp_path: Path) -> None:
    ring = {f"bpf/m{number}.py": f"from . import m{(number + 1) % 4}" for number in range(4)}
    others = {"bpf/outside.py": "from . import m0", "bpf/below.py": "", "bpf/selfish.py": "from . import selfish"}
    plant(tmp_path, ring | others)
    found = circles(arrows(tmp_path))
    assert found == [[f"algate.bpf.m{number}" for number in range(4)], ["algate.bpf.selfish"]]


def test_a_planted_folder_is_homeless(tmp_path: Path) -> None:
    plant(tmp_path, {"alg/attic/box.py": "", "alg/protocols/gopher/session.py": ""})
    assert homeless(arrows(tmp_path)) == ["algate.alg.attic.box"]


def plant(root: Path, files: dict[str, str]) -> None:
    """A separate tree with these modules."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
