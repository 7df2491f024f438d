"""The initial corpus: the recorded dialogues and the hard lines, in each target's own form.

The law of this file: bytes for `targets`; what the fuzzer found is in the corpus too, but isn't made here.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

from tests.dialogues import DENIED, GREETING, LOGIN, NO_TLS, ORDINARY, QUIT, TLS, TRANSFER, eprt, epsv, pasv, port
from tests.textbook import Exchange

HARD_LINES = (
    b"PORT 10,0,0,5,0,0\r\n", b"\xc5\xbfITE x\r\n", b"\xff\xfbDELE x\r\n", b"\xffADELE x\r\n",
    b"PORT 10,0,0,5,19,137\r\n", b"port 010,000,000,005,019,137\n", b"PORT 10,0,0,5,256,1\r\n",
    b"EPRT |1|10.0.0.5|6446|\r\n", b"EPRT !2!2001:db8::5!6446!\r\n", b"EPRT |2|::ffff:10.0.0.5|1|\r\n",
    b"227 Mode 2 (10,0,0,5,4,1)\r\n", b"227 =10,0,0,5,4,1.\r\n", b"227 Logout.\r\n", b"229 ok (!!!6446!)\r\n",
    b"229 (|||1000000|)\r\n", b"\xff\xf4\xff\xf2ABOR\r\n", b"\xff\xfb\nPORT 1\r\n", b"NOOP\r\0DELE x\r\n", b"NO\0OP\n",
    b"NOOP\rDELE x\r\n", b"\x0bDELE x\r\n", b"y" * 80 + b"\r\n", b"\xff\xfaDELE x\r\n", b"GET / HTTP/1.1\r\n",
)  # fmt: skip


def dialogues() -> dict[str, list[Exchange]]:
    """The recorded dialogues, by name; the inside host is 10.0.0.5."""
    inside, outside = "10.0.0.5", "198.51.100.2"
    return {
        "active": [GREETING, *LOGIN, port(inside, 5001), TRANSFER, eprt(inside, 5002), TRANSFER, QUIT],
        "passive": [GREETING, *LOGIN, pasv(outside, 5001), TRANSFER, epsv(outside, 5002), TRANSFER, QUIT],
        "passive-inside": [GREETING, *LOGIN, pasv(inside, 5001), TRANSFER, epsv(inside, 5002), TRANSFER, QUIT],
        "ordinary": [GREETING, *LOGIN, *ORDINARY[:7], QUIT],
        "refused": [GREETING, *LOGIN, port(inside, 5001, False), eprt(inside, 80), DENIED, DENIED, TRANSFER, QUIT],
        "tls": [GREETING, NO_TLS, TLS, Exchange(b"\x16\x03\x01", b"\x16\x03\x03"), QUIT],
    }


def write_seeds(corpus: Path) -> None:
    """All of them, as files named after their contents."""
    for number, line in enumerate(HARD_LINES):
        _write(corpus, "grammar", f"line-{number:02}", b"4" + line.rstrip(b"\r\n"))
        _write(corpus, "machine", f"line-{number:02}", b"\1" + b"\1".join((b"\x01220 hi\r\n", b"\0" + line)))
        _write(corpus, "frames", f"line-{number:02}", bytes(3) + b"\1" + bytes(8) + b"\x18\1\0\0" + line)
    _write(corpus, "lines", "all", b"\2" + b"".join(HARD_LINES))
    random = Random(1)
    for number in range(4):
        _write(corpus, "stream", f"random-{number}", random.randbytes(90))
    for name, told in dialogues().items():
        for first in (b"\0", b"\1", b"\2", b"\x80", b"\x81"):
            turns = [turn for one in told for turn in (b"\0" + one.command, b"\1" + one.reply) if len(turn) > 1]
            _write(corpus, "machine", f"{name}-{first.hex()}", first + b"\1".join(t.replace(b"\1", b"") for t in turns))
        inside = b"\1" if name != "passive-inside" else b"\0"
        words = b"\1".join(one.command.rstrip(b"\r\n") + b"\2" + one.reply[:-2] for one in told[1:])
        _write(corpus, "engine", name, inside + b"\x20\xff\xff" + random.randbytes(96) + words)


def _write(corpus: Path, target: str, name: str, data: bytes) -> None:
    (corpus / target).mkdir(parents=True, exist_ok=True)
    (corpus / target / name).write_bytes(data)
