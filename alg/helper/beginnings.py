"""What the kernel says of a new session's first lines, before the helper has heard of it.

The law of this file: it writes `openings`, a row for each plug-in and another for its sessions by NAT64, and the words
that go with them. What a row says is what the engine would say of each such session; where that depends on the
session's ends there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from algate.alg.config.load import Config
from algate.alg.engine.effects import PutLines
from algate.alg.engine.session import first_flags
from algate.alg.gateway import records
from algate.alg.plugin.contract import REMEMBERED_MOST, Call, PluginFaultError, left
from algate.alg.plugin.model import ProtocolPlugin, Unattended
from algate.bpf.abi import OPENING_MIXED

Put = Callable[[int, bytes], None]  # place, row


class Beginnings:
    """`put` writes a row; `lines` the words of an interest; `call` calls the functions of plug-ins."""

    def __init__(
        self, plugins: Mapping[str, ProtocolPlugin], put: Put, lines: Callable[[PutLines], None], call: Call
    ) -> None:
        self._plugins = plugins
        self._put, self._lines, self._call = put, lines, call
        self._rows: dict[int, tuple[int, int, float]] = {}
        self._held = False

    def state(self, config: Config, everything: bool) -> bool:
        """Say it by this configuration. `everything`: each line is held. Whether anything was said."""
        some = False
        for plugin in self._plugins.values():
            for mixed in (False, True):
                silent = everything or (mixed and config.nat64.prefix is None)
                said = None if silent else self._said(plugin, config, mixed)
                if said is not None:
                    self._lines(PutLines(said[0].lines.number, said[0].lines))
                row = (0, 0, 0.0)
                if said is not None:
                    # where not all may go out, an expectation lets something through: both sides must agree to it
                    lasts = 0.0 if config.firewall.allow_out else said[2]
                    row = (first_flags(*said[:2]), said[0].lines.number, lasts)
                place = plugin.number + OPENING_MIXED * mixed
                self._rows[place] = row
                self._write(place)
                some = some or said is not None
        return some

    def hold_names(self, held: bool) -> None:
        """From now on lines that name a connection wait for the helper, or need not."""
        self._held = held
        for place, (_, _, lasts) in self._rows.items():
            if lasts:
                self._write(place)

    def _write(self, place: int) -> None:
        flags, interest, lasts = self._rows[place]
        self._put(place, records.pack_opening(flags, interest, 0.0 if self._held else lasts))

    def _said(self, plugin: ProtocolPlugin, config: Config, mixed: bool) -> tuple[Unattended, int, float] | None:
        """What may pass of its sessions' first lines, what is remembered of them, and how long what a line names is
        expected (`ProtocolPlugin.beginning`)."""
        asked = getattr(plugin, "beginning", None)
        policy = config.alg.protocols.get(plugin.name)
        if asked is None or policy is None or not policy.enabled or policy.rules:
            return None
        try:
            answer: Any = self._call(asked, policy, True) if mixed else self._call(asked, policy)
            if answer is None:
                return None
            said, remembered = left(answer[0]), answer[1]
            lasts = answer[2] if len(answer) > 2 else 0.0
        except (PluginFaultError, TypeError, IndexError, KeyError):
            return None  # its sessions will tell whose fault that is
        if said is None or not isinstance(remembered, int) or not 0 <= remembered <= REMEMBERED_MOST:
            return None
        if not isinstance(lasts, int | float) or not 0 <= lasts < float("inf"):
            return None
        return said, remembered, lasts
