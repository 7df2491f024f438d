"""Many FTP clients at once, as a separate program: HOST PORT USER PASSWORD CLIENTS TRANSFERS FOLDER.

The law of this file: only the standard library, and ftplib_client.py on the path. Every client is a thread with one
control session; it puts and gets in turn, in the four modes in turn, and compares the content. stdout is one JSON
object: {"done": transfers that were right, "errors": [text, ...]}.
"""

from __future__ import annotations

import io
import json
import random
import sys
import threading

from algate.cli.lab.ftplib_client import FtplibClient

MODES = ("PORT", "PASV", "EPRT", "EPSV")
PATIENCE = 60.0  # s; 50 clients on a busy machine


class Crowd:
    """Counts what went right and keeps what went wrong."""

    def __init__(self, where: tuple[str, int], login: tuple[str, str], transfers: int, folder: str) -> None:
        self.where, self.login, self.transfers, self.folder = where, login, transfers, folder
        self.done = 0
        self.errors: list[str] = []
        self._lock = threading.Lock()

    def client(self, number: int) -> None:
        """One control session."""
        try:
            ftp = FtplibClient(timeout=PATIENCE)
            ftp.connect(*self.where)
            ftp.login(*self.login)
            for turn in range(self.transfers):
                self.transfer(ftp, number, turn)
            ftp.quit()
        except Exception as error:
            with self._lock:
                self.errors.append(f"client {number}: {type(error).__name__}: {error}")

    def transfer(self, ftp: FtplibClient, number: int, turn: int) -> None:
        """Put one file or get back the last one."""
        content = random.Random(number * 1000 + turn // 2).randbytes(20000)
        ftp.mode = MODES[(number + turn) % len(MODES)]
        ftp.set_pasv(ftp.mode in ("PASV", "EPSV"))
        path = f"{self.folder}/{number}-{turn // 2}"
        if turn % 2 == 0:
            ftp.storbinary(f"STOR {path}", io.BytesIO(content))
        else:
            sink = io.BytesIO()
            ftp.retrbinary(f"RETR {path}", sink.write)
            if sink.getvalue() != content:
                raise ValueError(f"content of {path} differs")
        with self._lock:
            self.done += 1


def main(host: str, port: str, user: str, password: str, clients: str, transfers: str, folder: str) -> int:
    """Run the crowd; returns 0 if everything was right."""
    crowd = Crowd((host, int(port)), (user, password), int(transfers), folder)
    threads = [threading.Thread(target=crowd.client, args=(number,)) for number in range(int(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"done": crowd.done, "errors": crowd.errors}))
    return 0 if not crowd.errors else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
