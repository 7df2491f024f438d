"""Who held a public port at some time, as a log of translations tells it: a file of algate's own, or one in which
a syslog daemon has put its header before each record. Files that were rotated and compressed (gzip) are read too.

The law of this file: lines in, answers out; it reads files and asks nobody. A record of an end carries its beginning,
so each answers by itself; a beginning without an end lasts until somebody else has the port, or to this day."""

from __future__ import annotations

import contextlib
import gzip
import mmap
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from algate.alg.audit import record
from algate.alg.audit.logfile import family
from algate.alg.audit.translations import PackedEnd, Translation, TranslationKind, text_of
from algate.alg.errors import AlgateError

ENDS = (TranslationKind.SESSION_ENDED, TranslationKind.MAPPING_ENDED, TranslationKind.BLOCK_RELEASED)
BLOCKS = (TranslationKind.BLOCK_ASSIGNED, TranslationKind.BLOCK_RELEASED)
Key = tuple[object, ...]
_BEGINS = re.compile(rb"[0-9]{4}-[0-9T:.-]+Z (?:session|mapping|block|events)-")  # a record, whatever stands before it


@dataclass(frozen=True, slots=True)
class Holding:
    """By whom, how long: `since` and `until` are seconds since the epoch, None: not known, or not over as far as the
    log goes. `kind`: of the record that says so."""

    proto: int
    inside: PackedEnd
    remote: PackedEnd | None
    since: float | None
    until: float | None
    kind: TranslationKind

    def covers(self, at: float) -> bool:
        """Whether it was so at that moment."""
        return (self.since is None or self.since <= at) and (self.until is None or at <= self.until)

    def away(self, at: float) -> float:
        """Seconds from a moment to the nearest one at which it was so."""
        before = self.since - at if self.since is not None and at < self.since else 0.0
        return max(before, at - self.until if self.until is not None and at > self.until else 0.0)


@dataclass(slots=True)
class Findings:
    """What a log says of one public end point. `gaps`: records that it lacks; `first`: when it begins, None: it is
    empty."""

    held: list[Holding] = field(default_factory=list)
    gaps: int = 0
    first: float | None = None


def search(path: Path, public: PackedEnd) -> Findings:
    """Look through the files of a log. AlgateError if none can be read."""
    files = family(path)
    if not files:
        raise AlgateError(f"no log at {path}: give --log FILE, or set [log] level and file")
    found, lines = Findings(), list[str]()
    for one in files:
        try:
            with _opened(one) as file:
                _look(file.fileno(), public, found, lines)
        except (OSError, EOFError, zlib.error) as error:
            raise AlgateError(f"can't read {one}: {getattr(error, 'strerror', None) or error}") from None
    found.held = held(filter(None, map(record.parse, lines)), public)
    return found


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file; of a compressed one, what is in it, in a file without a name."""
    if path.suffix != ".gz":
        with open(path, "rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as whole, gzip.open(path, "rb") as packed:
        shutil.copyfileobj(packed, whole, 1 << 20)
        whole.flush()
        yield whole


def _look(fd: int, public: PackedEnd, found: Findings, lines: list[str]) -> None:
    """The lines of one file that name this end point, or a block of its address."""
    try:
        room = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    except ValueError:  # empty
        return
    with contextlib.closing(room):
        if found.first is None and (first := _BEGINS.search(room)):
            with contextlib.suppress(ValueError):
                found.first = record.seconds(first[0].partition(b" ")[0].decode("ascii"))
        address = re.escape(text_of(public.ip)).encode()
        named = re.escape(str(public)).encode()
        starts = {*_starts(room, rb"public=%b(?![0-9])" % named), *_starts(room, rb"public=%b ports=" % address)}
        lines += [bare(room[start : _end(room, start)]) for start in sorted(starts)]
        for start in _starts(room, rb" events-lost count="):
            words = room[start : _end(room, start)].decode("ascii", "replace").split()
            number = words[-1].partition("=")[2]
            found.gaps += int(number) if number.isdigit() else 0


def bare(line: bytes) -> str:
    """The record in a line: what a syslog daemon put before it is left out."""
    begins = [one.start() for one in _BEGINS.finditer(line)]
    return line[begins[-1] if begins else 0 :].decode("ascii", "replace")


def _starts(room: mmap.mmap, pattern: bytes) -> Iterator[int]:
    """Where the lines begin in which it is found."""
    for one in re.finditer(pattern, room):
        yield room.rfind(b"\n", 0, one.start()) + 1


def _end(room: mmap.mmap, start: int) -> int:
    end = room.find(b"\n", start)
    return len(room) if end < 0 else end


def held(records: Iterable[Translation], public: PackedEnd) -> list[Holding]:
    """From records in the order of a log, those about others left out."""
    found: list[Holding] = []
    begun: dict[Key, Translation] = {}
    for one in records:
        if not _about(one, public):
            continue
        key = _key(one)
        former = begun.pop(key, None)
        if one.kind in ENDS:
            found.append(_held(one, one.since or (former.time if former else None), one.time))
            continue
        if former is not None:
            found.append(_held(former, former.time, one.time))
        for other in [other for other, first in begun.items() if _excludes(first, one)]:
            gone = begun.pop(other)  # its end was lost
            found.append(_held(gone, gone.time, one.time))
        begun[key] = one
    return found + [_held(one, one.time, None) for one in begun.values()]


def _about(one: Translation, public: PackedEnd) -> bool:
    if one.public is None or one.public.ip != public.ip:
        return False
    return one.ports[0] <= public.port <= one.ports[1] if one.kind in BLOCKS else one.public.port == public.port


def _key(one: Translation) -> Key:
    """Equal for the beginning and the end of one thing."""
    if one.session:
        return (one.session,)
    return one.proto, one.inside, one.remote, one.ports


def _excludes(one: Translation, other: Translation) -> bool:
    """Whether both can't be so at one time: another inside end point, the same port towards the same destination."""
    together = one.proto == other.proto and one.remote == other.remote and one.ports == other.ports
    return together and one.inside != other.inside


def _held(one: Translation, since: float | None, until: float | None) -> Holding:
    return Holding(one.proto, one.inside, one.remote, since, until, one.kind)
