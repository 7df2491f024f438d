"""top: rates and tree, keys, frames of exact size, and the real program in a terminal that the test plays."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyte
import pytest
from rich.cells import cell_len

from algate.alg.admin.filters import Filter, parse
from algate.alg.rows import SessionRow
from algate.cli.top import keys, screen
from algate.cli.top.flows import SORTS, History, Rate, TopFlow, TopSnapshot, tree
from algate.cli.top.keys import TopChoices, decode, press
from tests import fake_daemon, golden_text
from tests.fake_daemon import CONTROL, SESSIONS, snapshot

WAIT = 30.0  # s until a screen that doesn't come is a failure; a right one takes a fraction


def history(*steps: int) -> History:
    """What top knows after some snapshots of the fake daemon."""
    made = History()
    for step in steps:
        made.add(TopSnapshot.read(snapshot(step)))
    return made


def lines_of(made: History, sort: str = "rate", reverse: bool = False, **args: str) -> list[str]:
    """The tree as "depth:id's last digits"."""
    flows = tree(made, sort, reverse, parse(args) if args else Filter(), ())
    return [f"{flow.depth}:{flow.row.id[-2:]}" for flow in flows]


def test_rates_look_back_over_a_few_snapshots() -> None:
    made = history(0, 1, 2)
    assert made.rate('algate_packets_total{direction="out"}') == 100
    assert made.rate("algate_no_such_metric") == 0
    assert made.session_rate(made.now.sessions[1]) == Rate(0, 1_000_000)
    assert history(0).rate("algate_punts_total") == 0
    assert history(*range(50)).rate("algate_punts_total") == 2


def test_a_restarted_daemon_gives_no_negative_rate() -> None:
    made = history(5, 6, 0)
    assert made.rate("algate_punts_total") == 0
    made.add(TopSnapshot.read(snapshot(1)))
    assert made.rate("algate_punts_total") == 2


def test_a_new_session_has_the_rate_of_its_life() -> None:
    made = history(0, 1)
    row = SessionRow("ff", "tcp", "new", "10.0.0.9:1", "192.0.2.1:2", None, 1, 1, 2000, 400, 2.0, 1.0)
    assert made.session_rate(row) == Rate(1000, 200)


def test_drops_come_busiest_first() -> None:
    assert [name for name, _, _ in history(0, 1).drops()] == ["unsolicited", "punt-held", "no-session"]
    assert [total for _, _, total in history(0, 1).drops()] == [42, 13, 4]


def test_a_control_session_has_its_own_under_it() -> None:
    assert lines_of(history(0, 1)) == ["0:a1", "1:a2", "1:e1", "1:e2", "0:b1", "0:c1", "0:d1"]
    last = [flow.last for flow in tree(history(0, 1), "rate", False, Filter(), ())]
    assert last == [False, False, False, True, False, False, False]


def test_an_orphan_stands_by_itself() -> None:
    data = snapshot(0)
    data["sessions"] = data["sessions"][1:]
    made = History()
    made.add(TopSnapshot.read(data))
    assert set(lines_of(made)) == {"0:a2", "0:e1", "0:e2", "0:b1", "0:c1", "0:d1"}


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("rate", "a1"), ("bytes", "a1"), ("age", "a1"), ("expires", "d1"), ("inside", "a1"), ("outside", "c1"),
        ("state", "b1"),
    ],
)  # fmt: skip
def test_sorting_places_a_group_by_its_foremost(sort: str, first: str) -> None:
    assert lines_of(history(0, 1), sort)[0] == f"0:{first}"
    there, back = lines_of(history(0, 1), sort), lines_of(history(0, 1), sort, reverse=True)
    assert sorted(there) == sorted(back)
    assert there != back


def test_a_filter_keeps_whole_groups() -> None:
    assert lines_of(history(0, 1), state="pending") == ["0:a1", "1:a2", "1:e1", "1:e2"]
    assert lines_of(history(0), proto="udp") == ["0:b1"]
    assert tree(history(0), "rate", False, Filter(), ("nothing like it",)) == []
    (found,) = tree(history(0), "rate", False, Filter(), ("192.0.2.53", "udp"))
    assert found.row == SESSIONS[2]


def test_a_snapshot_of_another_version_is_read_as_far_as_it_goes() -> None:
    made = History()
    made.add(TopSnapshot.read({"stats": {"algate_sessions": "many"}, "sessions": None}))
    assert made.drops() == []
    assert lines_of(made) == []


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"q", ["q"]), (b"\x1b[A\x1b[B", ["up", "down"]), (b"\x1bOA", ["up"]), (b"\x1b", ["escape"]),
        (b"\x1b[5~x", ["page-up", "x"]), (b"\x1b[1;5Cs", ["s"]), (b"\x1b[", []), (b"\xc3\xbcq", ["q"]),
        (b"/ab\x7f\r", ["/", "a", "b", "backspace", "enter"]), (b"\x00\x01", []), (b"\x1bq", ["escape", "q"]),
    ],
)  # fmt: skip
def test_decoding_keys(data: bytes, names: list[str]) -> None:
    assert decode(data) == names


def typed(data: bytes, state: TopChoices = TopChoices(), page: int = 10, total: int = 100) -> TopChoices:  # noqa: B008
    """The state after some keys."""
    for key in decode(data):
        state = press(state, key, page, total)
    return state


def test_keys_choose() -> None:
    assert typed(b"s").sort == list(SORTS)[1]
    assert typed(b"s" * len(SORTS)) == TopChoices()
    assert typed(b"r").reverse
    assert typed(b"p").paused
    assert typed(b"pp") == TopChoices()
    assert typed(b"?").help
    assert typed(b"?x") == TopChoices()
    assert all(typed(one).done for one in (b"q", b"\x03", b"?q", b"/\x03"))


def test_scrolling_stays_within_the_lines() -> None:
    assert typed(b"\x1b[B\x1b[B\x1b[A").offset == 1
    assert typed(b"\x1b[A").offset == 0
    assert typed(b"\x1b[6~").offset == 10
    assert typed(b"\x1b[F").offset == 90
    assert typed(b"\x1b[F\x1b[B").offset == 90
    assert typed(b"\x1b[F\x1b[H").offset == 0
    assert typed(b"\x1b[F", total=3).offset == 0


def test_a_filter_is_typed() -> None:
    state = typed(b"/proto=tcp ftq\x7fp\r")
    assert (state.text, state.chosen.proto, state.words, state.entry) == ("proto=tcp ftp", ("tcp",), ("ftp",), None)
    assert typed(b"/\x15\r", state) == replace(state, text="", chosen=Filter(), words=())
    assert typed(b"\x1b", state) == TopChoices()
    assert typed(b"/zzz\x1b", state) == state
    assert typed(b"/qsrp").entry == "qsrp"
    wrong = typed(b"/proto=tpc\r")
    assert wrong.entry == "proto=tpc"
    assert "nearest is tcp" in wrong.fault
    assert typed(b"\x7f", wrong).fault == ""
    assert len(typed(b"/" + b"a" * 500).entry or "") == keys.ENTRY_MAX


def frame(
    width: int, height: int, state: TopChoices | None = None, trouble: str = "", made: History | None = None
) -> screen.Frame:
    """A frame of the fake daemon's traffic."""
    made, state = made or history(0, 1, 2), state or TopChoices()
    return screen.render(made, state, trouble, "/run/algate", width, height, lambda seconds: "12:00:00")


