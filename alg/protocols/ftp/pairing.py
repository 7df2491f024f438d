"""Which command a reply answers, judged by what it can answer and by the likeliest reading of all that was said.

The law of this file: kinds and reply classes in, an answer and the fates of named connections out. No policy, no
actions; what can answer what is in `dialogue`'s tables, what deviations cost in `readings`.

Replies come in the order of the commands, one each (RFC 959 section 5.4), if servers keep to that: some never answer a
NOOP during a transfer, send a reply twice, or send one that nobody waits for. So this keeps up to READINGS readings of
the dialogue: each is a place in the queue of commands before which all are dealt with, and the sum of the deviations
that it assumes. Each reply advances every reading in all ways that its class allows; those that cost more than MARGIN
above the cheapest are dropped. Only the cheapest count.

Why no tolerance opens what nobody asked for:
- A PORT is agreed to only if its own 200 came in all of the cheapest readings, and no reading within DOUBT says
  otherwise. If the reply may be a late, doubled or stray one, some reading does: the connection stays pending. If a
  later reply makes the refusal as likely as the agreement, what was open is shut again.
- Only 200 agrees, so no reply that is usual for CWD, PASS or a transfer can stand for it.
- 227 and 229 announce only if a PASV or EPSV of this client may be unanswered. A 227 that nobody asked for is the most
  expensive deviation, so one that was asked for is never taken for it; but if no such command is unanswered, no cost
  makes it an answer. What is announced is the speaker's own address, whatever was paired: this file never chooses the
  peer.
- A skipped command costs, so a lost answer is believed only where the strict queue explains less. Commands that many
  servers skip (`may`) cost nothing; then both readings stay and open nothing, until a reply that can only mean one of
  them (1yz, 226, 227, 221) comes.
- If the client goes on while the cheapest readings wait for nothing, all other readings are dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, Final

from algate.alg.protocols.ftp.dialogue import NAMING, ODD, USUAL, Kind, Reply
from algate.alg.protocols.ftp.readings import (
    DOUBT,
    LOST_MOST,
    MARGIN,
    STRAY,
    TWICE,
    UNUSUAL,
    Fate,
    Heard,
    Next,
    Reading,
    Run,
    decided,
    judge,
    merged,
    passed,
    stray,
)

__all__ = ["Fate", "Heard", "Waiting"]
PLAIN: Final = frozenset((Kind.OTHER, Kind.TRANSFER, Kind.IDENTITY, Kind.SKIPPED))
NAME: Final = Kind.NAME
OK: Final = Reply.OK
AGREED: Final = Fate.AGREED
STRAY_OK: Final = STRAY[Reply.OK]
_ONCE: Final = (Reply.PASSIVE, Reply.EXTENDED, Reply.SECURED)
_USES_DATA: Final = (Kind.TRANSFER, Kind.SKIPPED)


class Waiting:
    """The commands that the server hasn't answered, and the readings of those that it has.

    At most CAP runs, and NAMING_CAP commands that name or ask for a connection, of which NAME_CAP may be there when one
    more names: without `room` another command has to wait for replies. Those that ask may have passed before they are
    read (READ_MOST), so there is more room for them. `resumed`: begin with one command that may have been said unseen;
    it counts until the client speaks or the server answers. `left`: tags of commands that certainly were said, and have
    no answer yet.
    """

    CAP: ClassVar[int] = 48
    NAMING_CAP: ClassVar[int] = 16
    NAME_CAP: ClassVar[int] = 8
    __slots__ = ("_begun", "_code", "_next", "_readings", "_runs", "_told", "securing", "unseen")

    def __init__(self, resumed: bool = False, left: Iterable[int] = ()) -> None:
        self._runs: list[Run] = []
        self._next = 0
        self._readings = [Reading(0, 0)]
        self._begun = -1  # number of the latest transfer that got a 1yz
        self._code = b""  # of the latest reply
        self._told: dict[int, Fate | None] = {}  # the last fate told for each tag that may still change
        self.unseen = resumed
        self.securing = False  # an AUTH is unanswered: what follows may be TLS
        for tag in left:
            self._append(Kind.LEFT, tag, False, 1)
        if resumed and not self._runs:
            self._append(Kind.UNSEEN, 0, True, 1)

    # -- what waits ------------------------------------------------------------------------------------------------

    def __bool__(self) -> bool:
        return any(self._waiting(self._readings[0]))

    def __len__(self) -> int:
        return sum(1 for _ in self._waiting(self._readings[0]))

    def has(self, *kinds: Kind) -> bool:
        """Whether a command of these kinds may be unanswered."""
        return any(run.kind in kinds for reading in self._likeliest() for run in self._waiting(reading))

    @property
    def transferring(self) -> bool:
        """Whether an unanswered command may use the connection named last."""
        return self.has(*_USES_DATA)

    @property
    def said(self) -> int:
        """How many commands were said so far."""
        return self._next

    @property
    def next(self) -> Kind | None:
        """The kind of the oldest command that may be unanswered."""
        return next((run.kind for run in self._waiting(self._readings[0])), None)

    @property
    def owing(self) -> bool:
        """Whether the server owes an answer; commands that servers often don't answer don't count."""
        return any(not run.may for reading in self._likeliest() for run in self._waiting(reading))

    @property
    def plain(self) -> int | None:
        """How many replies are still to come if none of them matters; None if one may."""
        if self.unseen or self._told or len(self._readings) > 1:
            return None
        if any(run.may or run.kind not in PLAIN for run in self._runs):
            return None
        return self._next - self._readings[0].at

    @property
    def named(self) -> int:
        """The tag of a connection to which a 200 agrees for certain if that comes next; 0: there is none."""
        runs, readings = self._runs, self._readings
        if self.unseen or len(runs) != 1 or len(readings) != 1 or len(self._told) != 1:
            return 0
        one = runs[0]
        if one.kind is not NAME or one.may or self._next - readings[0].at != 1 or readings[0].fates:
            return 0
        return one.tag if one.tag in self._told and self._told[one.tag] is None else 0

    @property
    def asked(self) -> bool:
        """Whether for certain a PASV or EPSV, and nothing else, is unanswered."""
        runs, readings = self._runs, self._readings
        if self.unseen or len(runs) != 1 or len(readings) != 1 or self._next - readings[0].at != 1:
            return False
        return runs[0].kind in (Kind.PASV, Kind.EPSV) and not runs[0].may

    def room(self, kind: Kind) -> bool:
        """Whether there is room for one more command of that kind."""
        runs = self._runs
        if kind in NAMING:
            naming = sum(run.count for run in runs if run.kind in NAMING)
            return naming < (self.NAME_CAP if kind is Kind.NAME else self.NAMING_CAP) and len(runs) < self.CAP
        return len(runs) < self.CAP or runs[-1].kind is kind is Kind.OTHER

    def prospect(self, lines: int) -> tuple[bool, int | None]:
        """Whether there is room for so many commands more, of any kind, and for what is only counted between them; and
        `plain`. An AUTH leaves no room, since what follows it may be no line."""
        if not self._runs:
            return True, None if self.unseen or self._told or len(self._readings) > 1 else 0
        naming = sum([run.count for run in self._runs if run.kind in NAMING])
        room = not self.securing and len(self._runs) + 2 * lines < self.CAP and naming + lines <= self.NAMING_CAP
        return room, self.plain

    def replacing(self) -> None:
        """Before the restart a NOOP of the gateway's went on; nothing else was unanswered."""
        self.unseen = False
        self._runs = [run for run in self._runs if run.kind is not Kind.UNSEEN]
        self._append(Kind.INSTEAD, 0, False, 1)

    def miss(self) -> None:
        """Commands and replies passed that nobody has read."""
        self.unseen = True
        if len(self._runs) < self.CAP:
            self._append(Kind.UNSEEN, 0, True, 1)

    # -- the client speaks -----------------------------------------------------------------------------------------

    def overtaken(self) -> None:
        """The client speaks, so what it may have said unseen was answered."""
        self.unseen = False
        if self._runs and self._runs[0].kind is Kind.UNSEEN:
            self._readings = [Reading(one.cost, max(one.at, 1), one.fates) for one in self._readings]
            self._trim()

    def add(self, kind: Kind, tag: int = 0, *, may: bool = False, count: int = 1) -> None:
        """The client said one more; ask `room` before. `may`: servers often don't answer it; all during a transfer."""
        self._settle()
        if kind is Kind.OTHER:
            may = may or any(reading.at <= self._begun for reading in self._likeliest())
        elif kind is Kind.AUTH:
            self.securing = True
        self._append(kind, tag, may, count)

    def skip(self, commands: int, replies: int, kind: Kind = Kind.SKIPPED) -> None:
        """That many commands of a kind, and replies to the oldest, passed unattended; only while `plain` isn't None."""
        if commands:
            self.add(kind, count=commands)
        last = self._next
        self._readings = [Reading(one.cost, min(one.at + replies, last), one.fates) for one in self._readings]
        self._trim()

    # -- the server speaks -----------------------------------------------------------------------------------------

    def hear(self, reply: Reply, code: bytes, *, quoted: bool = False, keep: bool = True) -> Heard:
        """A final reply. `quoted`: it may be text of another one. `keep` False: only look, change nothing."""
        only = self._only()
        if only is not None and reply in USUAL[only] and (only in PLAIN or STRAY[reply] > MARGIN):
            if keep:
                self._code, self.securing = code, False
                self._readings = [Reading(0, self._next)]
                self._runs.clear()
            return Heard(only, (), self._next - 1)
        agreed = self._agreed_by(reply, code) if keep and not quoted else None
        if agreed is not None:
            return agreed
        coming = Next()
        alone = stray(reply, code == self._code)
        for reading in self._readings:
            if not self._answers(reading, reply, quoted, coming) or alone <= MARGIN:
                coming.put(reading.cost + (0 if quoted else alone), reading.at, reading.fates, None)
        kept, kind_answered, number = coming.cheapest()
        if not keep:
            return Heard(kind_answered, (), number)
        self._code = code
        return self._take(kept, kind_answered, number)

    def began(self) -> Heard:
        """1yz: the oldest transfer has begun, all before it are dealt with (an intermediate mark changes nothing)."""
        only = self._only()
        if only is Kind.TRANSFER:
            self._begun = self._readings[0].at
            return Heard(only)
        coming = Next()
        for reading in self._readings:
            lost, fates, found = 0, reading.fates, False
            for run, start in self._from(reading):
                if run.kind in _USES_DATA:
                    again = UNUSUAL if start <= self._begun and run.kind is Kind.TRANSFER else 0
                    coming.put(reading.cost + lost + again, start, fates, run.kind)
                    found = found or lost <= LOST_MOST
                    if not again:
                        break
                lost = run.lost(start, lost)
                fates += passed(run)
            if not found:
                coming.put(reading.cost + STRAY[Reply.PRELIMINARY], reading.at, reading.fates, None)
        kept, kind, _ = coming.cheapest()
        if kind is Kind.TRANSFER:
            self._begun = max(self._begun, kept[0].at)
        return self._take(kept, kind, transfer=kind is Kind.TRANSFER)

    def ends(self, reply: Reply, since: int) -> bool:
        """Whether a reply ends the multi-line reply with another code that it is in: only an awaited one does.

        Whoever could put such a line into a text could also put the text's own last line there. Still, a reply that
        names an address or begins TLS counts only if it answers a command said since the text began (`since`: `said`
        at that time).
        """
        if reply is Reply.PRELIMINARY or reply is Reply.TRANSFERRED:
            return self.has(Kind.TRANSFER)
        if reply is Reply.FAREWELL:
            return self.has(Kind.QUIT)
        for reading in (one for one in self._readings if one.cost <= DOUBT):
            for run, start in self._from(reading):
                if reply in USUAL[run.kind] and (start >= since or reply not in _ONCE):
                    return True
                if not run.may:
                    break
        return False

    def _answers(self, reading: Reading, reply: Reply, quoted: bool, coming: Next) -> bool:
        """Add all ways in which the reply answers a command in this reading; False if there is none."""
        lost, fates, found = 0, reading.fates, False
        for run, start in self._from(reading):
            usual = reply in USUAL[run.kind]
            if usual or reply in ODD[run.kind]:
                cost = lost + (0 if usual else UNUSUAL) + quoted
                coming.put(reading.cost + cost, start + 1, fates + decided(run, reply), run.kind)
                found = True
            lost = run.lost(start, lost)
            fates += passed(run)
            if found and lost >= LOST_MOST:
                break
        return found

    def _only(self) -> Kind | None:
        """The kind of the only command that waits, if there is only one reading: nearly always."""
        if len(self._runs) != 1 or len(self._readings) != 1 or self._told:
            return None
        return self._runs[0].kind if self._next - self._readings[0].at == 1 else None

    def _agreed_by(self, reply: Reply, code: bytes) -> Heard | None:
        """What `hear` would come to where a PORT or EPRT is all that waits, its 200 has come, and nothing was in doubt:
        nearly always. It agrees to that one, or answers nothing."""
        runs, readings = self._runs, self._readings
        if reply is not OK or len(runs) != 1 or len(readings) != 1 or len(self._told) != 1:
            return None
        run, before = runs[0], readings[0]
        at, tag = run.first, run.tag
        if run.kind is not NAME or run.count != 1 or before.at != at or before.fates or before.cost:
            return None
        if tag not in self._told or self._told[tag] is not None:
            return None
        fates = ((tag, AGREED),)
        self._readings = [Reading(0, at + 1, fates), Reading(TWICE if code == self._code else STRAY_OK, at)]
        self._told[tag], self._code, self.securing = AGREED, code, False
        return Heard(NAME, fates, at)

    def _take(self, kept: list[Reading], kind: Kind | None, number: int = -1, transfer: bool = False) -> Heard:
        self._readings = kept
        news = []
        views = [(reading.cost, dict(reading.fates)) for reading in kept]
        for tag, told in list(self._told.items()):
            fate = judge([(cost, fates.get(tag)) for cost, fates in views], told, transfer)
            if fate is not None and fate is not told:
                news.append((tag, fate))
                self._told[tag] = fate
            if fate is Fate.DECLINED or fate is Fate.PASSED:
                del self._told[tag]
        if news:
            self._readings = merged(kept, self._told)
        self._trim()
        if self.securing:
            self.securing = self.has(Kind.AUTH)
        return Heard(kind, tuple(news), number)

    def _settle(self) -> None:
        """The client goes on: if the likeliest readings wait for nothing, they are taken as true."""
        if len(self._readings) == 1 and not self._told:
            return
        if self.owing:
            return
        self._readings = self._likeliest()
        if all(reading.at == self._next for reading in self._readings):
            self._told.clear()
            self._readings = [Reading(0, self._next)]
            self._runs.clear()
        self._trim()

    def _append(self, kind: Kind, tag: int, may: bool, count: int) -> None:
        last = self._runs[-1] if self._runs else None
        if tag:
            self._told[tag] = None
        if last is not None and last.kind is kind and last.may is may and not tag and not last.tag:
            last.count += count
        else:
            run = Run()
            run.kind, run.first, run.count, run.tag, run.may = kind, self._next, count, tag, may
            self._runs.append(run)
        self._next += count

    def _likeliest(self) -> list[Reading]:
        return [reading for reading in self._readings if reading.cost == 0]

    def _from(self, reading: Reading) -> Iterator[tuple[Run, int]]:
        """The runs that wait in that reading, each with its first waiting number."""
        for run in self._runs:
            if run.end > reading.at:
                yield run, max(run.first, reading.at)

    def _waiting(self, reading: Reading) -> Iterator[Run]:
        return (run for run, _ in self._from(reading))

    def _trim(self) -> None:
        least = min(reading.at for reading in self._readings)
        if self._runs and self._runs[0].end <= least:
            self._runs = [run for run in self._runs if run.end > least]
