"""From those who make records of translations to the sinks that keep or show them.

The law of this file: it hands on, and knows what all sinks together wish for. It neither makes records nor keeps any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from algate.alg.audit.translations import Translation, TranslationSink

EVERYWHERE = IPv4Network("0.0.0.0/0")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a sink wants to hear of; the kernel passes over the rest. False if it is nothing.

    `watched`: only sessions that a plug-in watches; `protos`: IANA numbers, empty: all; `inside`: only hosts of this
    network. A sink may be told more than it wished for.
    """

    sessions: bool = False
    mappings: bool = False
    watched: bool = False
    protos: frozenset[int] = frozenset()
    inside: IPv4Network = EVERYWHERE

    def __bool__(self) -> bool:
        return self.sessions or self.mappings

    @property
    def network(self) -> tuple[IPv4Address, IPv4Address]:
        """Address and mask."""
        return self.inside.network_address, self.inside.netmask

    def __or__(self, other: Wish) -> Wish:
        """What covers both."""
        if not self or not other:
            return self or other
        return Wish(
            self.sessions or other.sessions,
            self.mappings or other.mappings,
            self.watched and other.watched,
            self.protos | other.protos if self.protos and other.protos else frozenset(),
            self.inside if self.inside == other.inside else EVERYWHERE,
        )


class Relay:
    """`changed` is called when another wish than before covers all sinks. `told` and `lost` count records and gaps."""

    def __init__(self) -> None:
        self.changed: Callable[[], None] = lambda: None
        self.told = self.missed = 0
        self._sinks: dict[TranslationSink, Wish] = {}
        self.wish = Wish()

    def add(self, sink: TranslationSink, wish: Wish) -> None:
        """From now on this sink is told. Who makes records of blocks tells every sink, whatever it wishes for."""
        self._sinks[sink] = wish
        self._settle()

    def remove(self, sink: TranslationSink) -> None:
        """No more for this sink, which isn't closed."""
        self._sinks.pop(sink, None)
        self._settle()

    def take(self, translations: Sequence[Translation]) -> None:
        """Some records, for every sink."""
        self.told += len(translations)
        for sink in list(self._sinks):
            sink.take(translations)

    def lost(self, number: int) -> None:
        """So many records were lost on their way here."""
        self.missed += number
        for sink in list(self._sinks):
            sink.lost(number)

    def _settle(self) -> None:
        whole = Wish()
        for wish in self._sinks.values():
            whole |= wish
        if whole != self.wish:
            self.wish = whole
            self.changed()