@pytest.mark.parametrize(
    ("name", "width", "height", "state", "trouble"),
    [
        ("top-80x24", 80, 24, TopChoices(), ""),
        ("top-200x50", 200, 50, TopChoices(), ""),
        ("top-help", 80, 24, TopChoices(help=True), ""),
        ("top-entry", 80, 24, TopChoices(entry="proto=tpc", fault="--proto: 'tpc' is not one of tcp"), ""),
        ("top-gone", 80, 24, TopChoices(paused=True), "retrying: no daemon on /run/algate"),
    ],
)
def test_frames(name: str, width: int, height: int, state: TopChoices, trouble: str) -> None:
    made = frame(width, height, state, trouble)
    assert len(made.lines) == height
    assert max(cell_len(line.plain) for line in made.lines) <= width
    golden_text.check(f"{name}.txt", made.lines)


@pytest.mark.parametrize("width", [1, 20, 40, 41, 60, 79, 81, 119, 250])
@pytest.mark.parametrize("height", [1, 2, 8, 9, 15, 16, 17, 23, 60])
def test_a_frame_has_exactly_its_size(width: int, height: int) -> None:
    for state in (
        TopChoices(),
        TopChoices(help=True),
        TopChoices(entry="x" * 100, fault="y" * 100),
        TopChoices(offset=999),
    ):
        made = frame(width, height, state, "z" * 100)
        assert len(made.lines) == height
        assert all(cell_len(line.plain) <= width for line in made.lines)
        assert all(line.plain.replace("\n", "").isprintable() for line in made.lines)


