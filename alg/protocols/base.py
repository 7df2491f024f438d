"""What a plug-in author imports: the words of `plugin.model`, `Policy` with what declares its keys, `Words` for
`explain`, and `Script`, which collects actions in order.

The law of this file: nothing about any one protocol, and nothing that a plug-in couldn't write itself.
"""

from __future__ import annotations

from collections.abc import Iterable

from algate.alg.plugin.families import Network, any_network, embedded
from algate.alg.plugin.model import (
    READ_MOST,
    Action,
    Address,
    Audience,
    Bypass,
    Control,
    Conversation,
    Direction,
    EndPoint,
    Event,
    Expect,
    Forgiving,
    Impatient,
    Lines,
    Open,
    Pass,
    Progress,
    ProtocolPlugin,
    Purpose,
    Refuse,
    Remembers,
    Replace,
    Reserve,
    Reset,
    Side,
    Tells,
    Terse,
    Unattended,
    Verdict,
    Withdraw,
    address,
)
from algate.alg.plugin.policy import Conflict, Forwarded, Held, Policy, Rule, Surroundings, read_ports
from algate.alg.plugin.schema import option
from algate.alg.plugin.spelled import written
from algate.alg.plugin.values import (  # fmt: skip
    PortRange,
    RefusedError,
    Service,
    boolean,
    integer,
    list_of,
    network,
    one_of,
    optional_port_range,
    optional_public_address,
    port_range,
    seconds,
    text,
)
from algate.alg.plugin.words import Said, Words
from algate.alg.wording import shown

__all__ = [
    "READ_MOST",
    "Action",
    "Address",
    "Audience",
    "Bypass",
    "Conflict",
    "Control",
    "Conversation",
    "Direction",
    "EndPoint",
    "Event",
    "Expect",
    "Forgiving",
    "Forwarded",
    "Held",
    "Impatient",
    "Lines",
    "Network",
    "Open",
    "Pass",
    "Policy",
    "PortRange",
    "Progress",
    "ProtocolPlugin",
    "Purpose",
    "Refuse",
    "RefusedError",
    "Remembers",
    "Replace",
    "Reserve",
    "Reset",
    "Rule",
    "Said",
    "Script",
    "Service",
    "Side",
    "Surroundings",
    "Tells",
    "Terse",
    "Unattended",
    "Verdict",
    "Withdraw",
    "Words",
    "address",
    "any_network",
    "boolean",
    "embedded",
    "integer",
    "list_of",
    "merged",
    "network",
    "one_of",
    "option",
    "optional_port_range",
    "optional_public_address",
    "port_range",
    "read_ports",
    "seconds",
    "shown",
    "text",
    "written",
]


# Nearly all lines are short and pass: their verdicts are made once and shared.
_PASSES = tuple(Pass(size) for size in range(512))


class Script(list[Action]):
    """Actions in the order in which they take effect; neighbouring passes become one `Pass`.

    `run`: bytes that were let pass and that no action says yet. While it is 0 the script is finished as it stands.
    """

    run = 0

    def let(self, size: int) -> None:
        """The next `size` bytes leave unchanged."""
        self.run += size

    def keep(self, size: int) -> None:
        """The last `size` bytes let pass don't leave unchanged after all: the caller says what becomes of them."""
        self.run -= size

    def say(self, *actions: Action) -> None:
        """Add anything but a `Pass`: it takes effect after everything passed before it."""
        if self.run:
            self.append(Pass(self.run))
            self.run = 0
        self += actions

    def done(self) -> list[Action]:
        """All actions; the script is finished."""
        if self.run:
            self.append(_PASSES[self.run] if self.run < 512 else Pass(self.run))
            self.run = 0
        return self


def merged(actions: Iterable[Action]) -> list[Action]:
    """The same meaning in its shortest form: any chunking of the same bytes must give the same.

    Neighbouring passes are merged, and a Refuse without an answer joins the Refuse before it.
    """
    result: list[Action] = []
    for action in actions:
        last = result[-1] if result else None
        if isinstance(action, Pass) and isinstance(last, Pass):
            result[-1] = Pass(last.size + action.size)
        elif isinstance(action, Refuse) and isinstance(last, Refuse) and not action.answer:
            result[-1] = Refuse(last.size + action.size, last.answer)
        else:
            result.append(action)
    return result
