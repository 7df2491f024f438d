"""What was taken from a running gateway, and what is amiss now: for its state, the metrics and `status`.

The law of this file: it counts and holds; who notices and mends is in keeping.py, and in admin/place.py for the run
directory.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from algate.alg.gateway.host import Trouble, Weight

# What can be put back, then what can only be told.
KINDS = ("filter", "xdp", "tap", "forwarding", "pins", "run-dir", "link", "route", "rp_filter", "renamed", "pair")
FENCED = "the other node leads, and this one has the addresses: nobody is given a public port here"
FENCED_FIX = "look at keepalived on both nodes, and at the link between them (`algate ha status`)"


@dataclass
class Losses:
    """By kind, how often something was taken or broke, and was put back. `amiss`: what is so now, by its subject.
    `problem`: why the gateway's own devices and addresses are of no use, "" if they are."""

    taken: Counter[str] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)
    amiss: dict[str, Trouble] = field(default_factory=dict)
    problem: str = ""

    def now(self) -> Counter[str]:
        """Kind -> how many things are amiss."""
        return Counter(one.kind for one in self.amiss.values())

    def fence(self, shut: bool) -> None:
        """Another gateway leads, though this one has the address; or it doesn't any more."""
        self.amiss.pop("pair", None)
        if shut:
            self.amiss["pair"] = Trouble("pair", FENCED, FENCED_FIX, Weight.RISK)

    def worst(self) -> Trouble | None:
        """What weighs most, if it is more than a word to the operator."""
        found = max(self.amiss.values(), key=lambda one: one.weight, default=None)
        return found if found and found.weight > Weight.TOLD else None

    def state(self) -> str:
        """How the gateway does, as `status` says it."""
        worst = self.worst()
        if self.problem and not self.now()["renamed"]:  # then they are there, under another name
            return f"not translating: {self.problem}"
        if worst is None:
            return "translating"
        return f"{'not translating: ' if worst.weight == Weight.STOPS else 'translating, but '}{worst.text}"