def test_scrolling_shows_the_lines_below() -> None:
    made = History()
    rows = [replace(SESSIONS[2], id=f"{number:016x}", inside=f"10.0.0.{number}:7").as_dict() for number in range(100)]
    made.add(TopSnapshot.read({**snapshot(0), "sessions": rows, "expectations": []}))
    first = frame(80, 24, TopChoices(sort="inside"), made=made)
    assert first.total == 100
    assert "10.0.0.0:7" in str(first.lines[4])
    below = frame(80, 24, TopChoices(sort="inside", offset=first.total - first.page), made=made)
    assert "10.0.0.99:7" in str(below.lines[3 + below.page])
    assert "of 100" in str(below.lines[2])


def test_the_mark_of_a_line_is_what_it_is() -> None:
    shown = [screen.FLOWS[0][0].cell(TopFlow(SESSIONS[0])), screen.FLOWS[0][0].cell(TopFlow(SESSIONS[1], 1, True))]
    assert shown == ["ftp", "└ tcp"]


class Terminal:
    """A terminal of a given size with `algate top` in it."""

    def __init__(self, run_dir: Path, columns: int, lines: int) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.written = b""
        self.ours, theirs = pty.openpty()
        self._theirs = theirs
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from algate.cli.app import main; main()", "top", "--interval", "0.1"],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", "ALGATE_RUN_DIR": str(run_dir), "LC_ALL": "C.UTF-8"},
        )  # fmt: skip

    def read(self) -> None:
        """Take in what has been written so far, waiting a moment for some."""
        import select

        if select.select([self.ours], [], [], 0.05)[0]:
            with contextlib.suppress(OSError):
                data = os.read(self.ours, 65536)
                self.written += data
                self._stream.feed(data)

    def until(self, what: str, test: Callable[[str], bool]) -> str:
        """The screen, as soon as it satisfies `test`."""
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            self.read()
            shown = "\n".join(self.screen.display)
            if test(shown):
                return shown
        raise AssertionError(f"{what} did not come; the screen is\n" + "\n".join(self.screen.display))

    def type(self, data: bytes) -> None:
        """Press keys."""
        os.write(self.ours, data)

    def ended(self) -> int:
        """The exit code, after checking that the terminal is as it was."""
        end = time.monotonic() + WAIT
        while self.process.poll() is None and time.monotonic() < end:
            self.read()
        code = self.process.wait(1)
        for _ in range(3):
            self.read()
        assert termios.tcgetattr(self._theirs) == self.before
        assert self.written.rindex(b"\x1b[?1049l") > self.written.rindex(b"\x1b[?1049h"), "the main screen is back"
        assert self.written.rindex(b"\x1b[?25h") > self.written.rindex(b"\x1b[?25l"), "the cursor is back"
        return code

    def close(self) -> None:
        """End it whatever happens."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        os.close(self.ours)
        os.close(self._theirs)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Makes terminals with top in them."""
    made: list[Terminal] = []

    def make(columns: int = 80, lines: int = 24) -> Terminal:
        made.append(Terminal(tmp_path, columns, lines))
        return made[-1]

    yield make
    for one in made:
        one.close()


