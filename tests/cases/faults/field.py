"""Faults for the field reports."""

from __future__ import annotations

from typing import Final

from tests.cases.case import FIELD
from tests.cases.faults import Fault
from tests.cases.faults.first import CLIENT, DIALOGUE, GRAMMAR, RULES, SERVER

PAIRING: Final = "alg/protocols/ftp/pairing.py"
READINGS: Final = "alg/protocols/ftp/readings.py"


def _field(numbers: tuple[int, ...], fails_when: str, file: str, old: str, new: str) -> Fault:
    return Fault(tuple(FIELD + number for number in numbers), fails_when, file, old, new)


IRC: Final = "alg/protocols/irc/session.py"
DCC: Final = "alg/protocols/irc/dcc.py"

FAULTS = (
    _field(
        (1,), "a multi-line reply ends by its own code alone", SERVER,
        "        if session.waiting.ends(reply, session.many_since) and not (",
        "        if False and not (",
    ),
    _field(
        (2,), "only the oldest unanswered command can be answered", PAIRING,
        "            if found and lost >= LOST_MOST:\n                break", "            break",
    ),
    _field(
        (3,), "EPSV is answered by 229 alone", DIALOGUE,
        "    Kind.EPSV: _NO | _ADDRESSED,", "    Kind.EPSV: _NO | {Reply.EXTENDED},",
    ),
    _field(
        (4,), "PASV is answered by 227 alone", DIALOGUE,
        "    Kind.PASV: _NO | _ADDRESSED,", "    Kind.PASV: _NO | {Reply.PASSIVE},",
    ),
    _field(
        (5,), "any 2yz answers a PORT", DIALOGUE,
        "    Kind.NAME: _NO | {Reply.OK},", "    Kind.NAME: _NO | _YES,",
    ),
    _field(
        (6,), "only what comes by a LAN device is translated", "bpf/gateway.bpf.c",
        "    bool inside = who == OF_INSIDE;",
        "    if (who == OF_OTHERS)\n        return TC_ACT_OK;\n    bool inside = who == OF_INSIDE;",
    ),
    _field(
        (7,), "a client's own address is the inside one alone", IRC,
        "        ends = (control.inside.ip, control.public.ip)",
        "        ends = (control.inside.ip, control.inside.ip)",
    ),
    _field(
        (8,), "an empty option makes a request malformed", "alg/protocols/tftp.py",
        "    if code not in (READ, WRITE) or not rest",
        "    if code not in (READ, WRITE) or b\"\\0\\0\" in rest or not rest",
    ),
    _field(
        (9,), "0.0.0.0 is a third host's address", RULES,
        "    if speaker is Side.SERVER and ip.is_unspecified:", "    if False:",
    ),
    _field(
        (11,), "no blank may stand between the numbers of a 227", GRAMMAR,
        "    groups = groups or [match for match in _SPACED.finditer(text, 3) ",
        "    groups = groups or [match for match in _SPACED.finditer(b'') ",
    ),
    _field(
        (12,), "three lines may precede 220", SERVER,
        "_STRANGE_LINES = 100", "_STRANGE_LINES = 3",
    ),
    _field(
        (13,), "no tag may stand before PRIVMSG", DCC,
        '_BEFORE = re.compile(rb"(?:@[^ ]* +)?', '_BEFORE = re.compile(rb"',
    ),
    _field(
        (14,), "SEND and CHAT are all that can be offered", DCC,
        "DCC +([A-Z]+) +", "DCC +(SEND|CHAT) +",
    ),
    _field((15,), "P@SW is no PASV", DIALOGUE, '    b"P@SW": Kind.PASV,', '    b"P-SW": Kind.PASV,'),
    _field(
        (19, 20), "one line that can't be read bars the session", CLIENT,
        "        if line.flaw in (Flaw.NUL, Flaw.TOO_LONG) and session.phase in (Phase.GREETING, Phase.LOGIN):",
        "        if line.flaw is not None:",
    ),
    _field(
        (16,), "a segment of no session is dropped without a word", "alg/helper/refused.py",
        "                self._write(ends)", "                pass",
    ),
    _field(
        (21,), "a refusal to what is no FTP waits for the server", CLIENT,
        "            if refusal is NOT_FTP and (", "            if False and (",
    ),
    _field(
        (22,), "a 229 that opens nothing passes", SERVER,
        "            if form is Form.EXTENDED and session.control.inside_side is Side.SERVER:", "            if False:",
    ),
    _field(
        (25,), "a PORT that is passed over is agreed to", READINGS,
        "Fate.DECLINED if Fate.DECLINED in fates else Fate.PASSED", "Fate.AGREED",
    ),
    _field(
        (10,), "an ended data session keeps its port for tcp_closing", "bpf/include/finish.h",
        "    finished.push(&f, BPF_EXIST);", "    f.id = 0;",
    ),
    _field(
        (17,), "a port that was given back a moment ago is as good as any", "bpf/include/ports.h",
        "    return !slot->last_host || now - slot->stamp >= PORT_REST;", "    return slot->stamp != 1;",
    ),
    _field(
        (23,), "fragments leave with the ids that their senders chose", "bpf/include/frag.h",
        "        f.ip_id = fragment_id(p, source, now);", "        f.ip_id = p->ip_id;",
    ),
    _field(
        (24,), "each session has a public port of its own", "bpf/include/share.h",
        "    return cfg->flags & CONFIG_MAPPING_APDM && ", "    return cfg->flags == 0x12345678 && ",
    ),
    _field(
        (18,), "a segment that is too big for its way out is held like any other", "bpf/include/stages.h",
        "    if (route == ROUTE_TOO_BIG)\n        return too_big(", "    if (0)\n        return too_big(",
    ),
    _field(
        (18,), "the gateway cuts by the MSS alone", "alg/engine/delivery.py",
        "    room = session.paths[direction].room\n", "    room = 65000\n",
    ),
    _field(
        (18,), "who hears no errors is told for ever", "alg/engine/path.py",
        "        return not self._deaf\n", "        return True\n",
    ),
    _field(
        (18,), "the FIB's last answer is believed of a control session", "bpf/include/forward.h",
        "p->control ? 0 : next_hop_of", "next_hop_of",
    ),
)  # fmt: skip
