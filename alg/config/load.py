"""The configuration: every section, key, type and default, and what must hold between them.

The law of this file: declarations, and checks that need no kernel, device or clock (a device's existence and its
addresses are the service's to check). `load` returns a whole valid Config or raises ConfigError with all that is wrong.
"""

# ruff: noqa: RUF009 -- `option` and `required` make dataclass fields
from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import MappingProxyType
from typing import Any

from algate.alg.config.conflicts import conflicts, forward_conflicts
from algate.alg.plugin.model import EndPoint
from algate.alg.plugin.policy import BUILT_IN, FtpPolicy, Policy, read_policy
from algate.alg.plugin.schema import ConfigError, Problem, keys, nearest, option, printable, read_table, required
from algate.alg.plugin.values import (  # fmt: skip
    PortRange,
    Service,
    boolean,
    device,
    end_point,
    integer,
    list_of,
    listen_point,
    mss_clamp,
    network,
    one_of,
    port_range,
    public_address,
    seconds,
    service,
    text,
)

LANS_MAX = 16  # MAX_LANS, abi.h
ADDRESSES_MAX = 16  # MAX_PUBLIC, abi.h
FORWARDS_MAX = 1024  # MAX_FORWARDS, abi.h
NAME_MAX = 32
COUNT_MAX = (1 << 32) - 1
DATAPATHS = ("auto", "tc", "xdp", "xdp-generic")

__all__ = ["Config", "ConfigError", "Forward", "Problem", "load", "loads", "reread", "with_forward"]


@dataclass(frozen=True, slots=True)
class Gateway:
    """The devices. `lan` in the order given, at least one; `wan` one."""

    lan: tuple[str, ...] = option((), list_of(device, LANS_MAX))
    wan: str = option("", device)
    datapath: str = option("auto", one_of(*DATAPATHS))


@dataclass(frozen=True, slots=True)
class Nat:
    """How addresses are translated. Limits of 0 are none; `mss_clamp` is "off", "auto" or bytes."""

    addresses: tuple[IPv4Address, ...] = option((), list_of(public_address, ADDRESSES_MAX))
    mapping: str = option("endpoint-independent", one_of("endpoint-independent", "address-and-port-dependent"))
    filtering: str = option(
        "address-and-port-dependent",
        one_of("endpoint-independent", "address-dependent", "address-and-port-dependent"),
    )
    ports: PortRange = option(PortRange(1024, 65535), port_range())
    port_parity: bool = option(False, boolean)
    hairpin: bool = option(True, boolean)
    hold_down: float = option(120.0, seconds(0))
    exempt: tuple[IPv4Network, ...] = option((), list_of(network))
    mss_clamp: int | str = option("off", mss_clamp)
    max_sessions: int = option(1048576, integer(1, 1 << 26))
    max_sessions_per_host: int = option(0, integer(0, COUNT_MAX))
    max_ports_per_host: int = option(0, integer(0, COUNT_MAX))
    new_sessions_per_second: int = option(0, integer(0, COUNT_MAX))


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Idle seconds until a session ends: RFC 5382 REQ-5, RFC 7857 section 2, RFC 4787 REQ-5, RFC 5508 REQ-2."""

    tcp_established: float = option(7440.0, seconds(0.01))
    tcp_transitory: float = option(240.0, seconds(0.01))
    tcp_opening: float = option(240.0, seconds(0.01))
    tcp_closing: float = option(240.0, seconds(0.01))
    tcp_reset: float = option(240.0, seconds(0.01))
    udp: float = option(300.0, seconds(0.01))
    icmp: float = option(60.0, seconds(0.01))


@dataclass(frozen=True, slots=True)
class Firewall:
    """What may be opened from inside; empty: everything."""

    allow_out: tuple[Service, ...] = option((), list_of(service))


@dataclass(frozen=True, slots=True)
class Forward:
    """One [[forward]]: `wan_port` of the public address to `to`; a range maps port by port from `to.port` on.

    `from_` lists who may use it, empty: all. `alg` names a plug-in, "": none.
    """

    proto: str = required(one_of("tcp", "udp"))
    wan_port: PortRange = required(port_range())
    to: EndPoint = required(end_point)
    from_: tuple[IPv4Network, ...] = option((), list_of(network))
    alg: str = option("", text)
    number: int = field(default=0, compare=False)  # its place in the file, for messages


@dataclass(frozen=True, slots=True)
class Alg:
    """[alg]. `protocols`: plug-in name -> its policy, for every plug-in that is installed."""

    fail: str = option("closed", one_of("closed", "open"))
    helper_timeout: float = option(3.0, seconds(0.05, 3600))
    classify: str = option("auto", one_of("auto", "on", "off"))
    protocols: Mapping[str, Policy] = field(default_factory=lambda: MappingProxyType({"ftp": FtpPolicy()}))


@dataclass(frozen=True, slots=True)
class Metrics:
    """Where /metrics and /health are served, None: nowhere."""

    listen: EndPoint | None = option(EndPoint(IPv4Address("127.0.0.1"), 1025), listen_point)


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that `algate run` was told."""

    gateway: Gateway = field(default_factory=Gateway)
    nat: Nat = field(default_factory=Nat)
    timeouts: Timeouts = field(default_factory=Timeouts)
    firewall: Firewall = field(default_factory=Firewall)
    forwards: tuple[Forward, ...] = ()
    alg: Alg = field(default_factory=Alg)
    metrics: Metrics = field(default_factory=Metrics)
    path: Path | None = field(default=None, compare=False)
    overrides: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}), compare=False)


