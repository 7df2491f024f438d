"""One row in full, with what `explain` says of it, and the question before anything ends.

The law of this file: pure. A row and a state in, lines or the next state out; what is to be asked is an TopErrand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.text import Text

from algate.alg.rows import EventRow, ExpectationRow, HostRow, SessionRow
from algate.cli import view
from algate.cli.text import NONE, bit_rate, duration, field, printable, scaled, size
from algate.cli.top.choices import Detail, Question, TopChoices, TopErrand
from algate.cli.top.drops import DropRow
from algate.cli.top.happenings import clock
from algate.cli.top.history import History

ROOM = 14  # cells for names
PLURAL = {"data connection": "data connections", "expectation": "expectations", "session": "sessions"}


def opened(state: TopChoices, row: Any) -> TopChoices:
    """Show a row in full, and have it explained."""
    subject = row.control if isinstance(row, ExpectationRow | EventRow) else getattr(row, "id", None)
    detail = Detail(subject or "", row)
    if subject is None:
        return replace(state, detail=detail)
    errand = TopErrand("explain", "explain", {"subject": [subject]}, subject)
    return replace(state, detail=replace(detail, lines=None), errand=errand)


def asks_to_end(state: TopChoices, row: Any) -> TopChoices:
    """Find out what would end; the answer becomes a question."""
    if isinstance(row, SessionRow | HostRow) and state.barred:
        return replace(state, note=state.barred)
    if isinstance(row, SessionRow):
        args: dict[str, Any] = {"ids": [row.id], "proto": row.proto, "inside": row.inside, "outside": row.outside}
        return replace(state, errand=TopErrand("may-end", "kill", {**args, "dry_run": True}, row.id), note="asking …")
    if isinstance(row, HostRow) and row.inside != "others":
        args = {"inside": row.inside, "count": True}
        return replace(state, errand=TopErrand("may-end", "sessions", args, row.inside), note="asking …")
    return replace(state, note="only sessions can be ended: select one in view 1, or a host in view 2")


def answered(state: TopChoices, errand: TopErrand, answer: Any, history: History) -> TopChoices:
    """The state when the daemon has answered. `answer`: an object, or (how many, the first rows) of a listing."""
    if errand.why == "explain":
        if state.detail is None or state.detail.name != errand.about:
            return state
        return replace(state, detail=replace(state.detail, lines=view.explanation(answer)))
    if errand.why == "may-end":
        question = _of_host(errand, answer) if errand.verb == "sessions" else _of_session(errand, answer, history)
        return replace(state, question=question, note="" if question else "there is nothing to end any more")
    number, rows = answer
    what = f": {_whom(rows[0])}" if number == 1 else ""
    return replace(state, note=f"{_count(number, 'session')} ended{what}")


def failed(state: TopChoices, errand: TopErrand, error: str) -> TopChoices:
    """The state when it refused."""
    if errand.why == "explain" and state.detail is not None and state.detail.name == errand.about:
        return replace(state, detail=replace(state.detail, lines=[Text(printable(error), "red")]))
    return replace(state, note=error)


def _of_host(errand: TopErrand, answer: Mapping[str, Any]) -> Question | None:
    number = int(answer["count"])
    if not number:
        return None
    kill = TopErrand("end", "kill", {"inside": errand.about}, errand.about)
    return Question(f"End all {_count(number, 'session')} of {errand.about}?  y/n", {"y": kill})


def _of_session(errand: TopErrand, answer: tuple[int, Sequence[SessionRow]], history: History) -> Question | None:
    number, rows = answer
    if not number:
        return None
    row = rows[0]
    args = {name: value for name, value in errand.args.items() if name != "dry_run"}
    answers = {"y": TopErrand("end", "kill", args, row.id)}
    text = f"End {_whom(row)}"
    if not row.alg:
        return Question(f"{text}?  y/n", answers)
    expected = sum(one.control == row.id for one in history.now.expectations)
    under = sum(one.related_to == row.id for one in history.now.sessions)
    if expected:
        text += f" and {_count(expected, 'expectation')}"
    if under:
        text += f" ({_count(under, 'data connection')} {'goes' if under == 1 else 'go'} on)"
    answers["r"] = TopErrand("end", "kill", {**args, "reset": True}, row.id)
    return Question(f"{text}?  y/n, r: and reset both ends", answers)


def _whom(row: SessionRow) -> str:
    return f"{row.alg or row.proto} {row.inside} → {row.outside}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what if number == 1 else PLURAL[what]}"


def lines(detail: Detail, history: History) -> list[Text]:
    """The row as it is now, and its explanation."""
    row = next((one for one in history.now.sessions if one.id == detail.name), detail.row)
    if isinstance(detail.row, EventRow | ExpectationRow):
        row = detail.row
    made = [Text(title(row), "bold")]
    made += [
        Text.assemble((f"  {name:<{ROOM}}", "dim"), printable(value), no_wrap=True)
        for name, value in facts(row, history)
        if value not in ("", NONE)
    ]
    if isinstance(row, SessionRow) and history.now.view == "sessions" and row not in history.now.sessions:
        made.append(Text("  it has ended", "yellow"))
    if detail.lines is None:
        made += [Text(), Text("explain: asking …", "dim")]
    elif detail.lines:
        made += [Text(), Text("explain", "bold"), *detail.lines]
    return made


def title(row: Any) -> str:
    """What a row is."""
    match row:
        case SessionRow():
            return f"session {row.id}"
        case ExpectationRow():
            return f"expectation {row.id}"
        case EventRow():
            return f"event {printable(row.event)}"
        case DropRow():
            return f"{row.kind} {printable(row.reason)}"
    return type(row).__name__.removesuffix("Row").lower()


def facts(row: Any, history: History) -> list[tuple[str, str]]:
    """Names and values of a row, for people."""
    if isinstance(row, SessionRow):
        rate = history.session_rate(row)
        return [
            ("protocol", row.proto), ("state", row.state), ("alg", row.alg or NONE), ("inside", row.inside),
            ("outside", row.outside), ("mapped", row.mapped or "not translated"),
            ("belongs to", row.related_to or NONE),
            ("out", f"{size(row.bytes_out)} in {scaled(row.packets_out)} packets, {bit_rate(rate.out)}"),
            ("in", f"{size(row.bytes_in)} in {scaled(row.packets_in)} packets, {bit_rate(rate.into)}"),
            ("age", duration(row.age)), ("expires in", duration(row.expires_in)),
        ]  # fmt: skip
    if isinstance(row, DropRow):
        return [
            ("what it is", row.text), ("what to do", row.cure), ("total", f"{row.total:,.0f}"),
            ("rate", f"{row.rate:.1f}/s"),
        ]  # fmt: skip
    if isinstance(row, EventRow):
        told = [("time", clock(row.time)), ("alg", row.alg or NONE), ("what", row.detail), ("reason", row.reason),
                ("control", row.control or NONE)]  # fmt: skip
        return told + [(str(name), field(value)) for name, value in row.fields.items()]
    return [(name.replace("_", " "), field(value)) for name, value in row.as_dict().items()]
