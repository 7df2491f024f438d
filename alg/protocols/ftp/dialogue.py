"""Who may say what when: the FTP dialogue as tables.

The law of this file: only data. `COMMANDS`, `USUAL`, `ODD`, `REPLIES` and `PHASES` are all that the machine knows of
RFC 959's sequences (section 5.4, with RFC 2228, 2389, 2428, 4217); code looks up what it needs, `pairing` finds which
command a reply answers. No stream, no policy, no actions.
IntEnum, because every line looks these up as dictionary keys, and of all enums only int's hash is in C.
"""

from __future__ import annotations

from enum import IntEnum, auto
from typing import Final

from algate.alg.protocols.base import Lines


class Phase(IntEnum):
    """How far the dialogue has come. OPAQUE is final: nothing is read any more."""

    GREETING = auto()  # the server hasn't said 220 yet
    LOGIN = auto()
    READY = auto()
    CLOSING = auto()  # QUIT was answered; data connections may go on
    OPAQUE = auto()  # TLS, or not FTP at all


class Kind(IntEnum):
    """What a command means for the dialogue."""

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
    LEFT = auto()  # a PORT that an earlier helper left pending
    SKIPPED = auto()  # passed unattended: one of UNATTENDED, nobody knows which
    INSTEAD = auto()  # a NOOP of the gateway's, in place of a command that it answers itself


COMMANDS: dict[bytes, Kind] = {
    b"USER": Kind.IDENTITY,
    b"PASS": Kind.IDENTITY,
    b"ACCT": Kind.IDENTITY,
    b"PORT": Kind.NAME,
    b"EPRT": Kind.NAME,
    b"PASV": Kind.PASV,
    b"P@SW": Kind.PASV,  # some gateways write this for PASV, to hide it from FTP-aware ones; vsftpd accepts it
    b"EPSV": Kind.EPSV,
    b"LPRT": Kind.LONG,
    b"LPSV": Kind.LONG,
    b"AUTH": Kind.AUTH,
    b"REIN": Kind.REIN,
    b"QUIT": Kind.QUIT,
} | dict.fromkeys((b"RETR", b"STOR", b"STOU", b"APPE", b"LIST", b"NLST", b"MLSD"), Kind.TRANSFER)


# Commands that neither name a data connection nor change how the next line is read, with their replies. Read
# afterwards: what has an answer of its own (PASV), who logs in, what a data connection carries and why it didn't, and
# replies that change the phase; 227 and 229, where the kernel itself expects what they name. What a data connection
# carries is for the audit alone, so replies needn't be read because of it. Quiet are all but that behind which somebody
# waits: a connection that a PORT's 200 agrees to. Not in the list, so held: PORT and EPRT, AUTH and its answer (234).
# What made a 227 matter is over with it, and with a log-in's end what is said before one.
_COMMANDS: Final = frozenset(
    (
        b"USER PASV EPSV PASS ACCT QUIT RETR STOR STOU APPE LIST NLST MLSD MLST STAT "
        b"ALLO CDUP CLNT CWD DELE FEAT HELP LANG MDTM MFMT MKD MODE NOOP OPTS PWD REST RMD RNFR RNTO SIZE STRU SYST "
        b"TYPE XCUP XCWD XMKD XPWD XRMD"
    ).split()
)
_REPLIES: Final = frozenset(
    (
        b"110 125 150 200 202 211 212 213 214 215 220 221 225 226 230 232 250 257 331 332 350 "
        b"421 425 426 450 451 452 500 501 502 503 504 530 532 550 551 552 553"
    ).split()
)
_NAMES: Final = frozenset((b"227", b"229"))
_HURRIED: Final = frozenset((b"200",))
UNATTENDED: Final = Lines(
    _COMMANDS,
    _REPLIES | _NAMES,
    copied=frozenset(
        b"USER PASV EPSV RETR STOR STOU APPE LIST NLST MLSD "
        b"220 221 227 229 230 232 421 425 426 450 451 452 550 551 552 553".split()
    ),
    told=frozenset(b"RETR STOR STOU APPE LIST NLST MLSD".split()),
    quiet=(_COMMANDS | _REPLIES | _NAMES) - _HURRIED,
    agreeing=frozenset((b"200",)),
    names=_NAMES,
    settling=_NAMES,
)
# The same between two IP families, where PASV or EPSV is rewritten: EPSV and its 227 by the kernel, where it can.
_RETOLD: Final = frozenset((b"EPSV", b"227"))
_HELD_64: Final = frozenset((b"PASV", b"229"))
UNATTENDED_64: Final = Lines(
    _COMMANDS - _HELD_64, _REPLIES | {b"227"}, copied=UNATTENDED.copied - _HELD_64, told=UNATTENDED.told,
    quiet=UNATTENDED.quiet - _HELD_64, agreeing=UNATTENDED.agreeing, names=frozenset((b"227",)), retold=_RETOLD,
    settling=frozenset((b"227",)),
)  # fmt: skip
# Before the log-in, where nothing may open yet: a name is told, its password and 331 pass, and whatever else the server
# says is read, since nearly any 2yz may accept a log-in. So of what passes unread each command is of Kind.IDENTITY, and
# each reply asks it for more. The greeting is told; a reply that comes instead of it is read, or asks for more.
_PASSWORDS, _MORE = frozenset((b"PASS", b"ACCT")), frozenset((b"331", b"332"))
_WELCOMES: Final = frozenset((b"230", b"232"))
UNATTENDED_BEFORE: Final = Lines(
    _COMMANDS,
    _REPLIES | _NAMES,
    copied=(_COMMANDS | _REPLIES | _NAMES) - _PASSWORDS - _MORE,
    told=_COMMANDS - _PASSWORDS - {b"PASV", b"EPSV"} | {b"220"},
    quiet=UNATTENDED.quiet,
    names=_NAMES,
    settling=_WELCOMES,
    then=UNATTENDED,
)
UNATTENDED_BEFORE_64: Final = Lines(
    _COMMANDS - _HELD_64, _REPLIES | {b"227"}, copied=UNATTENDED_BEFORE.copied - _HELD_64, told=UNATTENDED_BEFORE.told,
    quiet=UNATTENDED_BEFORE.quiet - _HELD_64, names=frozenset((b"227",)), retold=_RETOLD, settling=_WELCOMES,
    then=UNATTENDED_64,
)  # fmt: skip

