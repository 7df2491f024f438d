"""Faults for the cases FTP-1 to FTP-45."""

from __future__ import annotations

from typing import Final

from tests.cases.faults import Fault

CLIENT: Final = "alg/protocols/ftp/client.py"
SERVER: Final = "alg/protocols/ftp/server.py"
DIALOGUE: Final = "alg/protocols/ftp/dialogue.py"
GRAMMAR: Final = "alg/protocols/ftp/grammar.py"
SESSION: Final = "alg/protocols/ftp/session.py"
RULES: Final = "alg/protocols/ftp/rules.py"
LINES: Final = "alg/protocols/lines.py"

SYNTAX = (
    Fault(
        (1,), "PORT is recognised in capitals alone", GRAMMAR,
        'PORT[ \\t]+([0-9,]+)[ \\t]*", re.IGNORECASE)', 'PORT[ \\t]+([0-9,]+)[ \\t]*")',
    ),
    Fault(
        (2,), "one space alone may stand before the numbers", GRAMMAR,
        'rb"[ \\t]*PORT[ \\t]+([0-9,]+)[ \\t]*"', 'rb"PORT ([0-9,]+)"',
    ),
    Fault(
        (3,), "a leading zero means octal", GRAMMAR,
        "values = [int(field) for field in fields]",
        "values = [int(field, 8 if field[:1] == b'0' and b'8' not in field else 10) for field in fields]",
    ),
    Fault(
        (4,), "numbers above 255 wrap", GRAMMAR,
        "values = [int(field) for field in fields]", "values = [int(field) % 256 for field in fields]",
    ),
    Fault(
        (5, 12), "a PORT or EPRT that names nothing never reaches the server", CLIENT,
        "self._session.waiting.add(Kind.NAME)\n        out.let(len(line.raw))",
        'self._session.waiting.add(Kind.NAME)\n        out.say(Replace(len(line.raw), b"NOOP\\r\\n"))',
    ),
    Fault(
        (6,), "ports below min_port are opened", RULES,
        "if named.port < policy.min_port and named.port not in policy.low_ports:", "if named.port < 1:",
    ),
    Fault(
        (7,), "a 227 is only read with its numbers in parentheses", GRAMMAR,
        'groups = [match for match in _NUMBERS.finditer(text, 3) if match[0].count(b",") == 5]',
        "groups = [match for match in _NUMBERS.finditer(text, 3) "
        'if match[0].count(b",") == 5 and text[match.start() - 1 : match.start()] == b"("]',
    ),
    Fault(
        (8, 10), "a 227 that names nothing is kept from the client", SERVER,
        "reason))\n        self._answered(line, out)\n        out.let(len(line.raw))",
        'reason))\n        self._answered(line, out)\n        out.say(Replace(len(line.raw), b"425 no\\r\\n"))',
    ),
    Fault(
        (9,), "the first digits of a 227 are taken for its address", GRAMMAR,
        "[match for match in _NUMBERS.finditer(text, 3) if",
        "[match for match in list(_NUMBERS.finditer(text, 3))[:1] if",
    ),
    Fault(
        (11,), "a port above 65535 wraps in a 229", GRAMMAR,
        "if len(digits) > 5 or int(digits) > 65535:\n        return Fault.BAD_NUMBER",
        'digits = b"%d" % (int(digits) & 0xFFFF)',
    ),
    Fault(
        (13,), "the family in an EPRT isn't compared with the session's", GRAMMAR,
        'if family not in (b"1", b"2") or (family == b"1") != (version == 4):', 'if family not in (b"1", b"2"):',
    ),
    Fault(
        (14,), "IPv6 addresses are read in small letters alone", GRAMMAR,
        're.compile(r"[0-9A-Fa-f:]+")', 're.compile(r"[0-9a-f:]+")',
    ),
)  # fmt: skip

READING = (
    Fault(
        (15,), "CR LF alone ends a line", LINES,
        'stop = data.find(b"\\n", start) + 1',
        'stop = (data.find(b"\\r\\n", start) + 2) * (b"\\r\\n" in data[start:])',
    ),
    Fault(
        (16,), "Telnet commands are taken for text", LINES,
        'rb"[\\x00\\xff]|\\r(?!\\n)"', 'rb"\\x00|\\r(?!\\n)"',
    ),
    Fault(
        (17,), "227 is found anywhere in a reply", SERVER,
        "head = line.text[:4]", 'head = b"227 " if b"227 " in line.text else line.text[:4]',
    ),
    Fault((18,), "a NUL is no flaw", LINES, 'rb"(?<!\\r)\\x00"', 'rb"(?!)"'),
    Fault(
        (19,), "the length of a line has no limit", LINES,
        "if len(raw) > self._limit or not stop:", "if not stop:",
    ),
    Fault(
        (20,), "a PORT is read wherever it stands in a line", LINES,
        "return Line(raw, raw[:-2])", 'return Line(raw, raw[max(0, raw.find(b"PORT ")) : -2])',
    ),
    Fault(
        (21, 41, 43), "a PORT or 227 may name any host", RULES,
        "if ip != own:", "if False:",
    ),
    Fault(
        (22,), "an unknown command never reaches the server", CLIENT,
        'b"ABOR" and session.waiting.transferring)\n        out.let(len(line.raw))',
        'b"ABOR" and session.waiting.transferring)\n        out.say(Replace(len(line.raw), b"NOOP\\r\\n"))',
    ),
)  # fmt: skip

