"""Who may say what when: the FTP dialogue as tables, and the queue that pairs replies with commands.

The law of this file: data first. `COMMANDS`, `REPLIES` and `PHASES` are all that the machine knows of RFC 959's
sequences (section 5.4, with RFC 2228, 2389, 2428, 4217); code only looks up. No stream, no policy, no actions.
IntEnum, because these are dictionary keys on the way of every line and only int's hash is a native one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import IntEnum, auto

from algate.alg.protocols.base import Lines


class Phase(IntEnum):
    """How far the dialogue has come. OPAQUE is final: nothing is read any more."""

    GREETING = auto()  # the server hasn't said 220 yet
    LOGIN = auto()
    READY = auto()
    CLOSING = auto()  # QUIT was answered; data connections may go on
    OPAQUE = auto()  # TLS, or no FTP at all


class Kind(IntEnum):
    """What a command means to the dialogue."""

    OTHER = auto()
    IDENTITY = auto()  # USER, PASS, ACCT
    TRANSFER = auto()  # uses the data connection that was named last
    NAME = auto()  # PORT, EPRT: the client names a data connection
    PASV = auto()
    EPSV = auto()
    EPSV_ALL = auto()  # answered without an address; the server itself refuses PORT and PASV after it (RFC 2428)
    LONG = auto()  # LPRT, LPSV (RFC 1639): historic, opens nothing
    AUTH = auto()
    REIN = auto()
    QUIT = auto()
    UNSEEN = auto()  # may have been said before the machine began to listen


COMMANDS: dict[bytes, Kind] = {
    b"USER": Kind.IDENTITY,
    b"PASS": Kind.IDENTITY,
    b"ACCT": Kind.IDENTITY,
    b"PORT": Kind.NAME,
    b"EPRT": Kind.NAME,
    b"PASV": Kind.PASV,
    b"EPSV": Kind.EPSV,
    b"LPRT": Kind.LONG,
    b"LPSV": Kind.LONG,
    b"AUTH": Kind.AUTH,
    b"REIN": Kind.REIN,
    b"QUIT": Kind.QUIT,
} | dict.fromkeys((b"RETR", b"STOR", b"STOU", b"APPE", b"LIST", b"NLST", b"MLSD"), Kind.TRANSFER)


# What neither names a data connection nor says who one is, with the replies to it. Not among them: 220, 227, 229,
# 234 and 421, which mean something whoever asked, and 230 and 221, after which the dialogue is another one.
UNATTENDED = Lines(
    frozenset(
        b"PASS ACCT QUIT RETR STOR STOU APPE LIST NLST MLSD MLST STAT "
        b"ALLO CDUP CLNT CWD DELE FEAT HELP LANG MDTM MFMT MKD MODE NOOP OPTS PWD REST RMD RNFR RNTO SIZE STRU SYST "
        b"TYPE XCUP XCWD XMKD XPWD XRMD".split()
    ),
    frozenset(
        b"110 125 150 200 202 211 212 213 214 215 225 226 250 257 331 332 350 "
        b"425 426 450 451 452 500 501 502 503 504 530 532 550 551 552 553".split()
    ),
)

NAMING = frozenset((Kind.NAME, Kind.PASV, Kind.EPSV))


class Reply(IntEnum):
    """What a reply code means: RFC 959 section 4.2 by its first digit, and the few codes that matter alone."""

    PRELIMINARY = auto()  # 1yz: the command's final reply is still to come
    DONE = auto()  # 2yz
    MORE = auto()  # 3yz
    FAILED = auto()  # 4yz, 5yz
    PROTECTED = auto()  # 6yz (RFC 2228)
    GREETING = auto()  # 220
    FAREWELL = auto()  # 221
    TRANSFERRED = auto()  # 225, 226, 426: about a transfer, never an answer to a command that names a connection
    PASSIVE = auto()  # 227
    EXTENDED = auto()  # 229
    SECURED = auto()  # 234 (RFC 4217): TLS starts behind this line
    CLOSING = auto()  # 421: said of the session, whatever was asked


def _reply(code: int) -> Reply:
    special = {
        220: Reply.GREETING,
        221: Reply.FAREWELL,
        225: Reply.TRANSFERRED,
        226: Reply.TRANSFERRED,
        426: Reply.TRANSFERRED,
        227: Reply.PASSIVE,
        229: Reply.EXTENDED,
        234: Reply.SECURED,
        421: Reply.CLOSING,
    }
    classes = (Reply.PRELIMINARY, Reply.DONE, Reply.MORE, Reply.FAILED, Reply.FAILED, Reply.PROTECTED)
    return special.get(code) or classes[code // 100 - 1]


# By the first four bytes of a line; a code alone on its line is final too.
FINAL: dict[bytes, Reply] = {
    b"%d%b" % (code, tail): _reply(code) for code in range(100, 700) for tail in (b" ", b"\t", b"")
}
FIRST_OF_MANY: frozenset[bytes] = frozenset(b"%d-" % code for code in range(100, 700))


class Effect(IntEnum):
    """What a final reply brings about, given the command that it answers."""

    NONE = auto()
    STRAY = auto()  # answers something else: the command goes on waiting
    LOGGED_IN = auto()
    AGREE = auto()  # the server takes the client's PORT or EPRT
    DECLINE = auto()
    ANNOUNCE = auto()  # the server's 227 or 229 that was asked for
    SECURE = auto()
    RESTART = auto()
    FAREWELL = auto()


_DONE = (Reply.DONE, Reply.GREETING, Reply.FAREWELL, Reply.PASSIVE, Reply.EXTENDED, Reply.SECURED)

REPLIES: dict[tuple[Kind, Reply], Effect] = {
    (Kind.IDENTITY, Reply.DONE): Effect.LOGGED_IN,
    (Kind.NAME, Reply.DONE): Effect.AGREE,
    (Kind.NAME, Reply.FAREWELL): Effect.AGREE,
    (Kind.NAME, Reply.TRANSFERRED): Effect.STRAY,
    **{
        (Kind.NAME, reply): Effect.DECLINE
        for reply in Reply
        if reply not in (Reply.PRELIMINARY, Reply.DONE, Reply.TRANSFERRED, Reply.FAREWELL)
    },
    (Kind.PASV, Reply.PASSIVE): Effect.ANNOUNCE,
    (Kind.PASV, Reply.TRANSFERRED): Effect.STRAY,
    (Kind.EPSV, Reply.EXTENDED): Effect.ANNOUNCE,
    (Kind.EPSV, Reply.TRANSFERRED): Effect.STRAY,
    (Kind.AUTH, Reply.SECURED): Effect.SECURE,
    # Of a QUIT that passed unattended (Waiting knows it as one of these): no command but QUIT is answered so.
    (Kind.IDENTITY, Reply.FAREWELL): Effect.FAREWELL,
    (Kind.TRANSFER, Reply.FAREWELL): Effect.FAREWELL,
    # Of a PORT that an earlier helper left pending.
    (Kind.UNSEEN, Reply.DONE): Effect.AGREE,
    (Kind.UNSEEN, Reply.FAILED): Effect.DECLINE,
    # Better to rewrite for a PASV that nobody said than to let out a private address (invariant 1).
    (Kind.UNSEEN, Reply.PASSIVE): Effect.ANNOUNCE,
    (Kind.UNSEEN, Reply.EXTENDED): Effect.ANNOUNCE,
    (Kind.UNSEEN, Reply.SECURED): Effect.SECURE,
    **{(Kind.REIN, reply): Effect.RESTART for reply in _DONE},
    **{(Kind.QUIT, reply): Effect.FAREWELL for reply in _DONE},
}


class Turn(IntEnum):
    """What moves the dialogue from phase to phase."""

    GREETED = auto()
    RESUMED = auto()  # the first reply seen answers a command: picked up in the middle
    LOGGED_IN = auto()
    RESTARTED = auto()
    SECURED = auto()
    FOREIGN = auto()  # it isn't FTP
    FAREWELL = auto()


PHASES: dict[tuple[Phase, Turn], Phase] = {
    (Phase.GREETING, Turn.GREETED): Phase.LOGIN,
    (Phase.GREETING, Turn.RESUMED): Phase.READY,
    (Phase.LOGIN, Turn.LOGGED_IN): Phase.READY,
    (Phase.LOGIN, Turn.RESTARTED): Phase.LOGIN,
    (Phase.READY, Turn.RESTARTED): Phase.LOGIN,
    (Phase.LOGIN, Turn.SECURED): Phase.OPAQUE,
    (Phase.READY, Turn.SECURED): Phase.OPAQUE,
    (Phase.CLOSING, Turn.SECURED): Phase.OPAQUE,
    (Phase.LOGIN, Turn.FAREWELL): Phase.CLOSING,
    (Phase.READY, Turn.FAREWELL): Phase.CLOSING,
    **{(phase, Turn.FOREIGN): Phase.OPAQUE for phase in Phase},
}

TURNS: dict[Effect, Turn] = {
    Effect.LOGGED_IN: Turn.LOGGED_IN,
    Effect.SECURE: Turn.SECURED,
    Effect.RESTART: Turn.RESTARTED,
    Effect.FAREWELL: Turn.FAREWELL,
}


def after(phase: Phase, turn: Turn) -> Phase:
    """The phase that follows; a turn that the table doesn't list changes nothing."""
    return PHASES.get((phase, turn), phase)