NAMING: Final = frozenset((Kind.NAME, Kind.PASV, Kind.EPSV))


class Reply(IntEnum):
    """What a reply code means: RFC 959 section 4.2 by its first digit, and the few codes that matter by themselves."""

    PRELIMINARY = auto()  # 1yz: the command's final reply is still to come
    OK = auto()  # 200: the only one that agrees to a PORT (RFC 959 section 5.4, RFC 2428 section 2)
    ACTION = auto()  # 250: for CWD, DELE, ... and a transfer, never for a command that names a connection
    WELCOME = auto()  # 230, 232: only for USER, PASS, ACCT
    DONE = auto()  # any other 2yz
    MORE = auto()  # 3yz
    PENDING = auto()  # 350: for REST, RNFR
    FAILED = auto()  # 4yz, 5yz
    PROTECTED = auto()  # 6yz (RFC 2228)
    GREETING = auto()  # 220
    FAREWELL = auto()  # 221
    TRANSFERRED = auto()  # 225, 226, 426: about a transfer, never an answer to a command that names a connection
    PASSIVE = auto()  # 227
    EXTENDED = auto()  # 229
    SECURED = auto()  # 234 (RFC 4217): TLS starts after this line
    CLOSING = auto()  # 421: about the session, whatever was asked


def _reply(code: int) -> Reply:
    special = {
        200: Reply.OK,
        250: Reply.ACTION,
        230: Reply.WELCOME,
        350: Reply.PENDING,
        232: Reply.WELCOME,
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


# By the first four bytes of a line; a code with nothing after it is final too.
FINAL: dict[bytes, Reply] = {
    b"%d%b" % (code, tail): _reply(code) for code in range(100, 700) for tail in (b" ", b"\t", b"")
}
FIRST_OF_MANY: frozenset[bytes] = frozenset(b"%d-" % code for code in range(100, 700))


class Effect(IntEnum):
    """What a final reply does, given the command that it answers."""

    NONE = auto()
    LOGGED_IN = auto()
    AGREE = auto()  # the server accepts the client's PORT or EPRT
    DECLINE = auto()
    ANNOUNCE = auto()  # the server's 227 or 229 that was asked for
    SECURE = auto()
    RESTART = auto()
    FAREWELL = auto()


_NO: Final = frozenset((Reply.FAILED, Reply.CLOSING))
_YES: Final = frozenset((Reply.OK, Reply.DONE, Reply.ACTION))
_ADDRESSED: Final = frozenset((Reply.PASSIVE, Reply.EXTENDED))
_FINALS: Final = frozenset(Reply) - {Reply.PRELIMINARY}

# What can answer a command: USUAL by the RFCs and by servers' habit, ODD by some servers only. Any other final reply is
# about something else and leaves the command waiting.
USUAL: dict[Kind, frozenset[Reply]] = {
    # HOST is answered by 220, ABOR by 225 or 226.
    Kind.OTHER: _YES | _NO | {Reply.MORE, Reply.PENDING, Reply.PROTECTED, Reply.GREETING, Reply.TRANSFERRED},
    Kind.IDENTITY: _YES | _NO | {Reply.WELCOME, Reply.MORE, Reply.PROTECTED},
    Kind.TRANSFER: _NO | {Reply.TRANSFERRED, Reply.ACTION},
    Kind.NAME: _NO | {Reply.OK},
    Kind.PASV: _NO | _ADDRESSED,  # either: some servers answer EPSV with 227, or PASV with 229
    Kind.EPSV: _NO | _ADDRESSED,
    Kind.EPSV_ALL: _YES | _NO,
    Kind.LONG: _YES | _NO,
    Kind.AUTH: _NO | {Reply.SECURED, Reply.MORE},
    Kind.REIN: _YES | _NO | {Reply.GREETING},
    Kind.QUIT: _YES | _NO | {Reply.FAREWELL},
    Kind.UNSEEN: _FINALS,
    Kind.LEFT: _NO | _ADDRESSED | {Reply.OK, Reply.SECURED},
    Kind.SKIPPED: _FINALS - _ADDRESSED - {Reply.SECURED, Reply.GREETING},
    Kind.INSTEAD: _YES | {Reply.FAILED, Reply.MORE, Reply.PROTECTED},
}
ODD: dict[Kind, frozenset[Reply]] = {
    Kind.OTHER: frozenset(),
    Kind.IDENTITY: frozenset((Reply.GREETING,)),
    Kind.TRANSFER: frozenset((Reply.OK, Reply.DONE, Reply.MORE, Reply.PROTECTED)),
    Kind.NAME: frozenset((Reply.MORE,)),
    Kind.PASV: frozenset((Reply.MORE,)),
    Kind.EPSV: frozenset((Reply.MORE,)),
    Kind.EPSV_ALL: _ADDRESSED,
    Kind.LONG: _ADDRESSED,
    Kind.AUTH: _YES,
    Kind.REIN: frozenset((Reply.FAREWELL,)),
    Kind.QUIT: frozenset((Reply.GREETING, Reply.PASSIVE, Reply.TRANSFERRED)),  # "227 Logout."
    Kind.UNSEEN: frozenset(),
    Kind.LEFT: frozenset(),
    Kind.SKIPPED: frozenset(),
    Kind.INSTEAD: frozenset(),
}

REPLIES: dict[tuple[Kind, Reply], Effect] = {
    **{(Kind.IDENTITY, reply): Effect.LOGGED_IN for reply in (Reply.WELCOME, *sorted(_YES))},
    (Kind.NAME, Reply.OK): Effect.AGREE,
    **{(Kind.NAME, reply): Effect.DECLINE for reply in sorted(_NO | ODD[Kind.NAME])},
    # The form of the reply counts, whichever was asked: the client reads what it gets.
    **{(kind, reply): Effect.ANNOUNCE for kind in (Kind.PASV, Kind.EPSV) for reply in sorted(_ADDRESSED)},
    (Kind.AUTH, Reply.SECURED): Effect.SECURE,
    # For a PASS or a QUIT that passed unattended: nothing else is answered like this.
    (Kind.SKIPPED, Reply.WELCOME): Effect.LOGGED_IN,
    (Kind.SKIPPED, Reply.FAREWELL): Effect.FAREWELL,
    (Kind.LEFT, Reply.OK): Effect.AGREE,
    (Kind.LEFT, Reply.FAILED): Effect.DECLINE,
    (Kind.LEFT, Reply.CLOSING): Effect.DECLINE,
    # Better to rewrite for a PASV that nobody sent than to let a private address out (invariant 1).
    **{(kind, reply): Effect.ANNOUNCE for kind in (Kind.UNSEEN, Kind.LEFT) for reply in sorted(_ADDRESSED)},
    (Kind.UNSEEN, Reply.SECURED): Effect.SECURE,
    (Kind.UNSEEN, Reply.WELCOME): Effect.LOGGED_IN,  # a restart came between PASS and its 230
    (Kind.LEFT, Reply.SECURED): Effect.SECURE,
    **{(Kind.REIN, reply): Effect.RESTART for reply in sorted(USUAL[Kind.REIN] | ODD[Kind.REIN]) if reply not in _NO},
    **{(Kind.QUIT, reply): Effect.FAREWELL for reply in sorted(USUAL[Kind.QUIT] | ODD[Kind.QUIT]) if reply not in _NO},
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
    """The phase that follows; the same one if the table doesn't list the turn."""
    return PHASES.get((phase, turn), phase)
