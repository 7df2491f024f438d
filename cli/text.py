"""How single values look to people: sizes, rates, durations, and hostile text made harmless.

The law of this file: pure functions from a value to short text. Nothing here knows rows, tables or terminals.
"""

from __future__ import annotations

import json

NONE = "-"  # what is shown for null and for empty text


def printable(text: str) -> str:
    """`text` with everything that a terminal might act on escaped: controls, C1, bidi marks, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def scaled(number: float, units: tuple[str, ...] = ("", "k", "M", "G", "T", "P"), step: int = 1000) -> str:
    """A number in at most 4 digits and a unit: 999, 1.2k, 34k, 567M."""
    power = 0
    while abs(number) >= step and power < len(units) - 1:
        number /= step
        power += 1
    digits = f"{number:.1f}" if power and abs(number) < 9.95 else f"{number:.0f}"
    return digits + units[power]


def size(octets: float) -> str:
    """Bytes in IEC units: 1.2MiB."""
    return scaled(octets, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"), 1024)


def bit_rate(octets_per_second: float) -> str:
    """A transfer rate in bits, from bytes per second: 1.2Mbit/s."""
    return scaled(octets_per_second * 8, ("bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"))


def duration(seconds: float | None) -> str:
    """Seconds as 5.1s, 42s, 3m07, 2h05, 12d03h."""
    if seconds is None:
        return NONE
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def field(value: object) -> str:
    """Any JSON value as one cell of --tsv: null and "" are "-", lists are joined by commas, booleans are words."""
    match value:
        case None | "" | []:
            return NONE
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.6f}".rstrip("0").rstrip(".")
        case dict():
            return json.dumps(value) if value else NONE
        case list() | tuple():
            return ",".join(field(one) for one in value)
        case _:
            return printable(str(value))
