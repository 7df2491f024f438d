"""Who may ask what of a running gateway: root everything, others what changes nothing.

The law of this file: one table, verb -> reads or changes; a verb that isn't in it changes. Who gets as far as the
socket (root and the group `algate`) is the file's mode, which the kernel judges (gateway/claim.py, answering.py).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import Enum
from typing import Any

from algate.alg.errors import MISSING, AlgateError


class Access(Enum):
    """What a verb does to the gateway. PREVIEWS: it changes, but with the argument `dry_run` it only tells."""

    READS = "reads"
    CHANGES = "changes"
    PREVIEWS = "previews"


VERBS: Mapping[str, Access] = {
    "down": Access.CHANGES,
    "reload": Access.PREVIEWS,
    "upgrade": Access.CHANGES,
    "give-way": Access.CHANGES,
    "handover": Access.READS,
    "status": Access.READS,
    "settings": Access.READS,
    "stats": Access.READS,
    "sessions": Access.READS,
    "mappings": Access.READS,
    "expectations": Access.READS,
    "hosts": Access.READS,
    "ports": Access.READS,
    "forward-list": Access.READS,
    "forward-file": Access.READS,
    "forward-add": Access.CHANGES,
    "forward-del": Access.CHANGES,
    "allow-list": Access.READS,
    "allow-add": Access.CHANGES,
    "allow-del": Access.CHANGES,
    "helper-state": Access.READS,
    "kill": Access.PREVIEWS,
    "explain": Access.READS,
    "follow": Access.READS,
    "whose": Access.READS,
    "capture": Access.CHANGES,  # nothing; but packets are root's to see, and so is what is said in them
    "top": Access.READS,
    "ha-status": Access.READS,
    "ha-leases": Access.READS,
    "ha-yield": Access.CHANGES,
    "ha-resync": Access.CHANGES,
}


def changes(verb: str, args: Mapping[str, Any]) -> bool:
    """Whether a request changes the gateway."""
    access = VERBS.get(verb, Access.CHANGES)
    return access is Access.CHANGES or (access is Access.PREVIEWS and args.get("dry_run") is not True)


def judge(uid: int, verb: str, args: Mapping[str, Any]) -> None:
    """Refuse, by AlgateError (exit code 3), what the user `uid` may not ask. The daemon's own user may do all."""
    if uid not in (0, os.geteuid()) and changes(verb, args):
        words = verb.replace("-", " ")
        what = "shows what others say" if verb == "capture" else "changes the gateway"
        raise AlgateError(f"{words} {what}: run it as root (sudo algate {words} ...)", MISSING)
