"""Error messages without what they quote: an exception may hold the very line that it is about, with a password.

The law of this file: text in, text out.
"""

from __future__ import annotations

import re

HIDDEN = "..."
# What Python's own messages put between quotes (repr of text or bytes), and what follows a password command unquoted.
_QUOTED = re.compile(r"""(?<!\w)b?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")
_AFTER = re.compile(r"(?i)\b(PASS|ACCT|ADAT|SITE|OPER|IDENTIFY)\b.+", re.DOTALL)


def scrubbed(text: str) -> str:
    """The message, with `...` where it quotes something."""
    return _AFTER.sub(rf"\1 {HIDDEN}", _QUOTED.sub(HIDDEN, text))
