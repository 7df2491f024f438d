"""What a protocol plug-in may do, and to whom: the tables [alg.NAME] and [[alg.NAME.rule]].

The law of this file: frozen values and their resolution for a pair of addresses. Nothing here knows the bytes of a
protocol, files or the kernel. A third-party plug-in declares its own table by deriving from Policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import Any, ClassVar, NamedTuple, Self
from typing import Protocol as Interface

from algate.alg.plugin.families import Network, any_network
from algate.alg.plugin.model import Address, EndPoint
from algate.alg.plugin.schema import Problem, keys, option, read_table
from algate.alg.plugin.values import PortRange, RefusedError, Service, boolean, integer, list_of

read_ports = list_of(integer(1, 65535), 1024)
OPERATORS = ("enabled", "any_peer")
"""Keys that only the operator may set to true."""


class Forwarded(Interface):
    """What a policy may know of a forward: `wan_port` of the public address leads to `to`; `alg`: a plug-in or ""."""

    @property
    def number(self) -> int: ...
    @property
    def proto(self) -> str: ...
    @property
    def wan_port(self) -> PortRange: ...
    @property
    def to(self) -> EndPoint: ...
    @property
    def alg(self) -> str: ...


class Surroundings(NamedTuple):
    """The configuration around a plug-in's table: all forwards, its own (`alg` names it), and the keys of [nat] and
    [firewall] about ports. `addresses` empty: the WAN device's; `allow_out` empty: everything."""

    forwards: Sequence[Forwarded]
    own: Sequence[Forwarded]
    nat_ports: PortRange
    addresses: Sequence[IPv4Address]
    allow_out: Sequence[Service]


class Conflict(NamedTuple):
    """What can't hold: a key of the plug-in's table ("deny", "rule[0].deny") and the reason."""

    key: str
    reason: str


class Held(NamedTuple):
    """Public ports to hold for a server, and the key of the plug-in's table that asks for them."""

    key: str
    ports: PortRange
    proto: str = "tcp"


@dataclass(frozen=True, slots=True)
class Rule:
    """Keys that apply to some clients or servers only; if both networks are given, both must match."""

    client: Network | None = None
    server: Network | None = None
    changes: tuple[tuple[str, Any], ...] = ()

    def matches(self, client: Address, server: Address) -> bool:
        """Whether the rule applies to this control session (client: who sent the first SYN)."""
        return (self.client is None or client in self.client) and (self.server is None or server in self.server)


@dataclass(frozen=True, slots=True)
class Policy:
    """The keys that every plug-in has. `ports` empty: the plug-in's own default ports.

    A plug-in whose expectations may have anybody as peer also declares `any_peer: bool = option(False, boolean)`. The
    engine refuses them without that key, or unless the operator sets it.
    """

    transport: ClassVar[str] = "tcp"  # set by `kinds` to the plug-in's own
    usual_ports: ClassVar[tuple[int, ...]] = ()

    enabled: bool = option(False, boolean)
    ports: tuple[int, ...] = option((), read_ports)
    rules: tuple[Rule, ...] = field(default=(), kw_only=True)

    @property
    def watched(self) -> tuple[int, ...]:
        """The ports to watch while it is enabled."""
        return self.ports or self.usual_ports

    def resolve(self, client: Address, server: Address) -> Self:
        """The policy for one control session: rules apply in the file's order, later ones override earlier ones.

        `client` and `server` are the end points' own addresses, untranslated on the inside.
        """
        changes: dict[str, Any] = {}
        for rule in self.rules:
            if rule.matches(client, server):
                changes.update(rule.changes)
        return replace(self, rules=(), **changes) if changes or self.rules else self

    @property
    def for_anybody(self) -> bool:
        """Whether the operator lets the plug-in expect connections without naming their peer."""
        return getattr(self, "any_peer", False) is True

    @classmethod
    def implied(cls, around: Surroundings) -> Mapping[str, object]:
        """Defaults that the rest of the file implies for keys that it omits: key -> value, spelled as in the file.

        `enabled` and `any_peer` can't be implied: only the operator sets them.
        """
        return {}

    def conflicts(self, around: Surroundings) -> Iterable[Conflict]:
        """Contradictions between the keys and rules, or with the rest of the configuration."""
        return ()

    def holds(self, server: Address) -> Iterable[Held]:
        """Public ports to hold, with the same numbers, for a server behind one of the plug-in's own forwards.

        Asked while the plug-in is enabled. That no port is wanted twice is checked elsewhere, for all plug-ins.
        """
        return ()


