"""The view of sessions: control sessions with their expectations and data connections under them.

The law of this file: pure. related_to and control make the tree; rates come from the history.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from algate.alg.admin.filters import NAMES, SECONDS, insides, outsides
from algate.alg.rows import SESSION_STATES, ExpectationRow, SessionRow
from algate.cli.grid import Column
from algate.cli.text import NONE, bit_rate, duration, scaled, size
from algate.cli.top.history import NO_RATE, History, Rate
from algate.cli.top.views import Lane, TopView, ViewChoices, address, wanted
from algate.cli.view import state_style

FlowRow = SessionRow | ExpectationRow
END = 21  # "255.255.255.255:65535"


@dataclass(frozen=True, slots=True)
class TopFlow:
    """A line of the tree. `last`: no sibling follows; meaningful at depth 1."""

    row: FlowRow
    depth: int = 0
    last: bool = False
    rate: Rate = NO_RATE


def tree(history: History, choices: ViewChoices) -> list[TopFlow]:
    """Control sessions with what belongs to them, everything else at the top level.

    A group is kept if any of its rows is wanted, and placed by the row that sorts first.
    """
    tops, children = _related(history)
    key, reverse = VIEW.sorts[choices.sort], choices.reverse
    groups = []
    for top in tops:
        under = sorted(children.get(top.row.id, ()), key=key, reverse=reverse)
        if any(wanted(flow.row, choices) for flow in (top, *under)):
            groups.append((top, under))
    foremost = max if reverse else min
    groups.sort(key=lambda group: foremost(map(key, (group[0], *group[1]))), reverse=reverse)
    return [flow for top, under in groups for flow in (top, *_marked(under))]


def _related(history: History) -> tuple[list[TopFlow], dict[str, list[TopFlow]]]:
    """The top level, and what is under each of it by its id."""
    now = history.now
    known = {row.id for row in now.sessions}
    children: dict[str, list[TopFlow]] = defaultdict(list)
    tops: list[TopFlow] = []
    rows: tuple[FlowRow, ...] = (*now.expectations, *now.sessions)
    for row in rows:
        parent = row.control if isinstance(row, ExpectationRow) else row.related_to
        rate = history.session_rate(row) if isinstance(row, SessionRow) else NO_RATE
        if parent is not None and parent in known and parent != row.id:
            children[parent].append(TopFlow(row, depth=1, rate=rate))
        else:
            tops.append(TopFlow(row, rate=rate))
    return tops, children


def _marked(under: Sequence[TopFlow]) -> list[TopFlow]:
    return [replace(flow, depth=1, last=number == len(under) - 1) for number, flow in enumerate(under)]


def kind(flow: TopFlow) -> str:
    """What a line is, behind its branch of the tree."""
    branch = ("└ " if flow.last else "├ ") if flow.depth else ""
    return branch + ("exp" if isinstance(flow.row, ExpectationRow) else flow.row.alg or flow.row.proto)


def _mapped(flow: TopFlow) -> str | None:
    return flow.row.public if isinstance(flow.row, ExpectationRow) else flow.row.mapped


def _of(show: Callable[[SessionRow], str]) -> Callable[[TopFlow], str]:
    return lambda flow: show(flow.row) if isinstance(flow.row, SessionRow) else ""


def _number(count: Callable[[SessionRow], float]) -> Callable[[TopFlow], float]:
    """The largest first; expectations have nothing."""
    return lambda flow: -count(flow.row) if isinstance(flow.row, SessionRow) else 0.0


def _rate(octets_per_second: float) -> str:
    return bit_rate(octets_per_second) if octets_per_second >= 0.5 else ""


def _state(flow: TopFlow) -> int:
    state = flow.row.state
    return SESSION_STATES.index(state) if state in SESSION_STATES else len(SESSION_STATES)


def _age(flow: TopFlow) -> float:
    """The youngest first."""
    return flow.row.age if isinstance(flow.row, SessionRow) else 0.0


# fmt: off
FIELDS = (
    Lane(Column("FLOW", kind, style=lambda flow: "cyan" if flow.row.alg else ""), 6,
          "flow", lambda flow: (flow.row.alg or "~", flow.row.proto)),
    Lane(Column("STATE", lambda flow: flow.row.state, style=lambda flow: state_style(flow.row)), 11, "state", _state),
    Lane(Column("INSIDE", lambda flow: insides(flow.row)[0] or NONE), END,
          "inside", lambda flow: address(insides(flow.row)[0])),
    Lane(Column("OUTSIDE", lambda flow: outsides(flow.row)[0] or NONE), END,
          "outside", lambda flow: address(outsides(flow.row)[0])),
    Lane(Column("MAPPED", lambda flow: _mapped(flow) or NONE, 2), END,
          "mapped", lambda flow: address(_mapped(flow))),
    Lane(Column("RATE", lambda flow: _rate(sum(flow.rate)), right=True), 9, "rate", lambda flow: -sum(flow.rate)),
    Lane(Column("RATE OUT", lambda flow: _rate(flow.rate.out), 6, right=True), 9,
          "rate-out", lambda flow: -flow.rate.out),
    Lane(Column("RATE IN", lambda flow: _rate(flow.rate.into), 6, right=True), 9,
          "rate-in", lambda flow: -flow.rate.into),
    Lane(Column("OUT", _of(lambda row: size(row.bytes_out)), 3, right=True), 7,
          "out", _number(lambda row: row.bytes_out)),
    Lane(Column("IN", _of(lambda row: size(row.bytes_in)), 3, right=True), 7,
          "in", _number(lambda row: row.bytes_in)),
    Lane(Column("AGE", _of(lambda row: duration(row.age)), 0, right=True), 6, "age", _age),
    Lane(Column("LEFT", lambda flow: duration(flow.row.expires_in), 1, right=True), 6,
          "expires", lambda flow: flow.row.expires_in),
    Lane(Column("PACKETS", _of(lambda row: scaled(row.packets_out + row.packets_in)), 5, right=True), 7,
          "packets", _number(lambda row: row.packets_out + row.packets_in)),
    Lane(Column("ID", lambda flow: flow.row.id, 7, style="dim"), 16, "id", lambda flow: flow.row.id),
)
# fmt: on
VIEW = TopView(
    "1",
    "sessions",
    FIELDS,
    "rate",
    tree,
    lambda flow: str(flow.row.id),
    (*NAMES, *SECONDS),
    "no sessions",
    {"bytes": _number(lambda row: row.bytes_out + row.bytes_in)},
    panes=True,
)  # fmt: skip
