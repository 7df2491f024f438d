"""What `explain` says about FTP: a sentence for each reason, and what to do about it.

The law of this file: only words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from algate.alg.protocols.base import Said, Words
from algate.alg.protocols.ftp.audit import secret_from

# The address in PORT, 227 (four numbers of six), EPRT or 229.
_NAMED = re.compile(r"(\d{1,3}(?:,\d{1,3}){3}),\d{1,3},\d{1,3}|\|[12]?\|([0-9A-Fa-f.:]+)\|")

REFUSALS: Mapping[str, Said] = MappingProxyType({
    "port-not-client": Said(
        "{verb} named {address}, not the client, and third_party does not list it",
        "the client must name its own address; or list the other in [alg.{alg}] third_party; or set announce, "
        "if that is the gateway's address behind a 1:1 NAT",
    ),
    "third-party": Said(
        "the server named {address}, not itself, and third_party does not list it",
        "the server announces a wrong address: set it there, or list it in [alg.{alg}] third_party; or set announce, "
        "if that is the gateway's address behind a 1:1 NAT",
    ),
    "third-party-untranslated": Said(
        "{line}: a client inside named another host (FXP), which the gateway does not translate"
    ),
    "port-too-low": Said("{line}: the port is below min_port ({min_port})", "[alg.{alg}] min_port allows lower ones"),
    "bad-syntax": Said("{line}: it can't be read with certainty, so it opens nothing"),
    "bad-number": Said("{line}: a number in it is out of range, so it opens nothing"),
    "port-zero": Said("{line}: it names port 0"),
    "wrong-family": Said("{line}: it names an address of a different family than the control session's"),
    "network-protocol": Said("{line}: the server's side of NAT64 has IPv4 alone, and the gateway answers for it"),
    "epsv-all": Said("{line}: under NAT64 the gateway sends the server PASV for EPSV, which EPSV ALL would forbid"),
    "untranslated": Said(
        "{line}: client and server are of two IP families, and the gateway does not translate it",
        '[alg.{alg}] nat64 = "translate" does, unless the client said ALGS DISABLE64',
    ),
    "no-address": Said("{line}: the reply names no address"),
    "before-login": Said(
        "{line}: the server had accepted no log-in yet",
        "[alg.{alg}] before_login = true allows it, for servers that need no log-in",
    ),
    "after-quit": Said("{line}: it came after QUIT"),
    "http-request": Said("the session began with an HTTP request (NAT slipstreaming): it gets no data connection"),
    "wrong-side": Said("{line}: it came from the wrong side, so it is ignored"),
    "answer-overdue": Said("{line}: the answer to an earlier command took too long, so it no longer waits for that"),
    "replies-uncertain": Said(
        "{line}: a refusal came that may answer it or an earlier command, so it waits for a clear yes from the server"
    ),
    "unanswered": Said("{line}: the server answered a later command, but never this one"),
    "unasked-reply": Said("{line}: the client did not ask for this reply, so it opens nothing"),
    "denied-command": Said(
        "{line}: [alg.{alg}] deny or allow refuses it", "change deny or allow, or add a rule for this client"
    ),
    "read-only": Said("{line}: [alg.{alg}] read_only refuses it"),
    "anonymous-only": Said("{line}: [alg.{alg}] anonymous_only refuses this user"),
    "tls-refused": Said('{line}: [alg.{alg}] tls = "refuse" answered in the server\'s name'),
    "command-rate": Said("{line}: more commands than [alg.{alg}] commands_per_second"),
    "too-many-commands": Said("{line}: too many commands ahead of their answers"),
    "unreadable-line": Said("a line can't be read, and the policy refuses lines that it can't read ({line})"),
    "line-too-long": Said("a line was longer than [alg.{alg}] max_line ({max_line})"),
    "declined": Said("the server refused what the client named ({line})", "the server's reply says why"),
    "superseded": Said("{line}: a newer data connection took its place"),
    "not-ftp": Said("the session is not FTP"),
    "tls": Said("{line}: the session was encrypted before it was used"),
})  # fmt: skip


class FtpWords(Words):
    """See Words."""

    refusals = REFUSALS
    reasons = (
        "reply-", "no-port-free", "rfc1639", "tls-no-ports", "peer-acted", "ambiguous-telnet", "bare-cr", "bare-lf",
        "nul-byte", "rest-of-line", "unfinished-line",
    )  # fmt: skip
    phases = MappingProxyType({
        "greeting": "the server has not greeted yet",
        "login": "the client has not logged in yet",
    })  # fmt: skip
    pending = Said(
        "the other side's 2xx never came, so nothing is let in yet", "the server must answer the PORT or EPRT"
    )

    def refusal(self, reason: str) -> Said | None:
        """For a refusal by the server itself: its reply."""
        return Said("the server answered {line} with {answer}") if reason.startswith("reply-") else REFUSALS.get(reason)

    def parts(self, detail: str) -> Mapping[str, str]:
        """The verb, and the address that a line names."""
        named = _NAMED.search(detail)
        address = (named[1] or named[2]).replace(",", ".") if named else "an address"
        return {"verb": detail.split(" ", 1)[0], "address": address}

    def bypassed(self, reason: str, policy: Mapping[str, Any]) -> tuple[bool, Said] | None:
        """With TLS, data passes only to the ports that the operator named."""
        if reason not in ("tls", ""):
            return None
        if policy.get("tls_passive_ports"):
            return True, Said("the control session is encrypted: data passes to ports {tls_passive_ports} only")
        return False, Said(
            "the control session is encrypted, and the gateway was not told which ports the server uses: "
            "active transfers and servers inside get no data connection",
            'set tls_passive_ports for this server, use passive mode, or tls = "refuse"',
        )

    def secret(self, line: bytes) -> int:
        """See Words."""
        return secret_from(line)
