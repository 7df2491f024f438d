"""Which protocol plug-ins there are: those shipped with algate and those in the entry-point group `algate.protocols`.

The law of this file: find, check, report; nothing is opened or configured here. A plug-in that can't be loaded or that
clashes is left out with one clear line, and the others still work.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from typing import NamedTuple
from typing import Protocol as Interface

from algate.alg.plugin.model import ProtocolPlugin
from algate.alg.plugin.policy import HOOKS, OPERATORS, Policy
from algate.alg.plugin.schema import keys
from algate.alg.plugin.words import Words

GROUP = "algate.protocols"
NUMBERS = range(1, 256)  # session.alg in the kernel is one byte, 0: none
_log = logging.getLogger(__name__)


class EntryPoint(Interface):
    """The part of importlib.metadata.EntryPoint that discovery needs."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> str: ...
    def load(self) -> object:
        """The object that the entry point names; raises whatever its module raises."""
        ...


class Plugins(dict[str, ProtocolPlugin]):
    """Plug-ins by name. `origins`: name -> the package that brought it; `words`: name -> what it says in `explain`;
    `left_out`: one line for each that can't be used."""

    def __init__(self) -> None:
        super().__init__()
        self.origins: dict[str, str] = {}
        self.words: dict[str, Words] = {}
        self.left_out: list[str] = []


class _Carried(NamedTuple):
    """One of algate's own plug-ins, found even where the package's metadata is missing (in a source tree)."""

    name: str
    value: str

    def load(self) -> object:
        module, _, attribute = self.value.partition(":")
        return getattr(importlib.import_module(module), attribute)


CARRIED: tuple[EntryPoint, ...] = tuple(
    _Carried(name, f"algate.alg.protocols.{name}:PLUGIN") for name in ("ftp", "tftp", "irc")
)


def discover(
    found: Iterable[EntryPoint] | None = None,
    report: Callable[[str], None] = _log.warning,
) -> Plugins:
    """All usable plug-ins. algate's own come first, so that nothing else can take their names and numbers.

    `found` replaces the installed entry points in tests. `report` gets one line for each plug-in that is left out.
    """
    plugins = Plugins()

    def leave_out(line: str) -> None:
        plugins.left_out.append(line)
        report(line)

    for entry in (*CARRIED, *_others(metadata.entry_points(group=GROUP) if found is None else found)):
        plugin = _load(entry, plugins, leave_out)
        if plugin is not None:
            plugins[plugin.name] = plugin
            plugins.origins[plugin.name] = _origin(entry)
            plugins.words[plugin.name] = getattr(plugin, "words", None) or Words()
    return plugins


@functools.cache
def carried() -> Mapping[str, ProtocolPlugin]:
    """algate's own plug-ins."""
    return discover(())


def _origin(entry: EntryPoint) -> str:
    """An entry point's distribution, like "algate 0.1.0"; its top-level module where metadata is missing."""
    package = getattr(entry, "dist", None)
    if isinstance(entry, _Carried):
        try:
            package = metadata.distribution("algate")
        except metadata.PackageNotFoundError:
            package = None
    return f"{package.name} {package.version}" if package is not None else entry.value.partition(".")[0]


def _others(found: Iterable[EntryPoint]) -> list[EntryPoint]:
    """The entry points that aren't algate's own, in an order that doesn't depend on the file system."""
    carried = {entry.value for entry in CARRIED}
    return sorted((entry for entry in found if entry.value not in carried), key=lambda entry: (entry.name, entry.value))


def _load(
    entry: EntryPoint, plugins: dict[str, ProtocolPlugin], report: Callable[[str], None]
) -> ProtocolPlugin | None:
    where = f"protocol plug-in {entry.name!r} ({entry.value})"
    try:
        plugin = entry.load()
    except Exception as error:  # whatever a third-party module raises: it is left out
        report(f"{where} left out: {type(error).__name__}: {error}; fix or uninstall its package")
        return None
    problem = _problem(plugin, entry.name, plugins) or _declared_problem(plugin, isinstance(entry, _Carried))
    if problem:
        report(f"{where} left out: {problem}")
        return None
    return plugin  # type: ignore[return-value]  # _problem has looked at each member


def _problem(plugin: object, name: str, plugins: dict[str, ProtocolPlugin]) -> str:
    """What is wrong with it; empty if nothing."""
    number = getattr(plugin, "number", None)
    if getattr(plugin, "name", None) != name:
        return f"it calls itself {getattr(plugin, 'name', None)!r}; both names must be equal"
    if name in plugins:
        return f"the name {name!r} is taken"
    if type(number) is not int or number not in NUMBERS:
        return f"its number is {number!r}; it must be one of 1..255"
    for other in plugins.values():
        if other.number == number:
            return f"its number {number} is taken by {other.name!r}"
    if getattr(plugin, "transport", None) not in ("tcp", "udp"):
        return f"its transport is {getattr(plugin, 'transport', None)!r}; it must be 'tcp' or 'udp'"
    ports = getattr(plugin, "default_ports", None)
    if not isinstance(ports, tuple) or not all(type(port) is int and 0 < port < 65536 for port in ports):
        return f"its default_ports are {ports!r}; they must be a tuple of ports"
    if not callable(getattr(plugin, "open", None)):
        return "it has no method open(control, policy)"
    return ""


def _declared_problem(plugin: object, carried: bool) -> str:
    """What is wrong with its policy and its words; empty if nothing."""
    words = getattr(plugin, "words", None)
    if words is not None and not isinstance(words, Words):
        return f"its words are {words!r}; they must be an instance of algate.alg.plugin.words.Words"
    return _policy_problem(getattr(plugin, "policy", Policy), carried)


def _policy_problem(kind: object, carried: bool) -> str:
    """What is wrong with its policy; empty if nothing. Only algate's own plug-ins may be on by default."""
    if not (isinstance(kind, type) and issubclass(kind, Policy)):
        return f"its policy is {kind!r}; it must be a class derived from algate.alg.plugin.policy.Policy"
    try:
        default = kind()
    except Exception as error:  # a third-party class
        return f"its policy {kind.__name__} can't be made: {type(error).__name__}: {error}"
    hidden = [hook for hook in HOOKS if hook in keys(kind)]
    if hidden:
        return f"its policy has a key {hidden[0]!r}, the name of one of Policy's methods"
    wide = [key for key in OPERATORS if not carried and getattr(default, key, False)]
    return f"its policy says {wide[0]} = true by default; only the operator may set it" if wide else ""
