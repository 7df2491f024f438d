"""What a protocol plug-in is allowed to do, and to whom: the tables [alg.NAME] and [[alg.NAME.rule]].

The law of this file: frozen values and their resolution for a pair of addresses. Nothing here knows bytes of a
protocol, files or the kernel. A plug-in of a third party declares its own table by deriving from Policy.
"""

# ruff: noqa: RUF009 -- `option` makes dataclass fields
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from types import MappingProxyType
from typing import Any, ClassVar, Self

from algate.alg.plugin.schema import Problem, keys, option, read_table
from algate.alg.plugin.values import (  # fmt: skip
    PortRange,
    RefusedError,
    boolean,
    command_word,
    integer,
    list_of,
    network,
    one_of,
    optional_port_range,
    seconds,
)

Address = IPv4Address | IPv6Address
read_ports = list_of(integer(1, 65535), 1024)


@dataclass(frozen=True, slots=True)
class Rule:
    """Keys that hold for some clients or servers alone; both networks given means both must match."""

    client: IPv4Network | None = None
    server: IPv4Network | None = None
    changes: tuple[tuple[str, Any], ...] = ()

    def matches(self, client: Address, server: Address) -> bool:
        """Whether the rule speaks of this control session (client: who sent the first SYN)."""
        return (self.client is None or client in self.client) and (self.server is None or server in self.server)


@dataclass(frozen=True, slots=True)
class Policy:
    """What every plug-in has. `ports` empty: the plug-in's own default ports.

    A plug-in whose expectations may name anybody as peer declares `any_peer: bool = option(False, boolean)` besides:
    without that key, and unless the operator sets it, the engine refuses them.
    """

    transport: ClassVar[str] = "tcp"  # both are the plug-in's own, set by `kinds`
    usual_ports: ClassVar[tuple[int, ...]] = ()

    enabled: bool = option(False, boolean)
    ports: tuple[int, ...] = option((), read_ports)
    rules: tuple[Rule, ...] = field(default=(), kw_only=True)

    @property
    def watched(self) -> tuple[int, ...]:
        """The ports to watch while it is enabled."""
        return self.ports or self.usual_ports

    def resolve(self, client: Address, server: Address) -> Self:
        """The policy for one control session: rules apply in the file's order, a later one overrides an earlier.

        `client` and `server` are the end points' own addresses, untranslated on the inside.
        """
        changes: dict[str, Any] = {}
        for rule in self.rules:
            if rule.matches(client, server):
                changes.update(rule.changes)
        return replace(self, rules=(), **changes) if changes or self.rules else self


@dataclass(frozen=True, slots=True)
class FtpPolicy(Policy):
    """[alg.ftp]. `tls`: what AUTH gets; `tls_passive_ports`: the gate for FTPS data, None: shut.

    `low_ports` may be named although below `min_port`. `strict_source_port`: active data comes from the port below the
    server's control port (RFC 959 section 5.2) or not at all. `strict_lines`: a line without CR LF opens nothing.
    """

    enabled: bool = option(True, boolean)
    ports: tuple[int, ...] = option((21,), read_ports)
    third_party: tuple[IPv4Network, ...] = option((), list_of(network))
    min_port: int = option(1024, integer(1, 65535))
    expect_timeout: float = option(120.0, seconds(0.01, 3600))
    tls: str = option("pass", one_of("pass", "refuse"))
    tls_passive_ports: PortRange | None = option(None, optional_port_range)
    deny: tuple[str, ...] = option((), list_of(command_word))
    allow: tuple[str, ...] = option((), list_of(command_word))
    read_only: bool = option(False, boolean)
    anonymous_only: bool = option(False, boolean)
    low_ports: tuple[int, ...] = option((), list_of(integer(1, 65535), 1024))
    strict_source_port: bool = option(False, boolean)
    strict_lines: bool = option(False, boolean)
    lprt: str = option("pass", one_of("pass", "refuse"))
    max_line: int = option(4096, integer(64, 65536))
    commands_per_second: float = option(0.0, seconds(0, 1_000_000))

    def passive_ranges(self, server: Address) -> set[PortRange]:
        """Every `tls_passive_ports` that some client of a server may meet."""
        found = {self.tls_passive_ports}
        for rule in self.rules:
            if rule.server is None or server in rule.server:
                found.add(dict(rule.changes).get("tls_passive_ports"))
        return {ports for ports in found if ports is not None}


BUILT_IN: Mapping[str, type[Policy]] = MappingProxyType({"ftp": FtpPolicy})


def kinds(plugins: Mapping[str, object]) -> dict[str, type[Policy]]:
    """Plug-in name -> the dataclass that its table [alg.NAME] is read as, for what the registry discovered.

    A plug-in names its own as attribute `policy`; without one it has `enabled` and `ports` alone.
    """
    made: dict[str, type[Policy]] = dict(BUILT_IN)
    for name, plugin in plugins.items():
        own = getattr(plugin, "policy", None)
        if name not in made:
            kind = own if isinstance(own, type) and issubclass(own, Policy) else Policy
            transport = getattr(plugin, "transport", kind.transport)
            made[name] = _fitted(kind, transport, getattr(plugin, "default_ports", kind.usual_ports))
    return made


_kinds: dict[tuple[type[Policy], str, tuple[int, ...]], type[Policy]] = {}


def _fitted(kind: type[Policy], transport: str, ports: tuple[int, ...]) -> type[Policy]:
    """`kind` knowing its plug-in's transport and default ports: one class each, so that two readings compare equal."""
    if (kind.transport, kind.usual_ports) == (transport, ports):
        return kind
    facts = {"__slots__": (), "transport": transport, "usual_ports": ports}
    return _kinds.setdefault((kind, transport, ports), type(kind.__name__, (kind,), facts))


def read_policy(kind: type[Policy], table: object, path: str, problems: list[Problem]) -> Policy | None:
    """[alg.NAME] with its rules as `kind`; what is wrong goes to `problems`."""
    given = table.get("rule", []) if isinstance(table, Mapping) else []
    rules: list[Rule] = []
    if isinstance(given, list):
        rules = [_read_rule(kind, one, f"{path}.rule[{number}]", problems) for number, one in enumerate(given)]
    else:
        problems.append(Problem(f"{path}.rule", f"is no list of tables: write [[{path}.rule]]"))
    return read_table(kind, table, path, problems, extra=("rule",), rules=tuple(rules))


def _read_rule(kind: type[Policy], table: object, path: str, problems: list[Problem]) -> Rule:
    """One [[alg.NAME.rule]]: the keys of the policy that it names, read like the policy's own."""
    whom: dict[str, IPv4Network] = {}
    for key in ("client", "server"):
        if isinstance(table, Mapping) and key in table:
            try:
                whom[key] = network(table[key])
            except RefusedError as refused:
                problems.append(Problem(f"{path}.{key}", str(refused)))
    known = keys(kind)
    if isinstance(table, Mapping):
        if "client" not in table and "server" not in table:
            problems.append(Problem(path, "names neither client nor server: say whom it is for"))
        if "ports" in table:
            home = path.partition(".rule")[0]
            problems.append(Problem(f"{path}.ports", f"ports are watched for all: set them in [{home}]"))
    policy = read_table(kind, table, path, problems, extra=("client", "server"))
    named = [key for key in known if key != "ports" and isinstance(table, Mapping) and key in table]
    changes = tuple((known[key].name, getattr(policy, known[key].name)) for key in named) if policy else ()
    return Rule(whom.get("client"), whom.get("server"), changes)
