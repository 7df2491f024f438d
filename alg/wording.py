"""Words of values: how one that was refused is shown, which known word was likely meant, an address without brackets.

The law of this file: it imports nothing of algate, since every verb loads it before it has asked anything.
"""

from __future__ import annotations

from collections.abc import Collection


def shown(value: object) -> str:
    """A refused value for a message: quoted, escaped, short."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def unbracketed(text: str) -> str:
    """Without the pair of brackets around it; what is no pair stays, and is refused."""
    return text[1:-1] if text.startswith("[") and text.endswith("]") else text


def nearest(word: str, known: Collection[str]) -> str:
    """The known word that looks most like `word`."""
    import difflib

    close = difflib.get_close_matches(word.lower().replace("-", "_"), known, n=1, cutoff=0.0)
    return close[0] if close else ""
