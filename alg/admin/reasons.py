"""What a refusal's reason means, for the people who run the gateway.

The law of this file: words alone. An event's reason in, a sentence and what to do about it out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from algate.alg.rows import EventRow

REFUSALS = frozenset(
    ("expectation-refused", "command-refused", "transfer-failed", "violation", "expectation-withdrawn", "control-reset",
     "plugin-failed", "session-killed")
)  # fmt: skip
_NAMED = re.compile(r"(\d{1,3}(?:,\d{1,3}){3}),\d{1,3},\d{1,3}|\|[12]?\|([0-9A-Fa-f.:]+)\|")

# reason -> (sentence; {line} is what was said, {address} what it named; what to do)
WORDS: Mapping[str, tuple[str, str]] = {
    "port-not-client": (
        "{verb} named {address}, not the client, and third_party does not list it",
        "the client must name its own address; or list the other in [alg.ftp] third_party",
    ),
    "third-party": (
        "the server named {address}, not itself, and third_party does not list it",
        "the server announces a wrong address: set it there, or list it in [alg.ftp] third_party",
    ),
    "third-party-untranslated": (
        "{line}: a client inside named another host (FXP), which the gateway does not translate",
        "",
    ),
    "port-too-low": ("{line}: the port is below min_port ({min_port})", "[alg.{alg}] min_port allows lower ones"),
    "bad-syntax": ("{line}: it can't be read without doubt, so it names nothing", ""),
    "bad-number": ("{line}: a number in it is beyond its range, so it names nothing", ""),
    "port-zero": ("{line}: it names port 0", ""),
    "wrong-family": ("{line}: it names an address of another family than the control session's", ""),
    "no-address": ("{line}: the reply names no address", ""),
    "no-port": ("{line}: no public port was free", "more [nat] addresses, a wider [nat] ports, or fewer sessions"),
    "expectation-limit": ("too many data connections are expected at once", ""),
    "malformed-request": ("{line}: it names nothing, or is STUN, so no answer is expected", ""),
    "malformed-offer": ("{line}: DCC that is no offer, or not in the right place, so it opens nothing", ""),
    "address-form": ("{line}: the address is no IPv4 address, so nothing opens for it", ""),
    "not-client-address": ("{line}: it offers an address that is not the client's own", ""),
    "passive-offer": ("{line}: a passive offer (port 0): the other side will listen, nothing opens here", ""),
    "not-irc": ("{line}: the session did not begin as IRC does, so nothing opens for it", ""),
    "line-would-overflow": ("{line}: with the public address it would be too long for IRC", ""),
    "any-peer-off": (
        "{line}: who will take the offer up is not known, and the policy opens nothing to anybody",
        "[alg.{alg}] any_peer = true opens each offer to anybody, once",
    ),
    "expectation-anybody": ("a plug-in expected a connection from anybody, which nobody allowed", ""),
    "after-quit": ("{line}: it came after QUIT", ""),
    "http-request": ("the session began with an HTTP request (NAT slipstreaming): it gets no data connection", ""),
    "wrong-side": ("{line}: the wrong side said it, so it means nothing", ""),
    "unasked-reply": ("{line}: a reply to a question that the client never asked opens nothing", ""),
    "denied-command": (
        "{line}: [alg.ftp] deny or allow refuses it",
        "change deny or allow, or add a rule for this client",
    ),
    "read-only": ("{line}: [alg.{alg}] read_only refuses it", ""),
    "anonymous-only": ("{line}: [alg.ftp] anonymous_only refuses this user", ""),
    "tls-refused": ('{line}: [alg.ftp] tls = "refuse" answered in the server\'s name', ""),
    "command-rate": ("{line}: more commands than [alg.ftp] commands_per_second", ""),
    "too-many-commands": ("{line}: too many commands ahead of their answers", ""),
    "unreadable-line": ("a line could not be read, and the policy refuses what it can't read ({line})", ""),
    "line-too-long": ("a line was longer than [alg.ftp] max_line ({max_line})", ""),
    "declined": ("the server refused what the client named ({line})", "the server's reply says why"),
    "superseded": ("{line}: a newer data connection took its place", ""),
    "not-ftp": ("the session is no FTP", ""),
    "killed": ("an operator ended the session", ""),
    "operator": ("an operator ended {line}", ""),
    "plugin-failed": ("the plug-in failed on this session ({line})", "see the daemon's log, and report it"),
    "undecided-limit": (
        "more bytes waited for a verdict than the gateway keeps, so it reset the session",
        "a client that runs 64 KiB ahead of the server's answers, or a plug-in that never decides",
    ),
    "control-ended": ("{line}: the control session ended first", ""),
    "tls": ("{line}: the session was encrypted before it was used", ""),
}


def sentence(row: EventRow, policy: Mapping[str, Any]) -> tuple[str, str]:
    """One event that has a reason, as a sentence and advice. A reason without words of its own stands for itself."""
    if row.reason.startswith("reply-"):
        return f"the server answered {row.detail!a} with {str(row.fields.get('answer', row.reason[6:]))!a}", ""
    text, fix = WORDS.get(row.reason, ("{line}: {reason}", ""))
    named = _NAMED.search(row.detail)
    address = (named[1] or named[2]).replace(",", ".") if named else "an address"
    values = {
        "line": ascii(row.detail) if row.detail else row.event,
        "reason": row.reason,
        "verb": row.detail.split(" ", 1)[0],
        "alg": row.alg or "ftp",
        "address": address,
        "min_port": policy.get("min_port", "?"),
        "max_line": policy.get("max_line", "?"),
    }

    def filled(words: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda match: str(values[match[1]]), words)

    return filled(text), filled(fix)
