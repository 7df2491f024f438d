"""FTP dialogues for tests that need many: recorded ones word for word, and random ones from a seed.

The law of this file: what both ends say, as they write it; it knows the inside address and nothing of the gateway.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.textbook import Exchange

GREETING = Exchange(b"", b"220 (vsFTPd 3.0.3)\r\n")
LOGIN = (
    Exchange(b"USER anonymous\r\n", b"331 Please specify the password.\r\n"),
    Exchange(
        b"PASS me@example.net\r\n", b"230-Welcome.\r\n227 is no answer here (10,0,0,5,9,9)\r\n230 Login successful.\r\n"
    ),
)
ORDINARY = (
    Exchange(b"SYST\r\n", b"215 UNIX Type: L8\r\n"),
    Exchange(b"TYPE I\r\n", b"200 Switching to Binary mode.\r\n"),
    Exchange(b"NOOP\n", b"200 NOOP ok.\n"),
    Exchange(b"FEAT\r\n", b"211-Features:\r\n EPRT\r\n EPSV\r\n PASV\r\n211 End\r\n"),
    Exchange(b"STAT\r\n", b"211-Status\r\n227 Entering Passive Mode (10,0,0,5,200,1).\r\n211 End\r\n"),
    Exchange(b"SITE PORT 10,0,0,5,200,2\r\n", b"500 Unknown SITE command.\r\n"),
    Exchange(b"CWD \xff\xff\r\n", b"550 227 (10,0,0,5,200,3)\r\n"),
    Exchange(b"PORT 10,0,0,5,0,21\r\n", b"500 Illegal PORT command.\r\n"),
    Exchange(b"PORT 10,0,0,256,4,1\r\n", b"501 Bad number.\r\n"),
    Exchange(b"PASV x\r\n", b"500 No.\r\n"),
    Exchange(b"HELP\r\n", b"214-" + b"The following commands are recognized. " * 30 + b"\r\n214 Help OK.\r\n"),
)
TLS = Exchange(b"AUTH TLS\r\n", b"234 Proceed with negotiation.\r\n")
NO_TLS = Exchange(b"AUTH TLS\r\n", b"530 Please login with USER and PASS.\r\n")
DENIED = Exchange(b"DELE important\r\n", b"")
TRANSFER = Exchange(b"LIST\r\n", b"150 Here comes the directory listing.\r\n226 Directory send OK.\r\n")
QUIT = Exchange(b"QUIT\r\n", b"221 Goodbye.\r\n")


def port(inside: str, number: int, granted: bool = True) -> Exchange:
    """PORT with the address as given."""
    line = b"PORT %s,%d,%d\r\n" % (inside.replace(".", ",").encode(), number >> 8, number & 255)
    return Exchange(line, b"200 PORT command successful.\r\n" if granted else b"500 Illegal PORT command.\r\n")


def eprt(inside: str, number: int, granted: bool = True) -> Exchange:
    line = b"EPRT |1|%s|%d|\r\n" % (inside.encode(), number)
    return Exchange(line, b"200 EPRT command successful.\r\n" if granted else b"522 Unsupported.\r\n")


def pasv(server: str, number: int) -> Exchange:
    six = b"%s,%d,%d" % (server.replace(".", ",").encode(), number >> 8, number & 255)
    return Exchange(b"PASV\r\n", b"227 Entering Passive Mode (" + six + b").\r\n")


def epsv(server: str, number: int) -> Exchange:
    return Exchange(b"EPSV\r\n", b"229 Entering Extended Passive Mode (|||%d|).\r\n" % number)


def random_dialogue(random: Random, client: str, server: str, ports: Callable[[], int], size: int) -> list[Exchange]:
    """`size` exchanges after a login, each port from `ports`, and QUIT at the end."""
    made = [GREETING, *LOGIN]
    for _ in range(size):
        kind = random.randrange(7)
        if kind < 2:
            made.append(random.choice(ORDINARY))
        elif kind == 6:
            made.append(TRANSFER)
        elif kind < 4:
            made.append(random.choice((port, eprt))(client, ports(), random.random() < 0.8))
        else:
            made.append(random.choice((pasv, epsv))(server, ports()))
    return [*made, QUIT]
