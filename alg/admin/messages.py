"""What goes over the control socket, as bytes: one JSON line for a request, JSON lines for its answer.

The law of this file: values into lines and back; no socket, no loop, no verb.

A request is `{"verb": "...", "args": {...}}` and a newline, one per connection. Answers are `{"ok": true, "data": ...}`
(once, or repeatedly for a streaming verb until either end closes) or `{"ok": false, "error": ..., "exit": n}`. Who asks
for sessions with `"packed": true` gets `{"ok": true, "packed": HEAD}` and a newline, then parts: a JSON line with
`bytes`, and so many bytes; `bytes` 0 ends it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from algate.alg.errors import USAGE, AlgateError

PIECE = 256  # rows of a long answer encoded at a time
LIST_BEGINS = b'{"ok": true, "data": ['
PACKED_BEGINS = b'{"ok": true, "packed": '


class ControlError(AlgateError):
    """The daemon refused, or isn't there."""


class Rows:
    """An answer that is one long list, made piece by piece (pieces may be empty) while it is sent."""

    def __init__(self, pieces: Iterable[list[Any]]) -> None:
        self.pieces = pieces


@dataclass(frozen=True, slots=True)
class PackedPart:
    """Some of a packed answer: what is said about it, and the bytes."""

    about: Mapping[str, Any]
    raw: bytes


class Packed:
    """An answer of bytes whose meaning its head explains, made part by part (None: nothing yet) while it is sent."""

    def __init__(self, head: Mapping[str, Any], parts: Iterable[PackedPart | None]) -> None:
        self.head, self.parts = head, parts


def request(verb: str, args: Mapping[str, Any]) -> bytes:
    """The line of a request."""
    return _json({"verb": verb, "args": dict(args)}) + b"\n"


def read_request(line: bytes) -> tuple[str, dict[str, Any]]:
    """Verb and args; ControlError (usage) for anything that isn't a request."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise ControlError("the request is not JSON", USAGE) from None
    verb = request.get("verb") if isinstance(request, dict) else None
    args = request.get("args", {}) if isinstance(request, dict) else None
    if not isinstance(verb, str) or not isinstance(args, dict):
        raise ControlError('the request is not {"verb": "...", "args": {...}}', USAGE)
    return verb, args


def answer(data: Any) -> Iterator[bytes]:
    """One line; a long list in pieces (some may be empty), so that a million rows don't block the daemon's loop."""
    if isinstance(data, list):
        whole = data
        data = Rows(whole[start : start + PIECE] for start in range(0, len(whole), PIECE))
    if isinstance(data, Packed):
        yield from _packed(data)
        return
    if not isinstance(data, Rows):
        yield b'{"ok": true, "data": ' + _json(data) + b"}\n"
        return
    between = LIST_BEGINS
    for piece in data.pieces:
        yield between + _json(piece)[1:-1] if piece else b""
        between = b", " if piece else between
    yield (LIST_BEGINS if between is LIST_BEGINS else b"") + b"]}\n"


def _packed(data: Packed) -> Iterator[bytes]:
    """The head, and before each part's bytes a line that says how many they are; a line of 0 bytes ends it."""
    yield PACKED_BEGINS + _json(data.head) + b"}\n"
    for part in data.parts:
        yield b"" if part is None else _json({**part.about, "bytes": len(part.raw)}) + b"\n" + part.raw
    yield b'{"bytes": 0}\n'


def refusal(message: str, exit_code: int) -> bytes:
    """The line of a refusal."""
    return _json({"ok": False, "error": message, "exit": exit_code}) + b"\n"


def read_answer(line: bytes) -> Any:
    """The data of an answer line; ControlError if it is a refusal."""
    try:
        answer = json.loads(line)
        if answer["ok"]:
            return answer["data"]
        message, code = str(answer["error"]), int(answer["exit"])
    except (ValueError, TypeError, KeyError):
        raise ControlError("the daemon's answer can't be understood: it may be a different version") from None
    raise ControlError(message, code)


def read_packed(line: bytes) -> dict[str, Any]:
    """The head of a packed answer, or a part's line; ControlError if it is a refusal."""
    try:
        answer = json.loads(line)
        if answer.get("ok", True):
            found: dict[str, Any] = answer.get("packed", answer)
            return found
        message, code = str(answer["error"]), int(answer["exit"])
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ControlError("the daemon's answer can't be understood: it may be a different version") from None
    raise ControlError(message, code)


def read_items(more: Callable[[], bytes]) -> Iterator[Any]:
    """The items of a list, one by one while it arrives; `more` waits for bytes, and raises if none will come.

    An item begins after `before`; the list may end there instead, or a line may report a failure.
    """
    decoder, text, at = json.JSONDecoder(), "", 0
    before = first = LIST_BEGINS.decode()
    while True:
        begins = text.startswith(before, at)
        if text.startswith("]}\n", at + (len(before) if begins else 0)) and (begins or before != first):
            return
        if begins:
            with contextlib.suppress(json.JSONDecodeError):  # cut off: the rest is still to come
                item, at = decoder.raw_decode(text, at + len(before))
                before = ", "
                yield item
                continue
        elif text.endswith("\n"):
            read_answer(text[at:].encode())
        text, at = text[at:] + more().decode("ascii", "replace"), 0


def _json(data: Any) -> bytes:
    """ASCII; rows and other records by their as_dict, sets of addresses and the like by their text."""
    return json.dumps(data, default=lambda one: one.as_dict() if hasattr(one, "as_dict") else str(one)).encode()
