"""FTP (RFC 959, 2428): the plug-in that is on unless the operator turns it off."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import cast

from algate.alg.protocols.base import Control, EndPoint, Side, Unattended
from algate.alg.protocols.ftp.machine import FtpConversation
from algate.alg.protocols.ftp.policy import FtpPolicy
from algate.alg.protocols.ftp.words import FtpWords

__all__ = ["PLUGIN", "FtpConversation", "FtpPlugin", "FtpPolicy"]


class FtpPlugin:
    """Watches tcp/21, or the ports in [alg.ftp] ports, and those of forwards with alg = "ftp"."""

    name = "ftp"
    number = 1
    transport = "tcp"
    default_ports: tuple[int, ...] = (21,)
    policy = FtpPolicy
    words = FtpWords()

    def open(self, control: Control, policy: object) -> FtpConversation:
        """Start watching a control session under an FtpPolicy."""
        return FtpConversation(control, cast(FtpPolicy, policy), resumed=control.resumed)

    def beginning(self, policy: object, mixed: bool = False) -> tuple[Unattended, int, float] | None:
        """See `model.ProtocolPlugin`: what a conversation says before anything was said, which depends on no end."""
        named = cast(FtpPolicy, policy)
        nobody = EndPoint(IPv4Address(0), 0)
        inside = EndPoint(IPv6Address(0), 0) if mixed else nobody
        conversation = self.open(Control(0, inside, nobody, nobody, Side.CLIENT), policy)
        said = conversation.unattended()
        lasts = named.expect_timeout if named.min_port <= 1024 else 0.0
        return None if said is None else (said, conversation.remember(), lasts)


PLUGIN = FtpPlugin()
