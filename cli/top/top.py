"""`algate top`: the terminal, the daemon's stream and the clock around the pure frame.

The law of this file: it joins; what a frame looks like, what a key does and how the terminal is handled is elsewhere.
"""

from __future__ import annotations

import os
import select
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from algate.alg.errors import USAGE, AlgateError
from algate.alg.wording import nearest
from algate.cli.output import show_lines, width
from algate.cli.top import details, plain
from algate.cli.top.all import BY_KEY, VIEWS
from algate.cli.top.choices import TopChoices, request
from algate.cli.top.feed import Feed
from algate.cli.top.history import History, TopSnapshot
from algate.cli.top.keys import Seen, decode, filtered, press
from algate.cli.top.painter import Painter
from algate.cli.top.picture import svg
from algate.cli.top.screen import render
from algate.cli.top.terminal import TopTerminal
from algate.client import Client

IDLE = 0.5  # seconds after which the screen is looked at without news
PLAIN_INTERVAL = 2.0  # at least, where tables are printed one after the other
ONCE_INTERVAL, ONCE_MOST = 0.5, 8  # of --once: until rates are known


@dataclass(frozen=True)
class Options:
    """The command's."""

    run_dir: Path
    interval: float = 1.0
    view: str = "sessions"
    sort: str = ""
    reverse: bool = False
    filter: str = ""
    columns: int | None = None
    lines: int = 24
    svg: Path | None = None


def first(options: Options) -> TopChoices:
    """What is shown to begin with. AlgateError (usage) names what is wrong with the options."""
    name = BY_KEY.get(options.view, options.view)
    if name not in VIEWS:
        close = nearest(name, VIEWS)
        raise AlgateError(f"--view: {name[:40]!a} is not one of {', '.join(VIEWS)}; the nearest is {close}", USAGE)
    state = TopChoices(name)
    if options.sort and options.sort not in state.view.sorts:
        sorts = state.view.sorts
        close = nearest(options.sort, sorts)
        raise AlgateError(
            f"--sort: {name} have no {options.sort[:40]!a}: one of {', '.join(sorts)}; the nearest is {close}", USAGE
        )
    state = state.with_here(sort=options.sort or state.here.sort, reverse=options.reverse)
    return filtered(state, options.filter)


def top(options: Options) -> int:
    """Show it until a key ends it. AlgateError (usage) if there is no terminal."""
    state = first(options)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise AlgateError("top needs a terminal: use --once for one frame, or `sessions`, `stats`, `follow`", USAGE)
    feed = Feed(options.run_dir)
    try:
        if os.environ.get("TERM", "dumb") in ("dumb", "unknown", ""):
            _plainly(options, state, feed)
        with TopTerminal(sys.stdin.fileno(), sys.stdout.fileno(), feed.wake) as terminal:
            _loop(options, state, feed, terminal)
    except (KeyboardInterrupt, BrokenPipeError):
        pass
    finally:
        feed.close()
    return 0


def once(options: Options) -> int:
    """Print one frame on stdout, for scripts and pictures. ControlError if there is no daemon."""
    state, history = first(options), History()
    columns = options.columns or (width() if sys.stdout.isatty() else 80)
    for data in Client(options.run_dir).told("top", request(state, ONCE_INTERVAL, options.lines)):
        history.add(TopSnapshot.read(data))
        look = history.now.look  # the first one has no rates
        if history.seen >= ONCE_MOST or (history.seen >= 2 and (look is None or look.rated)):
            break
    if not history.seen:
        raise AlgateError(f"the daemon on {options.run_dir} went away")
    frame = render(history, state, "", str(options.run_dir), columns, options.lines)
    if options.svg is not None:
        options.svg.write_text(svg(frame.lines, columns, f"algate top: {state.name}"))
    else:
        show_lines(frame.lines)
    return 0


def _loop(options: Options, state: TopChoices, feed: Feed, terminal: TopTerminal) -> None:
    history, painter = History(), Painter(Console(highlight=False, markup=False, emoji=False))
    page = options.lines
    while not state.done:
        feed.ask(request(state, options.interval, page))
        terminal.attend()
        state, trouble = _news(state, feed, history)
        columns, lines = terminal.size()
        frame = render(history, state, trouble, str(options.run_dir), columns, lines, options.interval)
        page = frame.page
        if terminal.stale:
            terminal.stale = False
            painter.forget()
        if terminal.ready():
            terminal.send(painter.paint(frame.lines, columns, lines))
        state = _keys(state, history, frame.page, feed, terminal)


def _news(state: TopChoices, feed: Feed, history: History) -> tuple[TopChoices, str]:
    """The state after what has come; snapshots go into the history."""
    if state.errand is not None:
        feed.run(state.errand)
        state = replace(state, errand=None)
    news = feed.take()
    for snapshot in () if state.paused and history.now.view == state.name else news.snapshots:
        history.add(snapshot)
    for answer in news.answers:
        if answer.error:
            state = details.failed(state, answer.errand, answer.error)
        else:
            state = details.answered(state, answer.errand, answer.data, history)
    return replace(state, barred=feed.barred()), news.trouble


def _keys(state: TopChoices, history: History, page: int, feed: Feed, terminal: TopTerminal) -> TopChoices:
    """Wait for a key or news, at most half a second; the state after the keys."""
    stdin = sys.stdin.fileno()
    ready, _, _ = select.select([stdin, feed], [], [], IDLE)
    if stdin not in ready:
        return state
    for key in decode(terminal.read()):
        if key == "redraw":
            terminal.stale = True
        state = press(state, key, Seen(state.view.rows(history, state.here), page))
        if state.errand is not None or state.done:
            break
    return state


def _plainly(options: Options, state: TopChoices, feed: Feed) -> None:
    """Tables one after the other, until it is interrupted."""
    history, said, shown = History(), "", 0.0
    interval = max(options.interval, PLAIN_INTERVAL)
    feed.ask(request(state, interval, plain.LINES))
    while True:
        select.select([feed], [], [], IDLE)
        news = feed.take()
        for snapshot in news.snapshots:
            history.add(snapshot)
        if news.trouble and news.trouble != said:
            sys.stdout.write(f"algate: {news.trouble}\n")
        said = news.trouble
        if news.snapshots and time.monotonic() - shown >= interval / 2:
            shown = time.monotonic()
            size = os.get_terminal_size(sys.stdout.fileno())
            for line in plain.page(history, state, (size.columns or 80) - 1, size.lines, interval):
                sys.stdout.write(f"{line.plain}\n")
            sys.stdout.write("\n")
        sys.stdout.flush()
