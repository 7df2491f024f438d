"""What people see: golden texts of the listings, and hostile bytes made harmless."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from algate.alg.findings import CheckRow
from algate.alg.rows import ExpectationRow, ForwardRow, MappingRow, Row, SessionRow, SettingRow
from algate.cli import grid, objects, text, view
from tests import golden_text
from tests.fake_daemon import EVENTS, EXPECTATIONS, FORWARDS, HOSTILE, MAPPINGS, SESSIONS, SETTINGS, STATUS

CHANGES = (
    {"key": "nat.ports", "was": "1024-65535", "now": "2000-3000", "when": "at once"},
    {"key": "forward tcp/21", "was": None, "now": {"to": "10.0.0.5:21", "from": []}, "when": "at once"},
    {"key": f"alg.{HOSTILE}", "was": [HOSTILE], "now": None, "when": "at the next start"},
)
CHECKS = (
    CheckRow("kernel", True, "6.1.0"),
    CheckRow("bpffs", False, "not mounted on /sys/fs/bpf", "mount -t bpf bpf /sys/fs/bpf"),
)


@pytest.mark.parametrize(
    ("name", "rows", "kind", "width"),
    [
        ("sessions-80", SESSIONS, SessionRow, 80),
        ("sessions-120", SESSIONS, SessionRow, 120),
        ("sessions-wide", SESSIONS, SessionRow, grid.WIDE),
        ("sessions-none", (), SessionRow, 80),
        ("mappings", MAPPINGS, MappingRow, 80),
        ("expectations-80", EXPECTATIONS, ExpectationRow, 80),
        ("expectations-wide", EXPECTATIONS, ExpectationRow, grid.WIDE),
        ("forwards", FORWARDS, ForwardRow, 80),
        ("settings", SETTINGS, SettingRow, 80),
    ],
)
def test_listings(name: str, rows: tuple[Row, ...], kind: type[Row], width: int) -> None:
    lines = view.listing(rows, kind, width)
    assert all(cell_len(line.plain) <= width for line in lines)
    golden_text.check(f"{name}.txt", lines)


def test_status_events_and_checks() -> None:
    golden_text.check("status.txt", objects.status(STATUS))
    golden_text.check(
        "pairs.txt", view.pairs({"a": [{"name": "ftp", "on": True}, {"name": "chat"}], "b": None, "c": []})
    )
    golden_text.check("reload.txt", objects.changes(CHANGES))
    golden_text.check("events.txt", [view.event(row, "12:00:00.250") for row in EVENTS])
    golden_text.check("checks.txt", view.checks(CHECKS))


@pytest.mark.parametrize("width", [1, 10, 40, 60, 79, 100])
def test_no_width_breaks_a_listing(width: int) -> None:
    lines = view.listing(SESSIONS, SessionRow, width)
    assert len(lines) == len(SESSIONS) + 1
    assert len({cell_len(line.plain.rstrip()) for line in lines}) >= 1
    if width >= 60:
        assert all(cell_len(line.plain) <= width for line in lines)


def everything_hostile() -> list[Text]:
    """Each text field of each kind of row, hostile."""
    lines: list[Text] = []
    kinds: tuple[tuple[Row, ...], ...] = (SESSIONS, EXPECTATIONS, MAPPINGS, FORWARDS, CHECKS)
    for rows in kinds:
        fields = {name: HOSTILE for name, value in rows[0].as_dict().items() if isinstance(value, str)}
        bad = type(rows[0]).read({**rows[0].as_dict(), **fields})
        lines += view.listing([bad], type(bad))
    event = replace(EVENTS[0], event=HOSTILE, control=HOSTILE, alg=HOSTILE, detail=HOSTILE, reason=HOSTILE)
    return [*lines, view.event(event, "12:00"), *view.pairs({HOSTILE: HOSTILE, "list": [{HOSTILE: HOSTILE}]})]


def test_hostile_text_reaches_no_terminal() -> None:
    """No control bytes except the line ends and colours that we write, no bidi marks, no markup interpreted."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system=None, width=4000, markup=False, highlight=False)
    for line in everything_hostile():
        console.print(line, soft_wrap=True)
    shown = out.getvalue()
    written = [line for line in shown.split("\n") if "evil" in line]
    assert len(written) >= 5
    for one in written:
        plain = one.replace("\x1b[0m", "").replace("\x1b[1m", "").replace("\x1b[2m", "").replace("\x1b[1;2m", "")
        assert plain.isprintable(), ascii(plain)
        assert "\\x1b]0;owned\\x07\\r\\n[red]x[/red]\\u202e" in plain


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain ü 漢", "plain ü 漢"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\tb\nc\rd\0", "a\\tb\\nc\\rd\\x00"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("\ud800", "\\ud800"),
        ("[bold]x[/]", "[bold]x[/]"),
    ],
)
def test_printable(raw: str, shown: str) -> None:
    assert text.printable(raw) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"), ("", "-"), ((), "-"), (True, "true"), (1.25, "1.25"), (7, "7"), ("a\tb", "a\\tb"),
        (2.5e-05, "0.000025"), (120.0, "120"),
        (("10.0.0.0/8", "192.0.2.1"), "10.0.0.0/8,192.0.2.1"),
    ],
)  # fmt: skip
def test_cells_of_tsv(value: object, shown: str) -> None:
    assert text.field(list(value) if isinstance(value, tuple) else value) == shown


def test_numbers() -> None:
    assert [text.scaled(one) for one in (0, 999, 1000, 9999, 12345, 1e6, 1e18)] == [
        "0", "999", "1.0k", "10k", "12k", "1.0M", "1000P",
    ]  # fmt: skip
    assert [text.size(one) for one in (0, 1023, 1024, 1 << 30)] == ["0B", "1023B", "1.0KiB", "1.0GiB"]
    assert [text.bit_rate(one) for one in (0, 125, 1.25e9)] == ["0bit/s", "1.0kbit/s", "10Gbit/s"]
    seconds = (None, -1, 0.04, 9.94, 9.96, 59.4, 59.6, 3599.4, 3600, 86399, 90000)
    assert [text.duration(one) for one in seconds] == [
        "-", "0.0s", "0.0s", "9.9s", "10s", "59s", "1m00", "59m59", "1h00", "23h59", "1d01h",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("whole", "room", "cut"),
    [
        ("[2001:db8:113::10]:7007", 21, "[2001:…:113::10]:7007"),
        ("2001:db8:1:0:5054:ff:fe12:3456", 16, "2001:…:fe12:3456"),
        ("[2001:db8:1::5]:8443", 8, "[2001:d…"),
        ("a detail of 12:00:00", 12, "a detail of…"),
        ("255.255.255.255:65535", 20, "255.255.255.255:655…"),
    ],
)
def test_an_ipv6_end_point_is_cut_in_its_middle(whole: str, room: int, cut: str) -> None:
    made = grid.shortened(whole, room)
    assert len(made) == room and made == cut


def test_whose_end_points_are_alike_in_the_middle() -> None:
    ends = [f"[2001:db8:1:0:5054:ff:fe12:{number:x}]:{port}" for number in (1, 0xFFFF) for port in (7, 65535)]
    assert len({grid.shortened(one, 21) for one in ends}) == 4
