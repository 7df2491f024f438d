"""`algate top` as a process in a terminal that the test plays: keys, a lost daemon, signals, what a slow line gets."""

from __future__ import annotations

import os
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import fake_daemon
from tests.fake_daemon import CONTROL, HOSTS
from tests.screen import TestScreen

DEADLY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
COMMAND = [sys.executable, "-c", "from algate.cli.app import main; main()", "top"]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., TestScreen]]:
    """Makes terminals with top in them."""
    made: list[TestScreen] = []

    def make(columns: int = 80, lines: int = 24, *options: str, **env: str) -> TestScreen:
        argv = [*COMMAND, *(options or ("--interval", "0.1"))]
        made.append(TestScreen(argv, columns, lines, {"ALGATE_RUN_DIR": str(tmp_path), **env}))
        return made[-1]

    yield make
    for one in made:
        one.close()


def alive(shown: str) -> bool:
    """Whether rates have come."""
    return "translating" in shown and "100pkt/s" in shown


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 60)])
def test_the_real_screen_is_the_frame(
    tmp_path: Path, terminal: Callable[..., TestScreen], columns: int, lines: int
) -> None:
    with fake_daemon.running(tmp_path):
        shown = terminal(columns, lines)
        whole = ("8.0Mbit/s", "RETR e", " q  quit ")
        text = shown.until("traffic", lambda text: alive(text) and all(one in text for one in whole)).splitlines()
        assert text[4].startswith("ftp    established 10.0.0.2:40001")
        assert text[5].startswith("├ tcp  established 10.0.0.2:40002")
        assert text[7].startswith("└ exp")
        assert text[-1].startswith(" q  quit  1")
        assert "evil\\x1b]0;owned" in "".join(text) or columns == 80
        shown.type(b"q")
        assert shown.ended() == 0


def test_every_view_and_what_the_daemon_is_asked_for_it(tmp_path: Path, terminal: Callable[..., TestScreen]) -> None:
    with fake_daemon.running(tmp_path) as requests:
        shown = terminal()
        shown.until("traffic", alive)

        def asked() -> list[str]:
            return [args["view"] for verb, args in requests if verb == "top"]

        def times(number: int) -> Callable[[str], bool]:
            return lambda _: len(asked()) >= number

        for number, (key, words) in enumerate((
            (b"2", ("hosts  sort rate", "10.0.0.3", "480")), (b"3", ("ports  sort fill", "51,000", "79%")),
            (b"4", ("drops  sort rate", "scans of the internet")), (b"5", ("events  sort time", "PORT 10,0,0,2,195")),
            (b"1", ("sessions  sort rate", "10.0.0.2:40001")),
        ), 2):  # fmt: skip
            shown.type(key)
            shown.shows(*words)
            # events and drops come with every view's snapshots: they may be seen before the daemon has been asked
            shown.until("what the daemon is asked", times(number))
        shown.type(b"2")
        shown.shows("hosts  sort rate", HOSTS[1].inside)
        shown.type(b"\x1b[B\r")
        shown.shows(f"sessions  sort rate  filter inside={HOSTS[1].inside}", "lines 1-1 of 1")
        shown.type(b"/\x15\r")
        shown.shows("lines 1-7 of 7")
        shown.type(b"q")
        assert shown.ended() == 0
        assert asked()[:6] == ["sessions", "hosts", "ports", "drops", "events", "sessions"]
        assert any(str(args.get("inside", "")).startswith("10.0.0.") for verb, args in requests if verb == "top")


def test_keys_work_and_a_lost_daemon_is_told_and_found_again(
    tmp_path: Path, terminal: Callable[..., TestScreen]
) -> None:
    with fake_daemon.running(tmp_path):
        shown = terminal()
        shown.until("traffic", alive)
        shown.type(b"/proto=tpc\r")
        shown.shows("filter: proto=tpc", "the nearest is tcp")
        shown.type(b"\x15udp\r")
        assert CONTROL not in shown.shows("filter udp", "1-1 of 1")
        shown.type(b"sr")
        shown.shows("sort rate-out reversed")
        shown.type(b"?")
        shown.shows("next or last order", "suspend; quit")
        shown.type(b"xp")
        shown.shows("PAUSED")
        shown.type(b"p\x1b")
        shown.shows("1-7 of 7")
    shown.shows("retrying")
    with fake_daemon.running(tmp_path):
        shown.until("the daemon", alive)
        shown.type(b"q")
        assert shown.ended() == 0


def test_a_session_is_opened_explained_and_ended(tmp_path: Path, terminal: Callable[..., TestScreen]) -> None:
    with fake_daemon.running(tmp_path) as requests:
        shown = terminal()
        shown.until("traffic", alive)
        shown.type(b"\r")
        shown.shows(f"session {CONTROL}", "- a SYN is missing evil\\x1b]0;owned", "wait")
        shown.type(b"\x1b")
        shown.shows("├ tcp")
        shown.type(b"k")
        shown.shows("End ftp 10.0.0.2:40001", "y/n")
        shown.type(b"n")
        shown.shows("nothing was ended")
        assert [args["dry_run"] for verb, args in requests if verb == "kill"] == [True]
        shown.type(b"k")
        shown.shows("y/n")
        shown.type(b"y")
        shown.shows("1 session ended: ftp 10.0.0.2:40001")
        assert [args.get("dry_run") for verb, args in requests if verb == "kill"] == [True, True, None]
        shown.type(b"q")
        assert shown.ended() == 0


@pytest.fixture(params=[signal.SIG_DFL, signal.SIG_IGN], ids=["", "ignored"])
def inherited(request: pytest.FixtureRequest) -> Iterator[None]:
    """What deadly signals do in what is started meanwhile: a shell's `&` and nohup have some ignored."""
    former = {number: signal.signal(number, request.param) for number in DEADLY}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("inherited")
