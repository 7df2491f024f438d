"""The objects that verbs answer with, where they aren't rows: `status`, `explain`, `reload` and others.

The law of this file: types only; their names are a contract that scripts rely on, as those of rows.py. Times are
seconds as float, sizes bytes, unless a name says otherwise. What isn't there yet is null.
"""

from __future__ import annotations

from typing import TypedDict

SCHEMA = 1
"""In every JSON object that a verb prints: names may be added to it; if one goes or changes its meaning, this grows."""


class PluginAnswer(TypedDict):
    """A plug-in in `status`. `origin`: the package that brought it; `ports`: those that are watched."""

    name: str
    enabled: bool
    transport: str
    ports: list[int]
    origin: str


class AmissAnswer(TypedDict):
    """Something amiss with the host around the gateway, and what to do."""

    what: str
    detail: str
    fix: str


class StatusAnswer(TypedDict):
    """`status`. `sessions` is the kernel's count of the moment; `uptime` in seconds, `control_memory` in bytes."""

    state: str
    version: str
    build: str
    pid: int
    uptime: float
    run_dir: str
    config: str | None
    lan: list[str]
    wan: str
    addresses: list[str]
    datapath: str | None
    datapath_why: dict[str, str]
    sessions: int
    max_sessions: int
    control_sessions: int
    control_memory: int
    plugins: list[PluginAnswer]
    fail: str
    headers: str | None
    pins: str | None
    amiss: list[AmissAnswer]
    tap: str | None
    notes: list[str]


class CountAnswer(TypedDict):
    """A listing with `--count`."""

    count: int


class FindingAnswer(TypedDict):
    """One thing that `explain` found. `verdict` as in ExplainAnswer, `topic` for machines."""

    verdict: str
    topic: str
    text: str
    fix: str


class ExplainAnswer(TypedDict):
    """`explain`. `verdict`: blocked, refused, waiting, working, ended or unknown, that of the first finding."""

    subject: str
    verdict: str
    findings: list[FindingAnswer]


class ReloadAnswer(TypedDict):
    """`reload`. `changed`: the keys with another value than before."""

    changed: list[str]


class UpgradeAnswer(TypedDict):
    """`upgrade`. `pause`: for how long no helper worked."""

    pid: int
    pause: float
