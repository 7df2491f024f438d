"""An FTP client on Python's ftplib, as a separate program: HOST PORT USER PASSWORD MODE OPERATION REMOTE LOCAL.

The law of this file: standard library only, run as a script. It makes ftplib speak each of the four modes over IPv4;
OPERATION is get, put or list; the host in a 227 is used as it is, so that a wrong one shows.
"""

from __future__ import annotations

import ftplib
import socket
import sys
from pathlib import Path


class FtplibClient(ftplib.FTP):
    """ftplib with the mode chosen by name instead of by address family."""

    trust_server_pasv_ipv4_address = True
    mode = "PASV"

    def makepasv(self) -> tuple[str, int]:
        if self.mode == "EPSV":
            return ftplib.parse229(self.sendcmd("EPSV"), self.sock.getpeername())  # type: ignore[union-attr]
        return ftplib.parse227(self.sendcmd("PASV"))

    def makeport(self) -> socket.socket:
        assert self.sock is not None
        listener = socket.create_server(("", 0), family=self.sock.family, backlog=1)
        host, port = self.sock.getsockname()[0], listener.getsockname()[1]
        if self.mode == "EPRT":
            self.sendcmd(f"EPRT |{2 if ':' in host else 1}|{host}|{port}|")
        else:
            self.sendport(host, port)
        listener.settimeout(self.timeout)
        return listener


def main(argv: list[str]) -> int:
    host, port, user, password, mode, operation, remote, local = argv
    client = FtplibClient(timeout=15)
    client.mode = mode
    client.connect(host, int(port))
    client.login(user, password)
    client.set_pasv(mode in ("PASV", "EPSV"))
    if operation == "get":
        with Path(local).open("wb") as sink:
            client.retrbinary(f"RETR {remote}", sink.write, 1 << 18)
    elif operation == "put":
        with Path(local).open("rb") as source:
            client.storbinary(f"STOR {remote}", source, 1 << 18)
    else:
        lines: list[str] = []
        client.retrlines(f"NLST {remote}", lines.append)
        Path(local).write_text("\n".join(lines))
    client.quit()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
