"""What the audit is told about every command and transfer: who said what and what became of it, without secrets.

The law of this file: bytes in, text for events out. It decides nothing, and without an audience it says nothing.
"""

from __future__ import annotations

import re
from typing import Final

from algate.alg.protocols.base import Audience, Event, Purpose, Script
from algate.alg.protocols.ftp.dialogue import COMMANDS, UNATTENDED

SHOWN: Final = 128  # bytes of a line that an event carries
USER_SHOWN: Final = 64
MASK: Final = "****"
_NAME_END: Final = re.compile(rb"[: \t]")
_NUMBER: Final = re.compile(rb"[0-9]{3}-?")  # a reply, from the wrong side
_VERB: Final = re.compile(rb"[ \t]*([^ \t]*)[ \t]*")
# RFC 959 section 4.1.1, RFC 2228 section 3: a password, an account or a security token follows these verbs.
SECRET: Final = (b"PASS", b"ACCT", b"ADAT", b"MIC", b"CONF", b"ENC")
# What SITE's subcommands mean is each server's own affair; of these it is known that they carry no secret (wu-ftpd,
# ProFTPD, Serv-U, IIS, z/OS). All others are masked behind their first word: CHPASS, PSWD, PASSWD, CPWD, ADDUSER ...
_SITE_PLAIN: Final = frozenset(
    b"HELP CHMOD UMASK IDLE UTIME CHGRP CHOWN SYMLINK LINK CPFR CPTO COPY MKDIR RMDIR RMTREE ZONE WHO STATS STAT "
    b"DIRSTYLE DISKFREE QUOTA GROUP GROUPS INDEX MINFO NEWER CHECKMETHOD CHECKSUM FILETYPE LRECL RECFM BLKSIZE".split()
)
# Commands whose argument is no secret: RFC 959 with its extensions, and what servers have. A word that isn't known may
# be somebody's own way to say a password.
_PLAIN: Final = frozenset((*UNATTENDED.commands, *COMMANDS)) | frozenset(
    b"ABOR AUTH PBSZ PROT CCC HOST SMNT MFF ALGS AVBL CSID DSIZ HASH RANG COMB THMB XCRC XMD5 XSHA XSHA1 XSHA256 "
    b"XSHA512 MD5 MMD5 XRCP XRSQ ESTA ESTP MSND MSOM MSAM MAIL MLFL RMDA".split()
)
_KNOWN_ALIKE: Final = frozenset((b"ENCODING", b"CONFIG"))  # begin like those of SECRET


def parsed(text: bytes) -> tuple[bytes, bytes]:
    """The verb, in upper case, and the argument of a command line."""
    verb, _, argument = text.partition(b" ")
    if verb.isalpha():  # nearly always; so it has no blank or tab before it, nor in it
        return verb.upper(), argument.lstrip(b" \t")
    match = _VERB.match(text)
    return (match[1].upper(), text[match.end() :]) if match else (b"", b"")


def said(raw: bytes) -> str:
    """A line for an event's detail: bounded, one character per byte, to be escaped by whoever prints it."""
    return raw[:SHOWN].decode("latin-1")


def shown(verb: bytes, argument: bytes) -> str:
    """The command as an operator may read it: masked from the place on where a secret may stand. Any verb that begins
    like a password command is; so is what follows a word that isn't known."""
    for secret in SECRET:
        if verb.startswith(secret) and verb not in _KNOWN_ALIKE:
            return f"{secret.decode()} {MASK}"
    if verb == b"USER":
        return f"USER {user_name(argument)}" if argument else "USER"
    if verb == b"SITE":
        return f"SITE {_site(argument)}" if argument else "SITE"
    name = said(verb)
    if not argument:
        return name
    return f"{name} {said(argument)}" if verb in _PLAIN or _NUMBER.fullmatch(verb) else f"{name} {MASK}"