SECTIONS: Mapping[str, type] = MappingProxyType(
    {"gateway": Gateway, "nat": Nat, "timeouts": Timeouts, "firewall": Firewall, "forward": Forward, "alg": Alg,
     "metrics": Metrics}
)  # fmt: skip


def load(
    path: Path | None,
    overrides: Mapping[str, object] = MappingProxyType({}),
    plugins: Mapping[str, type[Policy]] = BUILT_IN,
) -> Config:
    """The configuration of a file (None: all defaults) with `overrides` ("gateway.lan": ["eth1"]; None is no override).

    Raises ConfigError with all errors at once, also for a file that can't be read or is no TOML.
    """
    source = f"{printable_path(path)}" if path else "command line"
    try:
        content = path.read_bytes().decode() if path else ""
    except OSError as error:
        raise ConfigError([Problem(source, f"can't be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem(source, "is no TOML: it is not UTF-8 text")]) from None
    config = loads(content, overrides, plugins, source)
    return replace(config, path=path, overrides=MappingProxyType(dict(overrides)))


def reread(config: Config, plugins: Mapping[str, type[Policy]] = BUILT_IN) -> Config:
    """What `load` would give now for the file and the overrides that `config` came from."""
    return load(config.path, config.overrides, plugins)


def loads(
    content: str,
    overrides: Mapping[str, object] = MappingProxyType({}),
    plugins: Mapping[str, type[Policy]] = BUILT_IN,
    source: str = "configuration",
) -> Config:
    """Like `load`, from TOML text."""
    try:
        tables = tomllib.loads(content)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError([Problem(source, f"is no TOML: {ascii(str(error))[1:-1]}")]) from None
    for key, value in overrides.items():
        section, _, name = key.partition(".")
        if value is not None:
            part = tables.setdefault(section, {})
            if isinstance(part, dict):
                part[name] = value
    problems: list[Problem] = []
    config = _read(tables, plugins, problems)
    told = {one.path.partition("[")[0] for one in problems}  # what was wrong by itself has its default here
    problems += [one for one in conflicts(config, plugins) if one.path not in told]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)), source)
    return config


def with_forward(config: Config, table: object, plugins: Collection[str] = BUILT_IN) -> Config:
    """`config` with one more forward, given like a [[forward]] table; ConfigError if it is wrong or in conflict."""
    problems: list[Problem] = []
    number = len(config.forwards)
    made = read_table(Forward, table, "forward", problems, number=number)
    if made is None or problems:
        raise ConfigError(problems, "forward")
    grown = replace(config, forwards=(*config.forwards, made))
    mine = f"forward[{number}]."
    problems = [Problem(one.path.removeprefix(mine), one.reason) for one in forward_conflicts(grown, plugins)]
    if len(grown.forwards) > FORWARDS_MAX:
        problems.append(Problem("forward", f"there are {FORWARDS_MAX} already"))
    if problems:
        raise ConfigError(problems, "forward")
    return grown


