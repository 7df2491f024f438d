"""Keys, and what they do to `top`.

The law of this file: pure. A terminal's bytes in, names of keys out; a name and a state in, the next state out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from algate.alg.admin.filters import Filter, parse_text
from algate.alg.errors import AlgateError
from algate.cli.top.flows import SORTS

ENTRY_MAX = 120
EVERYTHING = Filter()

SEQUENCES: Mapping[bytes, str] = {
    b"\x1b[A": "up", b"\x1bOA": "up", b"\x1b[B": "down", b"\x1bOB": "down",
    b"\x1b[5~": "page-up", b"\x1b[6~": "page-down",
    b"\x1b[H": "home", b"\x1bOH": "home", b"\x1b[1~": "home", b"\x1b[F": "end", b"\x1bOF": "end", b"\x1b[4~": "end",
    b"\r": "enter", b"\n": "enter", b"\x7f": "backspace", b"\x08": "backspace", b"\x15": "kill", b"\x1b": "escape",
    b"\x03": "quit", b"\x04": "quit",
}  # fmt: skip

HELP = (
    ("q", "quit"),
    ("s", "sort by " + ", ".join(SORTS)),
    ("r", "reverse the order"),
    ("/", "filter: any words, or proto= state= inside= outside= alg="),
    ("", "such as: proto=tcp inside=10.0.0.0/24 outside=:21"),
    ("Esc", "show all again"),
    ("p, Space", "pause and resume"),
    ("arrows", "scroll, as do PgUp, PgDn, Home and End"),
    ("?", "this help"),
    ("", ""),
    ("exp", "an expectation, under its control session"),
    ("LEFT", "time until it expires if nothing comes"),
)


@dataclass(frozen=True, slots=True)
class TopChoices:
    """What the operator chose. `entry`: the filter line being typed, or None; `fault`: what is wrong with it."""

    sort: str = "rate"
    reverse: bool = False
    text: str = ""
    chosen: Filter = EVERYTHING
    words: tuple[str, ...] = ()
    entry: str | None = None
    fault: str = ""
    paused: bool = False
    help: bool = False
    offset: int = 0
    done: bool = False


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


def press(state: TopChoices, key: str, page: int, total: int) -> TopChoices:
    """The state after a key. `page`: lines that the table shows; `total`: lines that it has."""
    if key == "quit":
        return replace(state, done=True)
    if state.entry is not None:
        return _typed(state, state.entry, key)
    if state.help:
        return replace(state, help=False, done=key == "q")
    change = ACTIONS.get(key)
    if change is not None:
        return change(state)
    steps = {"up": -1, "down": 1, "page-up": -page, "page-down": page, "home": -total, "end": total}
    if key in steps:
        return replace(state, offset=max(0, min(state.offset + steps[key], total - page)))
    return state


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
        chosen, words = parse_text(entry)
    except AlgateError as error:
        return replace(state, fault=str(error))
    return replace(state, entry=None, fault="", text=entry.strip(), chosen=chosen, words=words, offset=0)


def _next_sort(state: TopChoices) -> TopChoices:
    names = list(SORTS)
    return replace(state, sort=names[(names.index(state.sort) + 1) % len(names)], offset=0)


ACTIONS: Mapping[str, Callable[[TopChoices], TopChoices]] = {
    "q": lambda state: replace(state, done=True),
    "s": _next_sort,
    "r": lambda state: replace(state, reverse=not state.reverse, offset=0),
    "/": lambda state: replace(state, entry=state.text),
    "p": lambda state: replace(state, paused=not state.paused),
    " ": lambda state: replace(state, paused=not state.paused),
    "?": lambda state: replace(state, help=True),
    "escape": lambda state: replace(state, text="", chosen=EVERYTHING, words=(), offset=0),
}