def alive(shown: str) -> bool:
    """Whether rates have come."""
    return "translating" in shown and "100pkt/s" in shown


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 50)])
def test_the_real_screen_is_the_frame(
    tmp_path: Path, terminal: Callable[..., Terminal], columns: int, lines: int
) -> None:
    with fake_daemon.running(tmp_path):
        shown = terminal(columns, lines)
        whole = ("8.0Mbit/s", "RETR e", " q  quit ")
        text = shown.until("traffic", lambda text: alive(text) and all(one in text for one in whole)).splitlines()
        assert text[4].startswith("ftp    established 10.0.0.2:40001")
        assert text[5].startswith("├ tcp  established 10.0.0.2:40002")
        assert text[7].startswith("└ exp")
        assert text[-1].startswith(" q  quit   s  sort")
        assert "evil\\x1b]0;owned" in "".join(text) or columns == 80
        shown.type(b"q")
        assert shown.ended() == 0


def test_keys_work_and_a_lost_daemon_is_told_and_found_again(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    with fake_daemon.running(tmp_path):
        shown = terminal()
        shown.until("traffic", alive)
        shown.type(b"/udp\r")
        text = shown.until("the filter", lambda text: "filter udp" in text and "1-1 of 1" in text)
        assert CONTROL not in text
        shown.type(b"s")
        shown.until("the sort", lambda text: "sort bytes" in text)
        shown.type(b"?")
        shown.until("the help", lambda text: "sort by rate" in text)
        shown.type(b"xp")
        shown.until("the pause", lambda text: "PAUSED" in text)
        shown.type(b"p\x1b")
        shown.until("everything", lambda text: "1-7 of 7" in text)
    shown.until("the loss", lambda text: "retrying" in text)
    with fake_daemon.running(tmp_path):
        shown.until("the daemon", alive)
        shown.type(b"q")
        assert shown.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_leaves_the_terminal_as_it_was(
    tmp_path: Path, terminal: Callable[..., Terminal], number: signal.Signals
) -> None:
    with fake_daemon.running(tmp_path):
        shown = terminal()
        shown.until("traffic", alive)
        shown.process.send_signal(number)
        assert shown.ended() == 0


def test_a_fault_leaves_the_terminal_as_it_was_and_is_told(
    tmp_path: Path, terminal: Callable[..., Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted fault: a frame that can't be made."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import algate.cli.top.screen as s\ndef broken(*a, **k): raise RuntimeError('planted')\ns._foot = broken\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(site))
    with fake_daemon.running(tmp_path):
        shown = terminal()
        assert shown.ended() == 1
        assert "RuntimeError: planted" in "\n".join(shown.screen.display)


def test_it_starts_without_a_daemon_and_says_so(terminal: Callable[..., Terminal]) -> None:
    shown = terminal()
    shown.until("the message", lambda text: "no daemon on" in text)
    shown.type(b"q")
    assert shown.ended() == 0


def test_a_resized_terminal_gets_a_frame_of_its_size(tmp_path: Path, terminal: Callable[..., Any]) -> None:
    with fake_daemon.running(tmp_path):
        shown = terminal()
        shown.until("traffic", alive)
        fcntl.ioctl(shown.ours, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
        shown.screen.resize(30, 120)
        text = shown.until("the wider frame", lambda text: "MAPPED" in text and " q  quit " in text)
        assert len(text.splitlines()) == 30
        shown.type(b"q")
        assert shown.ended() == 0