@pytest.mark.parametrize("number", DEADLY)
def test_a_signal_leaves_the_terminal_as_it_was(
    tmp_path: Path, terminal: Callable[..., TestScreen], number: signal.Signals
) -> None:
    with fake_daemon.running(tmp_path):
        shown = terminal()
        shown.until("traffic", alive)
        shown.process.send_signal(number)
        assert shown.ended() == 0


def test_a_fault_leaves_the_terminal_as_it_was_and_is_told(
    tmp_path: Path, terminal: Callable[..., TestScreen], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted fault: a frame that can't be made."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import algate.cli.top.screen as s\ndef broken(*a, **k): raise RuntimeError('planted')\ns.foot = broken\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(site))
    with fake_daemon.running(tmp_path):
        shown = terminal()
        assert shown.ended() == 1
        assert "RuntimeError: planted" in shown.text


def test_it_starts_without_a_daemon_and_says_so(terminal: Callable[..., TestScreen]) -> None:
    shown = terminal()
    shown.shows("no daemon on")
    shown.type(b"q")
    assert shown.ended() == 0


def test_a_resized_terminal_gets_a_frame_of_its_size(tmp_path: Path, terminal: Callable[..., TestScreen]) -> None:
    with fake_daemon.running(tmp_path):
        shown = terminal()
        shown.until("traffic", alive)
        for columns, lines in ((120, 30), (80, 24), (200, 60), (30, 5)):
            shown.resize(columns, lines)
            if columns == 30:
                shown.shows("terminal too small")
                break
            text = shown.shows("MAPPED" if columns > 80 else "OUTSIDE", " q  quit")
            assert len(text.splitlines()) == lines
        shown.type(b"q")
        assert shown.ended() == 0


def test_a_slow_line_is_sent_only_what_changed(tmp_path: Path, terminal: Callable[..., TestScreen]) -> None:
    """A frame of 200x60 cells a second takes some hundred bytes: 9,600 baud is enough for it."""
    with fake_daemon.running(tmp_path):
        shown = terminal(200, 60, "--interval", "0.5")
        shown.until("traffic", alive)
        before, began = len(shown.written), time.monotonic()
        while time.monotonic() < began + 3:
            shown.read()
        each = (len(shown.written) - before) / 6
        print(f"{each:.0f} bytes a refresh of 200x60")
        assert 0 < each < 600
        shown.type(b"q")
        assert shown.ended() == 0


def test_a_stuck_line_costs_nothing_and_gets_the_newest_frame(
    tmp_path: Path, terminal: Callable[..., TestScreen]
) -> None:
    """While nobody reads, at most what the terminal's own buffer takes is sent; afterwards the screen is right."""
    with fake_daemon.running(tmp_path):
        shown = terminal(200, 60, "--interval", "0.1")
        shown.until("traffic", alive)
        shown.type(b"4")
        time.sleep(2.0)
        before = len(shown.written)
        shown.type(b"1")
        shown.shows("sessions  sort rate", "├ tcp  established 10.0.0.2:40002")
        assert len(shown.written) - before < 80_000
        shown.type(b"q")
        assert shown.ended() == 0


def colours(data: bytes) -> set[bytes]:
    """The colours among what was written."""
    parts = (part.partition(b"m") for part in data.split(b"\x1b[")[1:])
    codes = {one for code, end, _ in parts if end and code.replace(b";", b"").isdigit() for one in code.split(b";")}
    return {one for one in codes if len(one) == 2 and one[:1] in (b"3", b"4", b"9")}


def test_without_colours_there_are_none(tmp_path: Path, terminal: Callable[..., TestScreen]) -> None:
    with fake_daemon.running(tmp_path):
        plain, coloured = terminal(80, 24, NO_COLOR="1"), terminal(80, 24)
        for shown in (plain, coloured):
            shown.until("traffic", alive)
            shown.type(b"q")
            assert shown.ended() == 0
        assert not colours(plain.written)
        assert colours(coloured.written)
        assert b"\x1b[7m" in plain.written, "the selected row is still seen"


def test_a_terminal_without_a_cursor_gets_tables(tmp_path: Path, terminal: Callable[..., TestScreen]) -> None:
    with fake_daemon.running(tmp_path):
        shown = terminal(80, 24, "--view", "hosts", TERM="dumb")
        shown.until("two tables", lambda text: text.count("HOST ") + text.count("hosts, by rate") >= 2)
        shown.until("another one", lambda _: shown.written.count(b"hosts, by rate") >= 2)
        assert b"\x1b" not in shown.written
        assert b"10.0.0.3" in shown.written
        before = shown.before
        shown.process.send_signal(signal.SIGINT)
        assert shown.process.wait(10) == 0
        assert termios.tcgetattr(shown.theirs) == before
    shown = terminal(80, 24, TERM="dumb")
    shown.shows("no daemon on")
    os.kill(shown.process.pid, signal.SIGINT)
    assert shown.process.wait(10) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--view", "host"), "the nearest is hosts"), (("--sort", "speed"), "--sort: sessions have no 'speed'"),
        (("--filter", "proto=tpc"), "the nearest is tcp"), (("--view", "4", "--filter", "alg=ftp"), "no filter"),
    ],
)  # fmt: skip
def test_wrong_options_are_one_line(terminal: Callable[..., TestScreen], options: tuple[str, str], said: str) -> None:
    shown = terminal(200, 24, *options)
    assert shown.process.wait(20) == 2
    shown.read(0.5)
    assert said in shown.text
    assert shown.text.strip().count("\n") == 0
