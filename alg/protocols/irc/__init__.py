"""IRC with DCC: the plug-in that opens the connections which clients offer each other in private messages.

The law of this package: a plug-in that uses only the public API. `dcc.py` is the grammar, `session.py` the dialogue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from algate.alg.protocols.base import Control, Conversation, Policy, boolean, integer, option, read_ports, seconds
from algate.alg.protocols.irc.session import IrcConversation
from algate.alg.protocols.irc.words import IrcWords

__all__ = ["PLUGIN", "IrcPlugin", "IrcPolicy"]


PORTS = (6665, 6666, 6667, 6668, 6669, 7000)


@dataclass(frozen=True, slots=True)
class IrcPolicy(Policy):
    """[alg.irc]. It isn't known who will accept an offer, so without `any_peer` none opens anything.

    `min_port`: offers of lower ports are refused; `expect_timeout`: s that an offer stays open; `max_offers`: offers
    open at one time.
    """

    ports: tuple[int, ...] = option(PORTS, read_ports)
    any_peer: bool = option(False, boolean)
    min_port: int = option(1024, integer(1, 65535))
    expect_timeout: float = option(120.0, seconds(0.01, 3600))
    max_offers: int = option(4, integer(1, 64))


class IrcPlugin:
    """Watches the ports that IRC servers use without TLS. Off unless [alg.irc] says enabled = true."""

    name = "irc"
    number = 3
    transport = "tcp"
    default_ports: tuple[int, ...] = PORTS
    policy = IrcPolicy
    words = IrcWords()

    def open(self, control: Control, policy: object) -> Conversation:
        """Start watching a control session under an IrcPolicy."""
        return IrcConversation(control, cast(IrcPolicy, policy))


PLUGIN = IrcPlugin()