PAIRING = (
    Fault(
        (23, 30), "a 227 or 229 counts whatever it answers", SERVER,
        "            if kind is not None and REPLIES.get((kind, reply)) is Effect.ANNOUNCE:",
        "            if reply in _ADDRESSED:",
    ),
    Fault(
        (24,), "the first line of a multi-line reply is taken for its last", DIALOGUE,
        'for tail in (b" ", b"\\t", b"")', 'for tail in (b" ", b"\\t", b"", b"-")',
    ),
    Fault(
        (25,), "a 227 in the greeting's place answers a command", SERVER,
        "Reply.CLOSING, Reply.PASSIVE, Reply.EXTENDED)", "Reply.CLOSING)",
    ),
    Fault(
        (26,), "replies said by the client are not told", CLIENT,
        "if verb[:1].isdigit() and _CODE.fullmatch(verb):", "if False:",
    ),
    Fault(
        (27, 29), "any answer agrees to a PORT", SESSION,
        """            if fate is Fate.AGREED and not flaw:""",
        """            if fate in (Fate.AGREED, Fate.DECLINED) and not flaw:""",
    ),
    Fault(
        (28,), "an older agreement is only forgotten, not withdrawn", SESSION,
        'out.say(Withdraw(tag, reason), self.event("expectation-withdrawn"',
        'out.say(self.event("expectation-withdrawn"',
    ),
    Fault(
        (31,), "a 229 keeps the inside port", SERVER,
        "replaced = line.replaced(named.start, named.stop, grammar.write(named, public))",
        "replaced = line.replaced(named.start, named.stop, grammar.write(named, public)) if named.ip else line.raw",
    ),
)  # fmt: skip

STREAMS = (
    Fault(
        (32,), "an unfinished line isn't waited for", LINES,
        "return Line(raw, _plain(raw), Flaw.UNFINISHED) if end else None",
        "return Line(raw, _plain(raw), Flaw.UNFINISHED)",
    ),
    Fault(
        (33,), "only the first line of a segment is read", "alg/protocols/ftp/machine.py",
        "            start += len(line.raw)\n",
        "            start += len(line.raw)\n            out.let(len(data) - start)\n            return\n",
    ),
    Fault(
        (34,), "a correction forgets those before it", "bpf/include/seqadj.h",
        "if (!seq_after(c->end, seq)) {\n            delta = c->after;",
        "if (!seq_after(c->end, seq)) {\n            delta = c->after - c->before;",
    ),
    Fault(
        (39,), "the urgent pointer stays when a line before it changes its length", "bpf/include/seqadj.h",
        "__be16 to = bpf_htons((u16)(shift_seq(adj, dir, seq + bpf_ntohs(from)) - shifted));", "__be16 to = from;",
    ),
)  # fmt: skip

SESSIONS = (
    Fault(
        (35,), "what follows AUTH is read before its answer", CLIENT,
        "if session.waiting.securing and not session.ending:", "if False:",
    ),
    Fault(
        (36,), "reading goes on after 234", SERVER,
        "if effect is Effect.SECURE:\n            return", "if False:\n            return",
    ),
    Fault(
        (37,), "AUTH is cut out of FEAT's answer", SERVER,
        "self._is_text(line, reply, out):\n            out.let(len(line.raw))",
        "self._is_text(line, reply, out):\n"
        '            out.say(Replace(len(line.raw), line.raw.replace(b" AUTH TLS", b" XXXX TLS")))',
    ),
    Fault(
        (38,), "REIN leaves agreements in force", SERVER,
        'session.supersede_open(out, reason="reinitialised")', "pass",
    ),
    Fault(
        (40,), "whoever was spoken to may connect to a mapping (address-dependent filtering)",
        "alg/gateway/settings.py",
        'flag.FILTER_ADF: nat.filtering == "address-dependent",', "flag.FILTER_ADF: True,",
    ),
    Fault(
        (42,), "the public address in a 227 of its owner is a third host's", RULES,
        "if inside and ip == control.public.ip:", "if False:",
    ),
    Fault(
        (44,), "a used expectation keeps its port", "alg/engine/expectations.py",
        "self._release(book, tag, out, used=True)", "pass",
    ),
    Fault(
        (45,), "the inside port is told in place of the public one", CLIENT,
        "replaced = line.replaced(named.start, named.stop, grammar.write(named, public))",
        "replaced = line.replaced(named.start, named.stop, grammar.write(named, public._replace(port=named.port)))",
    ),
)  # fmt: skip

FAULTS: tuple[Fault, ...] = (*SYNTAX, *READING, *PAIRING, *STREAMS, *SESSIONS)
