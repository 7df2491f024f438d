"""Keys, and what they do to `top`.

The law of this file: pure. A terminal's bytes in, names of keys out; a name and a state in, the next state out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from algate.alg.admin.filters import parse, read_text
from algate.alg.errors import AlgateError
from algate.cli.top import details
from algate.cli.top.all import BY_KEY
from algate.cli.top.choices import TopChoices
from algate.cli.top.views import EVERYTHING, place, window

ENTRY_MAX = 120

SEQUENCES: Mapping[bytes, str] = {
    b"\x1b[A": "up", b"\x1bOA": "up", b"\x1b[B": "down", b"\x1bOB": "down",
    b"\x1b[5~": "page-up", b"\x1b[6~": "page-down",
    b"\x1b[H": "home", b"\x1bOH": "home", b"\x1b[1~": "home", b"\x1b[F": "end", b"\x1bOF": "end", b"\x1b[4~": "end",
    b"\r": "enter", b"\n": "enter", b"\x7f": "backspace", b"\x08": "backspace", b"\x15": "kill", b"\x1b": "escape",
    b"\x03": "quit", b"\x04": "quit", b"\x0c": "redraw",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seen:
    """What is on the screen: the rows of the view, and how many lines they have."""

    rows: Sequence[Any] = ()
    page: int = 1


def decode(data: bytes) -> list[str]:
    """The keys in what was read; printable ones stand for themselves, unknown sequences are skipped."""
    keys: list[str] = []
    while data:
        for length in (4, 3, 1):
            name = SEQUENCES.get(data[:length])
            if name and len(data) >= length and not (name == "escape" and data[1:2] in (b"[", b"O")):
                keys.append(name)
                data = data[length:]
                break
        else:
            data = _other(data, keys)
    return keys


def _other(data: bytes, keys: list[str]) -> bytes:
    """Take a printable ASCII byte, or skip what can't be a key here: a foreign escape sequence, a byte of UTF-8."""
    if data.startswith((b"\x1b[", b"\x1bO")):
        end = next((at for at in range(2, len(data)) if 0x40 <= data[at] <= 0x7E), len(data) - 1)
        return data[end + 1 :]
    if 0x20 <= data[0] < 0x7F:
        keys.append(chr(data[0]))
    return data[1:]


def press(state: TopChoices, key: str, seen: Seen) -> TopChoices:
    """The state after a key."""
    if key == "quit":
        return replace(state, done=True)
    if state.entry is not None:
        return _typed(state, state.entry, key)
    if state.question is not None:
        return _answered(state, key)
    state = replace(state, note="")
    if state.help:
        return replace(state, help=False, done=key == "q")
    if state.detail is not None:
        return _in_detail(state, key, seen)
    if key in BY_KEY:
        return replace(state, name=BY_KEY[key])
    if key in MOVES:
        return _moved(state, key, seen)
    change = ACTIONS.get(key)
    return change(state, seen) if change is not None else state


def _typed(state: TopChoices, entry: str, key: str) -> TopChoices:
    """A key while the filter is being typed."""
    if key == "escape":
        return replace(state, entry=None, fault="")
    if key == "enter":
        return _accept(state, entry)
    if key == "backspace":
        return replace(state, entry=entry[:-1], fault="")
    if key == "kill":
        return replace(state, entry="", fault="")
    if len(key) == 1 and len(entry) < ENTRY_MAX:
        return replace(state, entry=entry + key, fault="")
    return state


def _accept(state: TopChoices, entry: str) -> TopChoices:
    try:
        return filtered(replace(state, entry=None, fault=""), entry)
    except AlgateError as error:
        return replace(state, fault=str(error))


def filtered(state: TopChoices, text: str) -> TopChoices:
    """With another filter in the view that is shown. AlgateError (usage) says what is wrong with it."""
    args, words = read_text(text, state.view.names)
    chosen = parse(args)
    return state.with_here(text=text.strip(), args=args, chosen=chosen, words=words, mark="", at=0, offset=0)


def _answered(state: TopChoices, key: str) -> TopChoices:
    """A key while a question is asked: anything but one of its answers is no."""
    assert state.question is not None
    errand = state.question.answers.get(key)
    return replace(state, question=None, errand=errand, note="" if errand else "nothing was ended")


def _in_detail(state: TopChoices, key: str, seen: Seen) -> TopChoices:
    detail = state.detail
    assert detail is not None
    if key in ("escape", "enter", "backspace", "q"):
        return replace(state, detail=None)
    if key in MOVES:
        offset = max(0, detail.offset + MOVES[key](seen.page, 1000))
        return replace(state, detail=replace(detail, offset=offset))
    if key == "k":
        return details.asks_to_end(state, detail.row)
    if key == "e":
        return details.opened(state, detail.row)
    return replace(state, help=True) if key == "?" else state


MOVES: Mapping[str, Callable[[int, int], int]] = {
    "up": lambda page, total: -1,
    "down": lambda page, total: 1,
    "page-up": lambda page, total: -page,
    "page-down": lambda page, total: page,
    "home": lambda page, total: -total,
    "end": lambda page, total: total,
}


def _moved(state: TopChoices, key: str, seen: Seen) -> TopChoices:
    """Select another row, and scroll so that it is seen."""
    here, total = state.here, len(seen.rows)
    if not total:
        return state
    at = max(0, min(place(state.view, here, seen.rows) + MOVES[key](seen.page, total), total - 1))
    mark = state.view.name_of(seen.rows[at]) if at else ""
    return state.with_here(at=at, mark=mark, offset=window(here, at, seen.page, total))


def _sorted(state: TopChoices, step: int) -> TopChoices:
    names = list(state.view.sorts)
    sort = names[(names.index(state.here.sort) + step) % len(names)]
    return state.with_here(sort=sort, mark="", at=0, offset=0)


def _opened(state: TopChoices, seen: Seen) -> TopChoices:
    """Enter: the selected row in full, or the sessions of a host."""
    if not seen.rows:
        return state
    row = seen.rows[place(state.view, state.here, seen.rows)]
    if state.name == "hosts" and row.inside != "others":
        return filtered(replace(state, name="sessions"), f"inside={row.inside}")
    return details.opened(state, getattr(row, "row", row))


def _ended(state: TopChoices, seen: Seen) -> TopChoices:
    """k: ask whether to end the selected session, or those of a host."""
    if not seen.rows:
        return state
    row = seen.rows[place(state.view, state.here, seen.rows)]
    return details.asks_to_end(state, getattr(row, "row", row))


def _everything(state: TopChoices, _: Seen) -> TopChoices:
    return state.with_here(text="", args={}, chosen=EVERYTHING, words=(), mark="", at=0, offset=0)


ACTIONS: Mapping[str, Callable[[TopChoices, Seen], TopChoices]] = {
    "q": lambda state, _: replace(state, done=True),
    "s": lambda state, _: _sorted(state, 1),
    "S": lambda state, _: _sorted(state, -1),
    "r": lambda state, _: state.with_here(reverse=not state.here.reverse, mark="", at=0, offset=0),
    "/": lambda state, _: replace(state, entry=state.here.text),
    "p": lambda state, _: replace(state, paused=not state.paused),
    " ": lambda state, _: replace(state, paused=not state.paused),
    "?": lambda state, _: replace(state, help=True),
    "enter": _opened,
    "k": _ended,
    "escape": _everything,
}
