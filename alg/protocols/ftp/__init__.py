"""FTP (RFC 959, 2428): the plug-in that algate carries itself."""

from __future__ import annotations

from typing import cast

from algate.alg.protocols.base import Control
from algate.alg.protocols.ftp.machine import FtpConversation
from algate.alg.protocols.ftp.policy import Policy

__all__ = ["PLUGIN", "FtpConversation", "FtpPlugin"]


class FtpPlugin:
    """Watches tcp/21 and what else [alg.ftp] ports and forwards with alg = "ftp" say."""

    name = "ftp"
    number = 1
    transport = "tcp"
    default_ports: tuple[int, ...] = (21,)

    def open(self, control: Control, policy: object) -> FtpConversation:
        """Begin watching a control session. `policy`: an `algate.alg.plugin.policy.FtpPolicy`."""
        return FtpConversation(control, cast(Policy, policy), resumed=control.resumed)


PLUGIN = FtpPlugin()
