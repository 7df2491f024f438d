"""Reading the configuration: a file and the command line's overrides in, a whole valid Config out.

The law of this file: reading; no kernel, device or clock (whether a device exists, and its addresses, the service
checks). `load` returns a Config or raises ConfigError with everything that is wrong.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from algate.alg.config import ha, ipv6
from algate.alg.config.conflicts import conflicts, forward_conflicts
from algate.alg.config.sections import (
    ALLOWED_MAX,
    FORWARDS_MAX,
    SECTIONS,
    Alg,
    AllowIn,
    Config,
    Firewall,
    Forward,
    GatewaySection,
    Ha,
    Ipv6,
    Lease,
    LogSection,
    MetricsSection,
    Nat,
    Nat64,
    Timeouts,
    surroundings,
)
from algate.alg.errors import MISSING, AlgateError
from algate.alg.plugin.policy import Policy, kinds, read_policy
from algate.alg.plugin.registry import carried
from algate.alg.plugin.schema import ConfigError, Problem, keys, printable, read_table
from algate.alg.wording import nearest

T = TypeVar("T", Forward, AllowIn)

__all__ = ["AllowIn", "Config", "ConfigError", "Forward", "Problem", "load", "loads", "reread", "with_allowed",
           "with_forward"]  # fmt: skip


def load(
    path: Path | None,
    overrides: Mapping[str, object] = MappingProxyType({}),
    plugins: Mapping[str, type[Policy]] | None = None,
) -> Config:
    """The configuration of a file (None: all defaults) with `overrides` ("gateway.lan": ["eth1"]; None is no override).

    `plugins`: the policy classes by plug-in name; None: those of the plug-ins that algate ships.
    Raises ConfigError with all errors at once, also if the file can't be read or isn't TOML; AlgateError (exit code 3)
    without permission to read it.
    """
    source = f"{printable_path(path)}" if path else "command line"
    try:
        content = path.read_bytes().decode() if path else ""
    except PermissionError:
        raise AlgateError(
            f"{source} can't be read: it is for its owner alone; run it as root (sudo)", MISSING
        ) from None
    except OSError as error:
        raise ConfigError([Problem(source, f"can't be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem(source, "is not TOML: it is not UTF-8 text")]) from None
    config = loads(content, overrides, plugins, source)
    return replace(config, path=path, text=content, overrides=MappingProxyType(dict(overrides)))


def reread(config: Config, plugins: Mapping[str, type[Policy]] | None = None) -> Config:
    """What `load` gives now for the file and the overrides that `config` came from."""
    return load(config.path, config.overrides, plugins)


def loads(
    content: str,
    overrides: Mapping[str, object] = MappingProxyType({}),
    plugins: Mapping[str, type[Policy]] | None = None,
    source: str = "configuration",
) -> Config:
    """Like `load`, from TOML text."""
    try:
        tables = tomllib.loads(content)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError([Problem(source, f"is not TOML: {ascii(str(error))[1:-1]}")]) from None
    for key, value in overrides.items():
        section, _, name = key.partition(".")
        if value is not None:
            part = tables.setdefault(section, {})
            if isinstance(part, dict):
                part[name] = value
    problems: list[Problem] = []
    plugins = kinds(carried()) if plugins is None else plugins
    config = _read(tables, plugins, problems)
    told = {one.path.partition("[")[0] for one in problems}  # invalid values have been replaced by their defaults here
    problems += [one for one in conflicts(config) if one.path not in told]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)), source, config)
    return ha.halved(config)


def with_forward(config: Config, table: object) -> Config:
    """`config` with one more forward, given like a [[forward]] table; ConfigError if it is wrong or conflicts."""
    return _grown(config, "forwards", Forward, "forward", table, forward_conflicts, FORWARDS_MAX)


def with_allowed(config: Config, table: object) -> Config:
    """`config` with one more [[allow_in]], given like its table; ConfigError if it is wrong or conflicts."""
    return _grown(config, "allow_in", AllowIn, "allow_in", table, ipv6.allowed, ALLOWED_MAX)


def _grown(
    config: Config, field: str, kind: type[T], name: str, table: object, judge: Callable[[Config], list[Problem]],
    most: int,
) -> Config:  # fmt: skip
    """One more table of that name, by its own keys in what is wrong with it."""
    problems: list[Problem] = []
    had: tuple[T, ...] = getattr(config, field)
    made = read_table(kind, table, name, problems, number=len(had))
    if made is None or problems:
        raise ConfigError(problems, name)
    more: dict[str, Any] = {field: (*had, made)}
    grown = replace(config, **more)
    mine = f"{name}[{len(had)}]"
    found = [Problem(one.path.removeprefix(mine).lstrip(".") or name, one.reason) for one in judge(grown)]
    if len(had) >= most:
        found.append(Problem(name, f"there are already {most}"))
    if found:
        raise ConfigError(found, name)
    return grown


def printable_path(path: Path) -> str:
    """A path for a message: as it is, or quoted if anything in it is unprintable."""
    return str(path) if str(path).isprintable() else ascii(str(path))


def _read(tables: dict[str, Any], plugins: Mapping[str, type[Policy]], problems: list[Problem]) -> Config:
    """A Config from raw tables; whatever is wrong goes to `problems` and leaves the default."""
    problems += [_unknown_section(name) for name in tables if name not in SECTIONS]

    def section(kind: type, name: str, **more: Any) -> Any:
        table = tables.get(name, {})
        return read_table(kind, table, name, problems, **more)

    found = len(problems)
    read = Config(
        gateway=section(GatewaySection, "gateway"),
        nat=section(Nat, "nat"),
        timeouts=_with_transitory(section(Timeouts, "timeouts"), tables.get("timeouts", {})),
        firewall=section(Firewall, "firewall"),
        forwards=_read_list(Forward, "forward", FORWARDS_MAX, tables, problems),
        ipv6=section(Ipv6, "ipv6"),
        allow_in=_read_list(AllowIn, "allow_in", ALLOWED_MAX, tables, problems),
        nat64=section(Nat64, "nat64"),
        metrics=section(MetricsSection, "metrics"),
        log=section(LogSection, "log"),
        ha=section(Ha, "ha"),
        lease=section(Lease, "lease"),
    )
    made = replace(read, alg=_read_alg(tables.get("alg", {}), plugins, problems, read))
    problems[found:] = [_misplaced(one) for one in problems[found:]]
    return made


def _with_transitory(timeouts: Timeouts, table: object) -> Timeouts:
    """Set the three timeouts that default to `tcp_transitory`."""
    given = table if isinstance(table, dict) else {}
    follow = [key for key in ("tcp_opening", "tcp_closing", "tcp_reset") if key not in given]
    return replace(timeouts, **dict.fromkeys(follow, timeouts.tcp_transitory))


def _read_list(
    kind: type[T], name: str, most: int, tables: Mapping[str, Any], problems: list[Problem]
) -> tuple[T, ...]:
    """All complete [[NAME]] entries; an incomplete one is skipped, but keeps its number."""
    given = tables.get(name, [])
    if not isinstance(given, list):
        problems.append(Problem(name, f"is not a list of tables: write [[{name}]]"))
        return ()
    if len(given) > most:
        problems.append(Problem(name, f"{len(given)} entries are more than {most}: a range counts as one"))
    read = [
        read_table(kind, one, f"{name}[{number}]", problems, number=number) for number, one in enumerate(given[:most])
    ]
    return tuple(one for one in read if one is not None)


def _read_alg(table: object, plugins: Mapping[str, type[Policy]], problems: list[Problem], rest: Config) -> Alg:
    """[alg] with a policy for every plug-in that is installed. `rest`: the other sections."""
    tables = table if isinstance(table, dict) else {}
    known = keys(Alg)
    policies: dict[str, Policy] = {}
    for name, kind in plugins.items():
        around = surroundings(name, rest.forwards, rest.nat, rest.firewall)
        policies[name] = read_policy(kind, tables.get(name, {}), f"alg.{name}", problems, around) or kind()
    for name, value in tables.items():
        if isinstance(value, dict) and name not in known and name not in plugins:
            reason = f"no such plug-in is installed; the nearest is `{nearest(name, plugins)}`"
            problems.append(Problem(f"alg.{printable(name)}", reason))
    own = {key: value for key, value in tables.items() if not isinstance(value, dict) or key in known}
    read = read_table(Alg, own if isinstance(table, dict) else table, "alg", problems, extra=tuple(plugins))
    return replace(read or Alg(), protocols=MappingProxyType(policies))


def _unknown_section(name: str) -> Problem:
    """A key at the top of the file that isn't a section; it may belong in one."""
    homes = [f"[{section}]" for section, kind in SECTIONS.items() if name in keys(kind)]
    hint = f"it belongs in {homes[0]}" if homes else f"the nearest is [{nearest(name, SECTIONS)}]"
    return Problem(printable(name), f"unknown section; {hint}")


def _misplaced(problem: Problem) -> Problem:
    """An unknown key; the message says so if it is right in another section."""
    section, _, name = problem.path.rpartition(".")
    others = [home for home in SECTIONS if home not in (section, "allow_in")]  # no `port` but its own is meant for it
    homes = [f"[{home}]" for home in others if name in keys(SECTIONS[home])]
    if not problem.reason.startswith("unknown key") or not homes or section.startswith(("forward", "allow_in")):
        return problem
    return Problem(problem.path, f"unknown key; it belongs in {homes[0]}")
