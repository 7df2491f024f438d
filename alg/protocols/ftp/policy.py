"""The keys of [alg.ftp], which of them contradict each other, and which commands they let pass, with the answers given
in the server's name.

The law of this file: values; a verb and its argument in, a refusal or None out. No dialogue.
"""

# ruff: noqa: RUF009 -- `option` makes dataclass fields
from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address
from typing import ClassVar

from algate.alg.protocols.base import (
    Address,
    Conflict,
    Held,
    Network,
    Policy,
    PortRange,
    RefusedError,
    Surroundings,
    any_network,
    boolean,
    integer,
    list_of,
    one_of,
    option,
    optional_port_range,
    optional_public_address,
    read_ports,
    seconds,
    shown,
)


def command_word(value: object) -> str:
    """A command's name in upper case; most have 3 or 4 letters (RFC 959 section 5.3)."""
    if isinstance(value, str) and re.fullmatch("[A-Za-z]{1,12}", value):
        return value.upper()
    raise RefusedError(f'{shown(value)} is not a command: write it like "DELE"')


@dataclass(frozen=True, slots=True)
class FtpPolicy(Policy):
    """[alg.ftp]. `announce`: the gateway's address as seen beyond a 1:1 NAT, told to the outside instead of the mapped;
    None: there is no such NAT. `tls`: what happens to AUTH; `tls_passive_ports`: ports open for FTPS data, None: none.

    `before_login`: data connections may be agreed on before the server has accepted a log-in.
    `low_ports` may be named although they are below `min_port`. `strict_source_port`: active data must come from the
    port below the server's control port (RFC 959 section 5.2). `strict_lines`: a line without CR LF opens nothing.
    `nat64`: where client and server are of two families, whether commands are translated (RFC 6384).
    """

    usual_ports: ClassVar[tuple[int, ...]] = (21,)

    enabled: bool = option(True, boolean)
    ports: tuple[int, ...] = option((21,), read_ports)
    announce: IPv4Address | None = option(None, optional_public_address)
    third_party: tuple[Network, ...] = option((), list_of(any_network))
    min_port: int = option(1024, integer(1, 65535))
    expect_timeout: float = option(120.0, seconds(0.01, 3600))
    tls: str = option("pass", one_of("pass", "refuse"))
    tls_passive_ports: PortRange | None = option(None, optional_port_range)
    deny: tuple[str, ...] = option((), list_of(command_word))
    allow: tuple[str, ...] = option((), list_of(command_word))
    read_only: bool = option(False, boolean)
    anonymous_only: bool = option(False, boolean)
    low_ports: tuple[int, ...] = option((), list_of(integer(1, 65535), 1024))
    before_login: bool = option(False, boolean)
    strict_source_port: bool = option(False, boolean)
    strict_lines: bool = option(False, boolean)
    lprt: str = option("pass", one_of("pass", "refuse"))
    max_line: int = option(4096, integer(64, 65536))
    nat64: str = option("translate", one_of("translate", "pass"))
    commands_per_second: float = option(0.0, seconds(0, 1_000_000))

    def holds(self, server: Address) -> list[Held]:
        """Every `tls_passive_ports` that applies to some client of the server."""
        found = {self.tls_passive_ports}
        for rule in self.rules:
            if rule.server is None or server in rule.server:
                found.add(dict(rule.changes).get("tls_passive_ports"))
        return [Held("tls_passive_ports", ports) for ports in sorted(ports for ports in found if ports is not None)]

    def conflicts(self, around: Surroundings) -> Iterator[Conflict]:
        """Contradictions within the lists of commands, and between `announce` and the forwards."""
        yield from self._listed_twice()
        told = [("announce", self.announce)]
        told += [(f"rule[{at}].announce", dict(rule.changes).get("announce")) for at, rule in enumerate(self.rules)]
        for key, ip in told:
            forward = next((one for one in around.forwards if ip == one.to.ip), None)
            if forward is not None:
                yield Conflict(key, f"{ip} is the inside address that forward[{forward.number}] leads to")

    def _listed_twice(self) -> Iterator[Conflict]:
        """A command is either denied or allowed, also where a rule changes only one of the lists."""
        both = set(self.deny) & set(self.allow)
        if both:
            yield Conflict("deny", f"{', '.join(sorted(both))} is in alg.ftp.allow too")
        for number, rule in enumerate(self.rules):
            changed = dict(rule.changes)
            given = [key for key in ("deny", "allow") if key in changed]
            lists = {key: set(changed.get(key, getattr(self, key))) for key in ("deny", "allow")}
            if given and lists["deny"] & lists["allow"] and not (len(given) == 1 and both):
                other = "deny" if given == ["allow"] else "allow"
                home = f"alg.ftp.rule[{number}]" if other in given else "alg.ftp"
                words = ", ".join(sorted(lists["deny"] & lists["allow"]))
                yield Conflict(f"rule[{number}].{given[0]}", f"{words} is in {home}.{other} too")


