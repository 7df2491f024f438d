"""Which plug-in watches a control session, and by which policy.

The law of this file: it looks up and asks the plug-in; what a plug-in does with a session is the engine's.
"""

from __future__ import annotations

from collections.abc import Mapping

from algate.alg.config.load import Config
from algate.alg.engine.effects import SessionInfo
from algate.alg.helper.guard import Guard
from algate.alg.plugin.model import Control, Conversation, ProtocolPlugin, Side
from algate.alg.plugin.policy import Policy


class Watchers:
    """`infos`: control session -> what the kernel said of it; `config`: the one in force."""

    def __init__(self, plugins: Mapping[str, ProtocolPlugin], config: Config, guard: Guard) -> None:
        self.infos: dict[int, SessionInfo] = {}
        self.config = config
        self._plugins = {plugin.number: plugin for plugin in plugins.values()}
        self._guard = guard

    def name(self, session: int) -> str | None:
        """The plug-in that watches a control session."""
        plugin = self._plugin(session)
        return plugin.name if plugin else None

    def open(self, control: Control) -> Conversation | None:
        """A conversation of the session's plug-in; None if no plug-in watches it."""
        found = self._policy(control)
        if found is None:
            return None
        plugin, policy = found
        return self._guard.call(plugin.open, control, policy)

    def may_expect_anybody(self, control: Control) -> bool:
        """Whether the session's policy lets it expect other peers than its own."""
        found = self._policy(control)
        return found is not None and found[1].for_anybody

    def _plugin(self, session: int) -> ProtocolPlugin | None:
        info = self.infos.get(session)
        return self._plugins.get(info.alg) if info else None

    def _policy(self, control: Control) -> tuple[ProtocolPlugin, Policy] | None:
        """The plug-in of a session and its policy for the session's two ends; None if no plug-in watches it."""
        plugin = self._plugin(control.id)
        policy = self.config.alg.protocols.get(plugin.name) if plugin else None
        if plugin is None or policy is None:
            return None
        resolved = policy.resolve(control.ip(Side.CLIENT), control.ip(Side.SERVER))
        return (plugin, resolved) if policy.enabled and resolved.enabled else None
