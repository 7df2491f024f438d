"""The pictures of `top` in README.md and deploy/top.svg, made anew: `sudo .venv/bin/python -m tests.pictures`.

The law of this file: a lab, a little of everything that views show, and `algate top --once`; nothing is drawn here.
"""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from algate.cli.lab.gateways import AlgateGateway, algate
from algate.cli.lab.host import call_in
from algate.cli.lab.lab import Lab, LabPlan
from algate.cli.lab.servers import start_server
from tests.netns.talk import Echo, Line, Talker

ROOT = Path(__file__).parents[1]
README, PICTURE = ROOT / "README.md", ROOT / "deploy/top.svg"
LINES: Mapping[str, int] = {"sessions": 21, "hosts": 9, "ports": 9, "drops": 11, "events": 12}
WIDTH, SVG_WIDTH, SVG_LINES = 80, 132, 26
CLIENTS = ("10.77.0.2", "10.77.0.3", "10.77.0.7")
ECHO = 7007
CONFIG = """
[nat]
max_sessions_per_host = 20
[alg.ftp]
deny = ["DELE"]
"""
BLOCK = r"(<!-- top: {name} -->\n```\n)(.*?)(```\n)"


def block(readme: str, name: str) -> str:
    """The picture of a view in README.md; AssertionError if there is none."""
    found = re.search(BLOCK.format(name=name), readme, re.DOTALL)
    assert found is not None, f"README.md has no picture of top's view {name}"
    return found[2]


def replaced(readme: str, name: str, picture: str) -> str:
    """README.md with another picture of a view."""
    block(readme, name)
    return re.sub(BLOCK.format(name=name), lambda found: found[1] + picture + found[3], readme, flags=re.DOTALL)


@contextlib.contextmanager
def traffic(lab: Lab, gateway: AlgateGateway) -> Iterator[None]:
    """Transfers in two modes, talk, a host that wants too much, a scan, a command that is refused."""
    server = start_server("vsftpd", lab.server)
    (server.pub / "disk.iso").write_bytes(bytes(1 << 20) * 24)
    address, login = lab.plan.servers[0], server.login
    ended = threading.Event()

    def slowly(client: int, passive: bool) -> None:
        with Talker(lab.clients[client], address, login) as talker, contextlib.suppress(OSError):
            talker.ftp.set_pasv(passive)
            connection = call_in(talker.host.netns, lambda: talker.ftp.transfercmd("RETR pub/disk.iso"))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            while not ended.wait(0.04) and connection.recv(1 << 15):
                pass
            connection.close()

    def talk(line: Line) -> None:
        with contextlib.suppress(OSError):
            while not ended.wait(0.05):
                line.ask(b"x" * 400)

    with contextlib.ExitStack() as stack:
        stack.enter_context(Echo(lab.server, ECHO))
        talker = stack.enter_context(Talker(lab.clients[1], address, login))
        with contextlib.suppress(Exception):
            talker.say("DELE disk.iso")
        lines = [stack.enter_context(Line(lab.clients[number], address, ECHO)) for number in (0, 2)]
        threads = [threading.Thread(target=talk, args=(line,)) for line in lines]
        threads += [threading.Thread(target=slowly, args=args) for args in ((0, True), (1, False))]
        wanting = stack.enter_context(lab.clients[2].socket(kind=socket.SOCK_DGRAM))
        for port in range(20_000, 20_060):
            wanting.sendto(b"x", (address, port))
        scan = stack.enter_context(lab.server.socket(kind=socket.SOCK_DGRAM))
        for port in range(5000, 5040):
            scan.sendto(b"x", (lab.plan.public[0], port))
        for one in threads:
            one.start()
        time.sleep(4)
        yield
        ended.set()
        for one in threads:
            one.join()


def shown(gateway: AlgateGateway, *options: str) -> str:
    """What `algate top` prints."""
    argv = [*algate(), "top", "--run-dir", str(gateway.run_dir), *options]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def main() -> None:
    """Write both files."""
    with Lab(LabPlan(clients=CLIENTS)) as lab, AlgateGateway(lab, config=CONFIG) as gateway, traffic(lab, gateway):
        readme = README.read_text()
        for name, lines in LINES.items():
            picture = shown(gateway, "--once", "--view", name, "--columns", str(WIDTH), "--lines", str(lines))
            readme = replaced(readme, name, picture)
        shown(gateway, "--svg", str(PICTURE), "--columns", str(SVG_WIDTH), "--lines", str(SVG_LINES))
    README.write_text(readme)
    print(f"wrote {len(LINES)} views into {README.name}, and {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
