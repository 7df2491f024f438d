"""The logs that a configuration asks for, opened, and replaced when it changes.

The law of this file: which. What a log takes is in logs.py, what becomes of a line in the module of its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from algate.alg.audit.ipfix_place import IpfixPlace
from algate.alg.audit.journal import JournalLog
from algate.alg.audit.logfile import LogFile
from algate.alg.audit.logs import Log, LogPlace
from algate.alg.audit.relay import Relay
from algate.alg.audit.syslog import Syslog
from algate.alg.config.sections import LogSection

MIB = 1 << 20
# Word of [log] sinks -> (how it is opened, records a second unless the configuration says another number; 0: all).
MAKERS: Mapping[str, tuple[Callable[[LogSection], LogPlace], float]] = {
    "journal": (lambda _: JournalLog(), 2000),
    "syslog": (lambda section: Syslog(section.syslog), 20_000),
    "ipfix": (lambda section: IpfixPlace(section.collector), 0),
    "file": (lambda section: LogFile(Path(section.file), section.file_size * MIB, section.files), 0),
}


class Logs:
    """`open`: those in use."""

    def __init__(self, relay: Relay) -> None:
        self.open: list[Log] = []
        self._relay = relay
        self._section = LogSection()

    def apply(self, section: LogSection) -> None:
        """Log what this section says from now on. AlgateError if a place can't be opened: all stays as it was."""
        if section == self._section:
            return
        fresh: list[Log] = []
        try:
            for name in section.chosen:
                make, rate = MAKERS[name]
                fresh.append(Log(name, section.level, make(section), section.per_second or rate))
        except BaseException:
            for one in fresh:
                one.close()
            raise
        former, self.open, self._section = self.open, fresh, section
        for one in fresh:
            self._relay.add(one, one.wish)
        for one in former:
            self._relay.remove(one)
            one.close()

    @property
    def wanted(self) -> bool:
        """Whether a log wishes for what the kernel tells."""
        return any(one.wish for one in self.open)

    def close(self) -> None:
        """Write out what is kept back."""
        for one in self.open:
            self._relay.remove(one)
            one.close()
        self.open = []
        self._section = LogSection()