def printable_path(path: Path) -> str:
    """A path for a message: as it is, or quoted if it holds anything unprintable."""
    return str(path) if str(path).isprintable() else ascii(str(path))


def _read(tables: dict[str, Any], plugins: Mapping[str, type[Policy]], problems: list[Problem]) -> Config:
    """A Config from raw tables; what is wrong goes to `problems` and leaves the default."""
    problems += [_unknown_section(name) for name in tables if name not in SECTIONS]

    def section(kind: type, name: str, **more: Any) -> Any:
        table = tables.get(name, {})
        return read_table(kind, table, name, problems, **more)

    found = len(problems)
    made = Config(
        gateway=section(Gateway, "gateway"),
        nat=section(Nat, "nat"),
        timeouts=_with_transitory(section(Timeouts, "timeouts"), tables.get("timeouts", {})),
        firewall=section(Firewall, "firewall"),
        forwards=_read_forwards(tables.get("forward", []), problems),
        alg=_read_alg(tables.get("alg", {}), plugins, problems),
        metrics=section(Metrics, "metrics"),
    )
    problems[found:] = [_misplaced(one) for one in problems[found:]]
    return made


def _with_transitory(timeouts: Timeouts, table: object) -> Timeouts:
    """The three timeouts that follow `tcp_transitory` where the file doesn't set them."""
    given = table if isinstance(table, dict) else {}
    follow = [key for key in ("tcp_opening", "tcp_closing", "tcp_reset") if key not in given]
    return replace(timeouts, **dict.fromkeys(follow, timeouts.tcp_transitory))


def _read_forwards(given: object, problems: list[Problem]) -> tuple[Forward, ...]:
    """All complete [[forward]] entries; the place of an incomplete one is left out."""
    if not isinstance(given, list):
        problems.append(Problem("forward", "is no list of tables: write [[forward]]"))
        return ()
    if len(given) > FORWARDS_MAX:
        problems.append(Problem("forward", f"{len(given)} entries are more than {FORWARDS_MAX}: a range counts as one"))
    read = [
        read_table(Forward, one, f"forward[{number}]", problems, number=number)
        for number, one in enumerate(given[:FORWARDS_MAX])
    ]
    return tuple(one for one in read if one is not None)


def _read_alg(table: object, plugins: Mapping[str, type[Policy]], problems: list[Problem]) -> Alg:
    """[alg] with a policy for every plug-in that is installed."""
    tables = table if isinstance(table, dict) else {}
    known = keys(Alg)
    policies: dict[str, Policy] = {}
    for name, kind in plugins.items():
        policies[name] = read_policy(kind, tables.get(name, {}), f"alg.{name}", problems) or kind()
    for name, value in tables.items():
        if isinstance(value, dict) and name not in known and name not in plugins:
            reason = f"no such plug-in is installed; the nearest is `{nearest(name, plugins)}`"
            problems.append(Problem(f"alg.{printable(name)}", reason))
    own = {key: value for key, value in tables.items() if not isinstance(value, dict) or key in known}
    read = read_table(Alg, own if isinstance(table, dict) else table, "alg", problems, extra=tuple(plugins))
    return replace(read or Alg(), protocols=MappingProxyType(policies))


def _unknown_section(name: str) -> Problem:
    """A key at the top of the file that is no section: perhaps a key of a section."""
    homes = [f"[{section}]" for section, kind in SECTIONS.items() if name in keys(kind)]
    hint = f"it belongs into {homes[0]}" if homes else f"the nearest is [{nearest(name, SECTIONS)}]"
    return Problem(printable(name), f"unknown section; {hint}")


def _misplaced(problem: Problem) -> Problem:
    """An unknown key that is right in another section gets told so."""
    section, _, name = problem.path.rpartition(".")
    homes = [f"[{home}]" for home, kind in SECTIONS.items() if home != section and name in keys(kind)]
    if not problem.reason.startswith("unknown key") or not homes or section.startswith("forward"):
        return problem
    return Problem(problem.path, f"unknown key; it belongs into {homes[0]}")
