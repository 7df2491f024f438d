"""The objects that verbs answer with, where they aren't rows: `status`, `explain`, `reload` and others.

The law of this file: types only; their names are a contract that scripts rely on, as those of rows.py. Times are
seconds as float, sizes bytes, unless a name says otherwise. What isn't there yet is null.
"""

from __future__ import annotations

from typing import Any, TypedDict

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


# Reasons of the kernel's for packets that are kept or come again by themselves, on a healthy gateway too: no drops.
HELD = frozenset(("punt-held", "punt-again", "expect-pending", "fragment-early"))


class DropAnswer(TypedDict):
    """Packets dropped since the maps were made, for one reason. `cure` "": nothing needs doing."""

    reason: str
    count: int
    meaning: str
    cure: str


class RefusalAnswer(TypedDict):
    """New sessions of an inside host that were refused in the last minutes: see RefusalRow in rows.py."""

    inside: str
    reason: str
    times: int
    ago: float
    has: int | None
    limit: int | None
    of: str | None
    setting: str | None


class UnconfirmedAnswer(TypedDict):
    """A reload that will be undone unless it is confirmed, in `left` seconds."""

    left: float
    changed: list[str]


class SilentAnswer(TypedDict):
    """`status` of a daemon that doesn't answer, from the kernel's tables and /proc. `state` never begins with
    "translating"; `process`: what it does, in a word; `heartbeat_age`: s since its last sign of life in the kernel;
    `helper_alive`: whether the kernel takes that for recent; what can't be read is null."""

    state: str
    pid: int | None
    process: str | None
    uptime: float | None
    run_dir: str
    lan: list[str]
    wan: str | None
    heartbeat_age: float | None
    helper_alive: bool | None
    sessions: int | None
    fail: str | None


class Ipv6Answer(TypedDict):
    """How IPv6 stands. `forwarded`: the host does, on one of the gateway's devices; `filtered`: it is now;
    `prefixes`: those behind inside devices; `nat64`: the prefix of [nat64]; `told`: all of it in a sentence."""

    forwarded: bool
    filtered: bool
    prefixes: list[str]
    nat64: str | None
    told: str


class HaAnswer(TypedDict):
    """`ha status`, and `ha` in `status`. `role`: "leads" or "stands by"; `sessions`: of the leading node, that the
    other one knows; those of control sessions apart. `commit_ms`: what the last commit took; `lag_ms`: for how long at
    most a record of another session waited for its own; `waiting`: changes that wait for the other node; `lease`: for
    how many s more the kernel gives out public ports if the daemon does nothing; `fenced`: it gives out none, since
    the other node leads, or nobody says that it doesn't; `resyncs`: how often everything was told; `failures`: why the
    other node was out of step, and how often; `problem`: why it is now."""

    node: str
    role: str
    state: str
    epoch: int | None
    sessions: int
    commit_ms: float | None
    lag_ms: float | None
    waiting: int
    lease: float
    fenced: bool
    resyncs: int
    failures: dict[str, int]
    engine: str
    peer: str
    witness: str
    when_alone: str
    problem: str


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
    ipv6: Ipv6Answer
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
    drops: list[DropAnswer]
    refused: list[RefusalAnswer]
    ha: HaAnswer | None
    unconfirmed: UnconfirmedAnswer | None
    tap: str | None
    notes: list[str]


class LeaseAnswer(TypedDict):
    """`ha status` of a gateway that shares addresses with others. `lease`: s for which it may still give out ports;
    `version`: of the table of leases; `ports`: what it has, of each address; `giving_back`: what it gives no more ports
    of; `problem`: why the lease wasn't renewed."""

    node: str
    role: str
    state: str
    lease: float
    version: int
    ports: list[str]
    giving_back: list[str]
    others: list[str]
    engine: str
    problem: str


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


class ChangeAnswer(TypedDict):
    """One key that a reload changes. `was` and `now` as in the file, null: not there; `when` it takes effect."""

    key: str
    was: Any
    now: Any
    when: str


class ReloadAnswer(TypedDict):
    """`reload`. `changed`: the keys with another value than before, and `changes`, more of each. `dry_run`: nothing was
    changed. `unconfirmed`: it is undone unless it is confirmed."""

    changed: list[str]
    changes: list[ChangeAnswer]
    dry_run: bool
    unconfirmed: UnconfirmedAnswer | None


class BenchAnswer(TypedDict):
    """`bench`, as in bench.json. `figures` by their names, each with its unit and a median by gateway."""

    machine: dict[str, Any]
    plan: dict[str, Any]
    gateways: dict[str, str]
    configuration: str
    took: dict[str, float]
    figures: dict[str, Any]
    targets: list[dict[str, Any]]


class UpgradeAnswer(TypedDict):
    """`upgrade`. `pause`: for how long no helper worked."""

    pid: int
    pause: float
