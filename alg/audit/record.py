"""A record of a translation as one line of text, and back: what a log holds, and what `algate whose` reads in it.

The law of this file: pure. A line is a moment (UTC), a kind, a protocol, then name=value pairs without blanks in them,
so that `grep` and `awk` do as well. Whoever changes a name here changes a contract with the operators' scripts."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import ip_address

from algate.alg.audit.translations import PROTOS, PackedEnd, Translation, TranslationKind, text_of

GAP = "events-lost"
_NUMBERS = {name: number for number, name in PROTOS.items()} | {"any": 0}
_KINDS = {str(kind): kind for kind in TranslationKind}
_BLOCKS = (TranslationKind.BLOCK_ASSIGNED, TranslationKind.BLOCK_RELEASED)
_OVER = TranslationKind.SESSION_ENDED


def line(one: Translation) -> str:
    """Without a line's end. Names that a kind doesn't have aren't there."""
    public = "none" if one.public is None else one.public
    if one.kind in _BLOCKS:
        of = one.public
        told = f"inside={text_of(one.inside.ip)} public={text_of(of.ip) if of else 'none'}"
        return f"{moment(one.time)} {one.kind} {one.proto_name} {told} ports={one.ports[0]}-{one.ports[1]}"
    text = f"{moment(one.time)} {one.kind} {one.proto_name} inside={one.inside} public={public}"
    if one.remote is not None:
        text += f" remote={one.remote}"
    if one.session:
        text += f" session={one.session:016x}"
    if one.alg:
        text += f" alg={one.alg}"
    if one.related:
        text += f" related={one.related:016x}"
    if one.since:
        text += f" since={moment(one.since)}"
    if one.kind is _OVER:
        (packets_out, packets_in), (bytes_out, bytes_in) = one.packets, one.octets
        text += f" packets_out={packets_out} packets_in={packets_in} bytes_out={bytes_out} bytes_in={bytes_in}"
        text += f" duration={one.duration:.3f}"
    return f"{text} state={one.state}" if one.state else text


def fields(one: Translation) -> dict[str, str]:
    """Names and values, in the order of the line."""
    return named(line(one))


def named(text: str) -> dict[str, str]:
    """The same of a line."""
    return dict(word.split("=", 1) for word in text.split()[3:])


def gap(number: int, at: float) -> str:
    """The line that stands in for records that were lost."""
    return f"{moment(at)} {GAP} count={number}"


def moment(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 has them, UTC, to the microsecond."""
    whole = int(seconds)
    return f"{_second(whole)}.{int((seconds - whole) * 1e6):06d}Z"


@lru_cache(maxsize=1024)
def _second(whole: int) -> str:
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def parse(text: str) -> Translation | None:
    """The record of a line; None for anything else, a line that was cut off included."""
    words = text.split()
    if len(words) < 5 or words[1] not in _KINDS:
        return None
    try:
        return _parsed(words)
    except (KeyError, ValueError):
        return None


def _parsed(words: list[str]) -> Translation:
    kind, given = _KINDS[words[1]], dict(word.split("=", 1) for word in words[3:])
    first, last = given["ports"].split("-") if kind in _BLOCKS else ("0", "0")

    def number(name: str) -> int:
        return int(given.get(name, "0"))

    return Translation(
        kind, seconds(words[0]), _NUMBERS[words[2]] if words[2] in _NUMBERS else int(words[2]),
        _end(given["inside"]), None if given["public"] == "none" else _end(given["public"]),
        _end(given["remote"]) if "remote" in given else None, int(given.get("session", "0"), 16), given.get("alg"),
        int(given.get("related", "0"), 16), seconds(given["since"]) if "since" in given else 0.0,
        (number("bytes_out"), number("bytes_in")), (number("packets_out"), number("packets_in")),
        float(given.get("duration", "0")), given.get("state", ""), (int(first), int(last)),
    )  # fmt: skip


def seconds(text: str) -> float:
    """The inverse of `moment`. ValueError."""
    return datetime.fromisoformat(text).timestamp()


def _end(text: str) -> PackedEnd:
    """ "ip:port", "[v6]:port", or an address alone."""
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        host, port = text, "0"
    return PackedEnd(ip_address(host.strip("[]")).packed, int(port))