class Pending:
    """Commands of one kind that wait for their final replies. `tag`: of the expectation that was made for it, or 0."""

    __slots__ = ("count", "kind", "tag")

    def __init__(self, kind: Kind, tag: int = 0) -> None:
        self.kind = kind
        self.tag = tag
        self.count = 1


PLAIN = frozenset((Kind.OTHER, Kind.TRANSFER, Kind.IDENTITY))


class Waiting:
    """The commands that the server hasn't answered, oldest first.

    Replies come in the order of the commands (RFC 959 section 5.4), so a count is enough for neighbours of one kind
    that name nothing. At most CAP entries, NAMING_CAP commands that name or ask for a connection: without `room` a
    further command has to wait for replies. `resumed`: begins with one that may have been said unseen; it counts until
    the client speaks or the server answers. `left`: tags of commands that certainly were, and have no answer yet.
    """

    CAP = 32
    NAMING_CAP = 8
    __slots__ = ("_naming", "_queue", "securing", "unseen")

    def __init__(self, resumed: bool = False, left: Iterable[int] = ()) -> None:
        self._queue: deque[Pending] = deque(Pending(Kind.UNSEEN, tag) for tag in left)
        self._naming = 0
        self.unseen = resumed
        if resumed and not self._queue:
            self._queue.append(Pending(Kind.UNSEEN))
        self.securing = False  # an AUTH is unanswered: what follows may be TLS

    def __bool__(self) -> bool:
        return bool(self._queue)

    def __len__(self) -> int:
        return len(self._queue)

    def room(self, kind: Kind) -> bool:
        """Whether a command of that kind may come, named or not."""
        if kind in NAMING:
            return self._naming < self.NAMING_CAP and len(self._queue) < self.CAP
        return len(self._queue) < self.CAP or self._queue[-1].kind is kind is Kind.OTHER

    def overtaken(self) -> None:
        """The client speaks: what it may have said unseen was answered."""
        self.unseen = False
        if self._queue and self._queue[0].kind is Kind.UNSEEN and not self._queue[0].tag:
            self._queue.popleft()

    @property
    def plain(self) -> int | None:
        """How many replies are to come if none of them matters; None if one may."""
        if self.unseen or any(pending.kind not in PLAIN or pending.tag for pending in self._queue):
            return None
        return sum(pending.count for pending in self._queue)

    @property
    def oldest(self) -> Pending | None:
        """The command that the next final reply answers."""
        return self._queue[0] if self._queue else None

    def has(self, kind: Kind) -> bool:
        """Whether a command of that kind is unanswered."""
        return any(pending.kind is kind for pending in self._queue)

    def add(self, kind: Kind, tag: int = 0) -> None:
        """The client said one more; ask `room` before."""
        queue = self._queue
        if kind is not Kind.OTHER:
            self._naming += kind in NAMING
            self.securing = self.securing or kind is Kind.AUTH
        if queue and not tag:
            last = queue[-1]
            if last.kind is kind and not last.tag:
                last.count += 1
                return
        queue.append(Pending(kind, tag))

    def answered(self) -> None:
        """The oldest one has its final reply."""
        queue = self._queue
        oldest = queue[0]
        oldest.count -= 1
        self._naming -= oldest.kind in NAMING
        if not oldest.count:
            queue.popleft()
        if self.securing:
            self.securing = self.has(Kind.AUTH)