# RFC 775 and RFC 1123 section 4.1.3.1: two spellings of one command.
ALIASES = {b"P@SW": b"PASV", b"XCUP": b"CDUP", b"XCWD": b"CWD", b"XMKD": b"MKD", b"XPWD": b"PWD", b"XRMD": b"RMD"}
WRITING = frozenset(
    b"ALLO APPE COMB DELE MFCT MFF MFMT MKD RMD RMDA RNFR RNTO SITE STOR STOU".split()
)  # SITE: its subcommands change modes and times, and every server has others
_RFC1639 = frozenset((b"LPRT", b"LPSV"))
# What all servers read alike: of Telnet only Synch before the verb (RFC 959 section 4.1.3) and IAC in pairs; no CR
# inside (some end a line at any); a verb in ASCII (some fold other characters to upper case, or take any white space).
_CLEAR = re.compile(rb"(?:\xff[\xf4\xf2])*[ \t]*(?:[A-Za-z0-9]+|[Pp]@[Ss][Ww])(?:[ \t](?:[^\r\xff]|\xff\xff)*)?\r?\n")
_SETS_TIME = re.compile(rb"[0-9]{14}[ \t.+-]")  # vsftpd and others set a file's time by MDTM
ANONYMOUS = frozenset((b"anonymous", b"ftp"))


class Refusal:
    """Why a command doesn't reach the server: `reason` for the operator, `answer` for the client."""

    __slots__ = ("answer", "reason")

    def __init__(self, reason: str, answer: bytes) -> None:
        self.reason = reason
        self.answer = answer + b"\r\n"


DENIED = Refusal("denied-command", b"502 algate: the gateway's policy does not allow this command.")
READ_ONLY = Refusal("read-only", b"550 algate: the gateway's policy allows reading only.")
LONG = Refusal("rfc1639", b"502 algate: the gateway does not carry LPRT and LPSV, use EPRT and EPSV.")
BEFORE_LOGIN = Refusal("before-login", b"530 algate: log in first, with USER and PASS.")
NOT_ANONYMOUS = Refusal("anonymous-only", b"530 algate: the gateway's policy allows anonymous access only.")
NO_TLS = Refusal("tls-refused", b"534 algate: the gateway's policy does not allow TLS.")
TOO_FAST = Refusal("command-rate", b"450 algate: too many commands per second, try again later.")
TOO_MANY = Refusal("too-many-commands", b"500 algate: too many commands ahead of their answers.")
UNREADABLE = Refusal("unreadable-line", b"500 algate: the gateway can't read this line.")
NO_PORT = Refusal("no-port-free", b"425 algate: the gateway has no public port free for the data connection.")
LOW_PORT = Refusal("port-too-low", b"425 algate: the server named a port that the gateway's policy does not open.")
ELSEWHERE = Refusal("third-party", b"425 algate: the server named another address for the data connection.")
UNTOLD = Refusal("no-address", b"425 algate: the server's answer names no data connection.")
NOT_FTP = Refusal("not-ftp", b"500 algate: this session does not speak FTP, no data connection for it.")


class Gate:
    """Which commands one session may send."""

    __slots__ = (
        "_allow", "_anonymous", "_deny", "_rate", "_read_only", "_refuse_long", "_refuse_tls", "_spent", "_window",
        "refusing", "strict",
    )  # fmt: skip

    def __init__(self, policy: FtpPolicy) -> None:
        self._deny = _verbs(policy.deny)
        self._allow = _verbs(policy.allow)
        self._read_only = policy.read_only
        self._anonymous = policy.anonymous_only
        self._refuse_tls = policy.tls == "refuse"
        self._refuse_long = policy.lprt == "refuse"
        self._rate = policy.commands_per_second
        self._window = 0.0
        self._spent = 0.0
        # With these keys the operator relies on the gateway reading every command: nothing unreadable may pass.
        self.strict = bool(
            self._deny or self._allow or self._read_only or self._anonymous or self._refuse_tls or self._rate
        )
        self.refusing = self.strict or self._refuse_long

    def refuses(self, verb: bytes, argument: bytes) -> Refusal | None:
        """Why a readable command may not pass. `verb` is in upper case, `argument` as it is in the line."""
        verb = ALIASES.get(verb, verb)
        if verb == b"AUTH" and self._refuse_tls:
            return NO_TLS
        if self._refuse_long and verb in _RFC1639:
            return LONG
        if verb in self._deny or (self._allow and verb not in self._allow):
            return DENIED
        if self._read_only and (verb in WRITING or (verb == b"MDTM" and _SETS_TIME.match(argument))):
            return READ_ONLY
        if self._anonymous and verb == b"USER" and argument.strip().lower() not in ANONYMOUS:
            return NOT_ANONYMOUS
        return None

    def clear(self, raw: bytes) -> bool:
        """Whether the line needn't be read, or a server can only read it as the gateway does."""
        return not self.strict or _CLEAR.fullmatch(raw) is not None

    def hurries(self, now: float) -> bool:
        """Whether one more command at `now` is too many; if not, it is counted.

        A leaky bucket that holds one second's worth, so that a burst at login passes.
        """
        if not self._rate:
            return False
        self._spent = max(0.0, self._spent - (now - self._window) * self._rate)
        self._window = now
        if self._spent + 1 > max(self._rate, 1.0):
            return True
        self._spent += 1
        return False


@lru_cache(256)
def _verbs(names: tuple[str, ...]) -> frozenset[bytes]:
    verbs = (name.upper().encode("latin-1", "replace") for name in names)
    return frozenset(ALIASES.get(verb, verb) for verb in verbs)
