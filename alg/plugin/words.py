"""What `explain` says about a plug-in's sessions: the plug-in's own words.

The law of this file: words only; nothing is looked up. A plug-in names an instance of a class derived from Words as
its attribute `words`; what it doesn't declare is said in general terms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

NONE: Mapping[str, Any] = MappingProxyType({})
# Behind these words, wherever they stand, text protocols carry passwords.
_SECRET = re.compile(rb"(?i)\b(PASS|ACCT|ADAT|SITE|OPER|IDENTIFY|REGISTER|GHOST|AUTH|AUTHENTICATE|LOGIN)\b")


class Said(NamedTuple):
    """A sentence without a full stop, and what to do about it ("": nothing).

    {name} in either is filled in: `line` (what was said, quoted), `reason`, `alg` (the plug-in's name), a key of the
    session's policy, a field of the event, or one of `Words.parts`.
    """

    text: str
    cure: str = ""


class Words:
    """Derive from this and fill in what your plug-in says.

    `refusals`: by an event's reason. `reasons`: others that need no sentence, so that `follow --reason` knows them; one
    that ends with "-" is all that begin with it. `phases`: by `Progress.phase`, where nothing can happen yet.
    `pending`: why an expectation isn't open yet; it follows who named what.
    """

    refusals: ClassVar[Mapping[str, Said]] = NONE
    reasons: ClassVar[tuple[str, ...]] = ()
    phases: ClassVar[Mapping[str, str]] = NONE
    pending: ClassVar[Said] = Said("the other side has not agreed yet, so nothing is let in")

    def refusal(self, reason: str) -> Said | None:
        """The words for a reason; None: the reason itself is shown."""
        return self.refusals.get(reason)

    def parts(self, detail: str) -> Mapping[str, str]:
        """What else a sentence may name, taken from an event's `detail` (hostile text)."""
        return NONE

    def bypassed(self, reason: str, policy: Mapping[str, Any]) -> tuple[bool, Said] | None:
        """For a session that said Bypass(reason), "" if the events don't go back that far. True: data may still pass.

        `policy`: the keys for this session. None: there is nothing to add.
        """
        return None

    def secret(self, line: bytes) -> int:
        """From which byte on a line of the client, or its beginning, may hold a secret; its length: nowhere. What it
        once let pass of a line it lets pass as the line grows. `capture` blanks the rest."""
        found = _SECRET.search(line)
        return found.end() if found else len(line)
