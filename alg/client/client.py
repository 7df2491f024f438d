"""The typed client of one daemon.

The law of this file: a method per verb, its arguments as the daemon takes them, its answer typed. It checks nothing
that the daemon checks: whatever is wrong comes back as a ControlError with one clear line and the command's exit code.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack, cast

from algate.alg.admin import control
from algate.alg.answers import ExplainAnswer, HaAnswer, ReloadAnswer, StatusAnswer
from algate.alg.rows import (
    LOST,
    AllowRow,
    EventRow,
    ExpectationRow,
    ForwardRow,
    GroupRow,
    HolderRow,
    HostRow,
    MappingRow,
    PortRow,
    Row,
    SessionEventRow,
    SessionRow,
    SettingRow,
)

R = TypeVar("R", bound=Row)
DEFAULT_RUN_DIR = Path("/run/algate")
SECONDS = 60.0  # for an answer


class Chosen(TypedDict, total=False):
    """Which rows: as the command's options of the same names; "tcp,udp" is either. `idle`, `age`: seconds at least.
    `forward`: "tcp/8080", what came by it, or "any"."""

    proto: str
    state: str
    inside: str
    outside: str
    alg: str
    related_to: str
    idle: float
    age: float
    forward: str


class Ordered(Chosen, total=False):
    """Which rows, and the first `limit` by `sort`: rate, bytes, packets, age or idle, the largest first."""

    limit: int
    sort: str
    reverse: bool


class HostsOrdered(TypedDict, total=False):
    """Which hosts, and the first `limit` by `sort`: rate, sessions, ports, new, refused or oldest."""

    inside: str
    limit: int
    sort: str
    reverse: bool


class PortsOrdered(TypedDict, total=False):
    """Which ports, and the first `limit` by `sort`: fill, used, free, held_down or reserved. `outside`: the address."""

    proto: str
    outside: str
    limit: int
    sort: str
    reverse: bool


class Client:
    """The daemon of a run directory: ALGATE_RUN_DIR, or /run/algate.

    Each call is a connection of its own, and nothing is kept open. Lists come row by row while the daemon walks its
    tables. Raises ControlError: no daemon, no permission (exit code 3), wrong arguments (2), or refused (1);
    SilentError as soon as it is known that the daemon hangs, after 2 to 4 s, or if nothing comes in time.
    """

    def __init__(self, run_dir: Path | str | None = None, seconds: float = SECONDS) -> None:
        """`seconds`: how long an answer may take."""
        self.run_dir = Path(run_dir or os.environ.get("ALGATE_RUN_DIR") or DEFAULT_RUN_DIR)
        self.seconds = seconds

    def there(self) -> bool:
        """Whether a daemon has a socket there, or nobody without permission can know."""
        try:
            return control.socket_path(self.run_dir).exists()
        except PermissionError:
            return True

    def may_change(self) -> bool:
        """Whether the daemon would let this process change anything, as far as can be known beforehand."""
        try:
            return os.geteuid() in (0, control.socket_path(self.run_dir).stat().st_uid)
        except OSError:
            return True

    def _hung(self) -> str:
        from algate.alg.admin import silence

        return silence.hung(self.run_dir)

    def ask(self, verb: str, args: Mapping[str, Any] | None = None, seconds: float | None = None) -> Any:
        """The answer to any verb, as it is."""
        return control.request(self.run_dir, verb, args, seconds or self.seconds, self._hung)

    def rows(self, verb: str, args: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """The rows of any listing as JSON objects, one by one as they arrive."""
        return control.rows(self.run_dir, verb, args, self.seconds, self._hung)

    def packed(self, verb: str, args: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """Sessions as they are in memory: see control.packed."""
        return control.packed(self.run_dir, verb, args or {}, self.seconds, self._hung)

    def listed(self, verb: str, kind: type[R], args: Mapping[str, Any] | None = None) -> Iterator[R]:
        """The rows of any listing, typed."""
        return map(kind.read, self.rows(verb, args))

    def told(self, verb: str, args: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """What any streaming verb sends, until the daemon ends it or you close the iterator."""
        return control.stream(self.run_dir, verb, args)

    def status(self) -> StatusAnswer:
        """The daemon, its devices and its key figures. Works at any moment of its life. SilentError after 2 s."""
        return cast(StatusAnswer, self.ask("status", seconds=min(self.seconds, control.SOON)))

    def settings(self) -> Iterator[SettingRow]:
        """Every key of the configuration in force, its value and where it comes from."""
        return self.listed("settings", SettingRow)

    def stats(self) -> dict[str, float]:
        """Every counter by its metric name, with labels as in the exposition format."""
        return dict(self.ask("stats"))

    def sessions(self, **wanted: Unpack[Ordered]) -> Iterator[SessionRow]:
        """Conversations through the gateway."""
        return self.listed("sessions", SessionRow, wanted)

    def mappings(self, **wanted: Unpack[Ordered]) -> Iterator[MappingRow]:
        """Inside end points and the public ones that stand for them."""
        return self.listed("mappings", MappingRow, wanted)

    def expectations(self, **wanted: Unpack[Ordered]) -> Iterator[ExpectationRow]:
        """Data connections that may come."""
        return self.listed("expectations", ExpectationRow, wanted)

    def forwards(self, **wanted: Unpack[Ordered]) -> Iterator[ForwardRow]:
        """Servers inside that the outside may reach."""
        return self.listed("forward-list", ForwardRow, wanted)

    def hosts(self, **wanted: Unpack[HostsOrdered]) -> Iterator[HostRow]:
        """Inside hosts; takes a second, of which the rates are."""
        return self.listed("hosts", HostRow, wanted)

    def ports(self, **wanted: Unpack[PortsOrdered]) -> Iterator[PortRow]:
        """What is left of the public ports, by address and protocol."""
        return self.listed("ports", PortRow, wanted)

    def count(self, verb: str = "sessions", **wanted: Unpack[Chosen]) -> int:
        """How many rows of a listing there are."""
        return int(self.ask(verb, {**wanted, "count": True})["count"])

    def groups(self, by: str, verb: str = "sessions", **wanted: Unpack[Ordered]) -> Iterator[GroupRow]:
        """Rows of a listing, summed up by host, remote, port, alg, state or forward."""
        return self.listed(verb, GroupRow, {**wanted, "by": by})

    def follow(
        self,
        event: str = "",
        reason: str = "",
        inside: str = "",
        outside: str = "",
        alg: str = "",
        related_to: str = "",
    ) -> Iterator[EventRow]:
        """Events as they happen, from now on; who reads too slowly gets an event "events-lost" for what it missed."""
        given = {"event": event, "reason": reason, "inside": inside, "outside": outside, "alg": alg}
        wanted = {name: value for name, value in (given | {"related_to": related_to}).items() if value}
        return map(EventRow.read, self.told("follow", wanted))

    def follow_sessions(self, **chosen: Unpack[Chosen]) -> Iterator[SessionEventRow | EventRow]:
        """Sessions as they are made and ended, from now on; an event "events-lost" stands for what was missed."""
        for some in self.told("follow", {**chosen, "sessions": True}):
            for one in some:
                yield (EventRow if one["event"] == LOST else SessionEventRow).read(one)

    def whose(self, public: str) -> list[HolderRow]:
        """The inside end points behind the public one "203.0.113.7:40001" at this moment."""
        return [HolderRow.read(one) for one in self.ask("whose", {"public": public})["holders"]]

    def explain(self, *subject: str) -> ExplainAnswer:
        """Why something hangs or was refused: a session's id, a host, or one or two end points "10.0.0.2:40001"."""
        return cast(ExplainAnswer, self.ask("explain", {"subject": list(subject)}))

    def forward_add(
        self, proto: str, wan_port: int | str, to: str, sources: Sequence[str] = (), alg: str = "", save: bool = False
    ) -> ForwardRow:
        """Add a forward until it is deleted or `algate down`. `save`: it is in the configuration file too (the asker
        has written it there)."""
        table = {"proto": proto, "wan_port": str(wan_port), "to": to, "from": list(sources), "alg": alg}
        return ForwardRow.read(self.ask("forward-add", {**table, "save": True} if save else table))

    def forward_del(self, proto: str, wan_port: int | str, kill: bool = False) -> int | None:
        """End a forward; its sessions go on, unless `kill` ends them: how many there were, else None."""
        answer = self.ask("forward-del", {"proto": proto, "wan_port": str(wan_port), "kill": kill})
        ended: int | None = answer.get("ended")
        return ended

    def allowed(self, **wanted: Unpack[Ordered]) -> Iterator[AllowRow]:
        """Services of inside IPv6 hosts that the outside may open."""
        return self.listed("allow-list", AllowRow, wanted)

    def allow_add(
        self, proto: str, port: int | str, to: str, sources: Sequence[str] = (), save: bool = False
    ) -> AllowRow:
        """Let the outside open a service of an inside IPv6 host, until it is deleted or `algate down`. `save`: it is in
        the configuration file too (the asker has written it there)."""
        table = {"proto": proto, "port": str(port), "to": to, "from": list(sources)}
        return AllowRow.read(self.ask("allow-add", {**table, "save": True} if save else table))

    def allow_del(self, proto: str, port: int | str, to: str) -> None:
        """Let it in no more; its sessions go on."""
        self.ask("allow-del", {"proto": proto, "port": str(port), "to": to})

    def kill(
        self, ids: Sequence[str] = (), reset: bool = False, dry_run: bool = False, **chosen: Unpack[Chosen]
    ) -> list[SessionRow]:
        """End sessions by id or by filter; the rows of those that ended. `reset`: tell both ends of control sessions.
        `dry_run`: only say which."""
        args = {**chosen, "ids": list(ids), "reset": reset, "dry_run": dry_run}
        return [SessionRow.read(one) for one in self.ask("kill", args)]

    def reload(self, dry_run: bool = False, seconds: float | None = None, confirm: bool = False) -> ReloadAnswer:
        """Have the daemon read its configuration again. `dry_run`: only say what would change. `seconds`: undo it after
        that time, unless it is confirmed by another call with `confirm`."""
        given = {"dry_run": dry_run or None, "seconds": seconds, "confirm": confirm or None}
        return cast(ReloadAnswer, self.ask("reload", {name: one for name, one in given.items() if one is not None}))

    def ha_status(self) -> HaAnswer:
        """Whether this gateway leads or stands by; AlgateError if it has no second one."""
        return cast(HaAnswer, self.ask("ha-status", seconds=min(self.seconds, control.SOON)))

    def down(self, purge: bool = False) -> None:
        """Detach the gateway from its devices and end the daemon; `purge`: forget the sessions too."""
        self.ask("down", {"purge": purge})