def secret_from(line: bytes) -> int:
    """From which byte on a command line, or its beginning, may hold a secret: what `shown` masks."""
    match = _VERB.match(line)
    verb, start = (match[1].upper(), match.end()) if match else (b"", 0)
    argument = line[start:]
    if not argument:
        return len(line)
    if verb == b"USER":
        end = _NAME_END.search(argument)
        return start + end.end() if end else len(line)
    if verb == b"SITE":
        words = argument.split(None, 1)
        plain = len(words) < 2 or _site(argument) == said(argument)
        return len(line) if plain else len(line) - len(words[1])
    masked = shown(verb, b"x") != f"{said(verb)} x"
    return start if masked else len(line)


def user_name(argument: bytes) -> str:
    """The name alone: some clients and proxies add a password behind a colon or a blank."""
    name = _NAME_END.split(argument, maxsplit=1)[0]
    return name[:USER_SHOWN].decode("latin-1") + ("" if len(name) == len(argument) else f" {MASK}")


def _site(argument: bytes) -> str:
    words = argument.split(None, 1)
    plain = words and re.split(rb"[^A-Za-z0-9]", words[0])[0].upper() in _SITE_PLAIN
    if plain or len(words) < 2:
        return said(argument)
    return f"{said(words[0])} {MASK}"


class Audit:
    """One session's audit. `user`: the user name that the client gave, "" before it gave one."""

    __slots__ = ("_audience", "_carrier", "_transfer", "user")

    def __init__(self, audience: Audience | None) -> None:
        self._audience = audience
        self._carrier = 0  # tag of the expectation that the next transfer uses
        self._transfer: tuple[bytes, bytes] | None = None  # verb and argument of the unanswered one
        self.user = ""

    def command(self, text: bytes, verdict: str, reason: str, out: Script) -> None:
        """Tell one command line and its verdict, "pass" or "rewrite". Call it before the verdict itself."""
        if self._audience is None or not self._audience.hears():
            return
        verb, argument = parsed(text)
        out.say(Event("command", shown(verb, argument), reason, self.fields(verb, verdict)))

    def fields(self, verb: bytes, verdict: str) -> tuple[tuple[str, str | int | float], ...]:
        """The machine-readable fields for a command, refused or not."""
        return ("verb", shown(verb, b"").split(" ")[0]), ("verdict", verdict), ("user", self.user)

    def named(self, tag: int) -> None:
        """A data connection was agreed on or is about to be."""
        self._carrier = tag

    def identified(self, verb: bytes, argument: bytes) -> None:
        """Note the user name of USER; PASS and ACCT are ignored."""
        if verb == b"USER":
            self.user = user_name(argument).removesuffix(f" {MASK}")

    def transfer(self, verb: bytes, argument: bytes, out: Script) -> None:
        """Note a command that uses the connection named last."""
        self._transfer = verb, argument
        if self._audience is not None and self._carrier:
            out.say(self._purpose(verb, argument))

    def answered(self, text: bytes, out: Script) -> None:
        """Note the server's final reply to a transfer: the connection was used, or the transfer refused."""
        transfer, self._transfer = self._transfer, None
        if self._audience is None or transfer is None:
            return
        code = said(text[:3])
        good = code[:1] == "2"
        if self._carrier:
            out.say(self._purpose(*transfer, code))
        if good or code == "426":
            self._carrier = 0
        if not good:
            fields = (*self.fields(transfer[0], "pass"), ("name", said(transfer[1])), ("answer", said(text)))
            out.say(Event("transfer-failed", shown(*transfer), f"reply-{code}", fields))

    def over(self) -> None:
        """The server's reply to a transfer passed unread, so it was a good one: the connection is spent."""
        if self._transfer is not None:
            self._transfer, self._carrier = None, 0

    def _purpose(self, verb: bytes, argument: bytes, code: str = "") -> Purpose:
        fields: tuple[tuple[str, str | int | float], ...] = (
            ("verb", said(verb)), ("name", said(argument)), ("user", self.user), ("reply", code),
        )  # fmt: skip
        return Purpose(self._carrier, shown(verb, argument), fields)
