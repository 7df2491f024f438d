"""What the rows of each listing can be sorted and summed up by, as words.

The law of this file: names alone, for the daemon, the command's help and its completion. Sessions have all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class RowWords(NamedTuple):
    """`sorts` and `keys`: for --sort and --by, the words that a kind of row has something for."""

    sorts: tuple[str, ...]
    keys: tuple[str, ...] = ()


SESSIONS = RowWords(
    ("rate", "bytes", "packets", "age", "idle"), ("host", "remote", "port", "alg", "state", "forward")
)  # fmt: skip
LISTINGS: Mapping[str, RowWords] = {  # by the verb that is asked
    "sessions": SESSIONS,
    "mappings": RowWords(("age", "sessions", "expires"), ("host",)),
    "expectations": RowWords(("expires",), ("host", "remote", "alg", "state")),
    "forward-list": RowWords(("hits",), ("host", "alg")),
    "allow-list": RowWords(("hits",), ("host",)),
}