HOOKS = ("implied", "conflicts", "holds", "watched", "resolve", "for_anybody")
"""The methods of Policy: no key can have these names."""


def kinds(plugins: Mapping[str, object]) -> dict[str, type[Policy]]:
    """Plug-in name -> the dataclass that its table [alg.NAME] is read into, for the plug-ins that the registry found.

    A plug-in names its own in the attribute `policy`; without one it has only `enabled` and `ports`.
    """
    made: dict[str, type[Policy]] = {}
    for name, plugin in plugins.items():
        own = getattr(plugin, "policy", None)
        kind = own if isinstance(own, type) and issubclass(own, Policy) else Policy
        transport = getattr(plugin, "transport", kind.transport)
        made[name] = _fitted(kind, transport, getattr(plugin, "default_ports", kind.usual_ports))
    return made


_kinds: dict[tuple[type[Policy], str, tuple[int, ...]], type[Policy]] = {}


def _fitted(kind: type[Policy], transport: str, ports: tuple[int, ...]) -> type[Policy]:
    """`kind` with its plug-in's transport and default ports: one class each, so that two readings compare equal."""
    if (kind.transport, kind.usual_ports) == (transport, ports):
        return kind
    facts = {"__slots__": (), "transport": transport, "usual_ports": ports}
    return _kinds.setdefault((kind, transport, ports), type(kind.__name__, (kind,), facts))


def read_policy(
    kind: type[Policy], table: object, path: str, problems: list[Problem], around: Surroundings
) -> Policy | None:
    """[alg.NAME] with its rules as `kind`; whatever is wrong goes to `problems`."""
    given = table.get("rule", []) if isinstance(table, Mapping) else []
    rules: list[Rule] = []
    if isinstance(given, list):
        rules = [_read_rule(kind, one, f"{path}.rule[{number}]", problems) for number, one in enumerate(given)]
    else:
        problems.append(Problem(f"{path}.rule", f"is not a list of tables: write [[{path}.rule]]"))
    if isinstance(table, Mapping):
        table = {**_implied(kind, path, problems, around), **table}
    return read_table(kind, table, path, problems, extra=("rule",), rules=tuple(rules))


def _implied(kind: type[Policy], path: str, problems: list[Problem], around: Surroundings) -> dict[str, object]:
    """The implied defaults; a problem if the plug-in fails, or implies what only the operator may set."""
    try:
        said = dict(kind.implied(around))
    except Exception as error:  # third-party code
        problems.append(failed(path, "implied", error))
        return {}
    wrong = [key for key in OPERATORS if key in said]
    problems += [Problem(f"{path}.{key}", "its plug-in implies a value; only the operator may set it") for key in wrong]
    return {key: value for key, value in said.items() if key not in wrong}


def failed(path: str, hook: str, error: Exception) -> Problem:
    """The problem of a policy's hook that raised."""
    return Problem(path, f"its plug-in failed in {hook}(): {type(error).__name__}: {ascii(str(error))[1:-1][:100]}")


def _read_rule(kind: type[Policy], table: object, path: str, problems: list[Problem]) -> Rule:
    """One [[alg.NAME.rule]]: the policy's keys that it names, read like the policy's own."""
    whom: dict[str, Network] = {}
    for key in ("client", "server"):
        if isinstance(table, Mapping) and key in table:
            try:
                whom[key] = any_network(table[key])
            except RefusedError as refused:
                problems.append(Problem(f"{path}.{key}", str(refused)))
    known = keys(kind)
    if isinstance(table, Mapping):
        if "client" not in table and "server" not in table:
            problems.append(Problem(path, "names neither client nor server: say whom it is for"))
        if "ports" in table:
            home = path.partition(".rule")[0]
            problems.append(Problem(f"{path}.ports", f"ports are watched for everybody: set them in [{home}]"))
    policy = read_table(kind, table, path, problems, extra=("client", "server"))
    named = [key for key in known if key != "ports" and isinstance(table, Mapping) and key in table]
    changes = tuple((known[key].name, getattr(policy, known[key].name)) for key in named) if policy else ()
    return Rule(whom.get("client"), whom.get("server"), changes)
