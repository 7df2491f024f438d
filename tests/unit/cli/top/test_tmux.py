"""`algate top` where operators run it: a shell inside tmux. Every view, suspending and resuming, resizing, the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import fake_daemon
from tests.screen import TestScreen, own_tmux

COMMAND = f"{sys.executable} -c 'from algate.cli.app import main; main()' top --interval 0.2"


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Callable[..., TestScreen]]:
    """A shell in a tmux of its own, which ends with it."""
    made: list[TestScreen] = []

    def make(columns: int = 80, lines: int = 25) -> TestScreen:
        env = {"ALGATE_RUN_DIR": str(tmp_path), "PS1": "ready> ", "SHELL": "/bin/bash"}
        made.append(TestScreen([*tmux, "new-session", "bash", "--norc", "-i"], columns, lines, env))
        made[-1].shows("ready>")
        return made[-1]

    with own_tmux() as tmux:
        yield make
        for one in made:
            one.type(b"\x03\x15exit\r\x03\x15exit\r")
            one.read(0.5)
            one.close()


def test_every_view_in_tmux(tmp_path: Path, shell: Callable[..., TestScreen]) -> None:
    with fake_daemon.running(tmp_path):
        shown = shell()
        shown.type(COMMAND.encode() + b"\r")
        shown.shows("sessions  sort rate", "├ tcp  established 10.0.0.2:40002", "100pkt/s")
        for key, words in (
            (b"2", ("hosts  sort rate", "500/500")), (b"3", ("ports  sort fill", "████")),
            (b"4", ("drops  sort rate", "scans of the internet", "held")), (b"5", ("events  sort time", "PORT named")),
            (b"1", ("sessions  sort rate", "├ tcp")),
        ):  # fmt: skip
            shown.type(key)
            shown.shows(*words)
        shown.type(b"\x1b[B")
        shown.type(b"\r")
        shown.shows("session 00000000000000a2", "a SYN is missing")
        shown.type(b"k")
        shown.shows("End tcp 10.0.0.2:40002 → 198.51.100.2:51234?")
        shown.type(b"n")
        shown.shows("nothing was ended")
        shown.resize(120, 40)
        shown.shows("session 00000000000000a2", "a SYN is missing")
        shown.type(b"\x1b")
        shown.shows("MAPPED", " p  pause")
        shown.type(b"q")
        text = shown.until(
            "the shell", lambda text: text.rstrip("\n ").count("ready>") >= 1 and "sort rate" not in text
        )
        assert "algate translating" not in text


def test_suspended_and_resumed(tmp_path: Path, shell: Callable[..., TestScreen]) -> None:
    with fake_daemon.running(tmp_path):
        shown = shell()
        shown.type(COMMAND.encode() + b"\r")
        shown.shows("sessions  sort rate", "100pkt/s")
        for _ in range(2):
            shown.type(b"\x1a")
            shown.until("the shell's prompt", lambda text: "Stopped" in text and "sort rate" not in text)
            shown.type(b"echo it ech''oes; stty -a | grep -o -- '-\\?icanon'\r")
            shown.until("a terminal as it was", lambda text: "it echoes" in text and "\nicanon" in text)
            shown.type(b"clear; fg\r")
            shown.shows("sessions  sort rate", "├ tcp  established 10.0.0.2:40002", " q  quit ")
        shown.type(b"4")
        shown.shows("drops  sort rate")
        shown.type(b"q")
        shown.until("the shell", lambda text: "ready>" in text and "sort rate" not in text)
        shown.type(b"echo code $?; stty -a | grep -o -- '-\\?icanon'\r")
        shown.until("the end", lambda text: "code 0" in text and "\nicanon" in text)
