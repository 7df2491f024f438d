"""How each FTP client program is told to get, put or list in one of the four modes.

The law of this file: command lines only. A client that can't do something is asked anyway (`Refusal`), so that its own
words appear in the matrix and not ours.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from algate.alg.errors import MISSING, USAGE
from algate.cli.lab.host import PATIENCE, Host, LabError
from algate.cli.lab.judge import Mode
from algate.cli.lab.servers import Login

_REFUSAL = re.compile(r"(?i)no such|unrecogni[sz]ed|unknown|invalid")
SECONDS = round(15 * PATIENCE)  # s that a client waits; a gateway that answers late is a failure, not a slow success


class Operation(StrEnum):
    GET = "get"
    PUT = "put"
    LIST = "list"


@dataclass(frozen=True)
class Errand:
    """One transfer: `remote` is a path on the server ("pub/x"; for a list a folder), `local` a file on this side."""

    mode: Mode
    operation: Operation
    address: str
    login: Login
    remote: str
    local: Path
    port: int = 21
    seconds: float = SECONDS

    @property
    def url(self) -> str:
        slash = "/" if self.operation is Operation.LIST else ""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"ftp://{host}:{self.port}/{self.remote}{slash}"


@dataclass(frozen=True)
class ClientOrder:
    """A command line for an errand; if `listing`, its stdout is the listing."""

    argv: list[str]
    text: str = ""
    listing: bool = False


@dataclass(frozen=True)
class ClientRefusal:
    """A command line that makes the program itself say that it can't."""

    argv: list[str]
    text: str = ""


@dataclass(frozen=True)
class Outcome:
    """`listing`: the result of a list; `words`: the program's last words if it failed."""

    code: int
    listing: str
    words: str

    @property
    def ok(self) -> bool:
        return self.code == 0


def _curl(e: Errand) -> ClientOrder | ClientRefusal:
    modes = {
        Mode.PORT: ["--ftp-port", "-", "--disable-eprt"],
        Mode.EPRT: ["--ftp-port", "-"],
        Mode.PASV: ["--ftp-pasv", "--disable-epsv", "--no-ftp-skip-pasv-ip"],
        Mode.EPSV: ["--ftp-pasv"],
    }
    base = ["curl", "-q", "-sS", "--noproxy", "*", "--connect-timeout", str(SECONDS), "--max-time", f"{e.seconds:g}"]
    base += ["--user", f"{e.login.user}:{e.login.password}", *modes[e.mode]]
    transfer = ["--upload-file", str(e.local)] if e.operation is Operation.PUT else ["--output", str(e.local)]
    return ClientOrder([*base, *transfer, e.url])


def _lftp(e: Errand) -> ClientOrder | ClientRefusal:
    six = ":" in e.address  # where it has nothing but EPRT
    if e.mode is Mode.EPRT and not six:
        return ClientRefusal(["lftp", "-c", "set ftp:prefer-eprt yes"])
    settings = {
        "cmd:fail-exit": "yes",
        "net:timeout": SECONDS,
        "net:max-retries": 1,
        "ftp:ssl-allow": "no",
        "ftp:sync-mode": "yes",
        "ftp:fix-pasv-address": "no",
        "ftp:auto-passive-mode": "no",
        "ftp:passive-mode": "no" if e.mode.active else "yes",
        "ftp:prefer-epsv": "yes" if e.mode is Mode.EPSV else "no",
        "xfer:clobber": "yes",
    }
    doing = {
        Operation.GET: f"get {e.remote} -o {e.local}",
        Operation.PUT: f"put {e.local} -o {e.remote}",
        Operation.LIST: f"cls -1 {e.remote}/",
    }[e.operation]
    opening = f"open -u {e.login.user},{e.login.password} -p {e.port} {f'ftp://[{e.address}]' if six else e.address}"
    script = "; ".join([*(f"set {key} {value}" for key, value in settings.items()), opening, doing])
    return ClientOrder(["lftp", "--norc", "-c", script], listing=e.operation is Operation.LIST)


def _ncftp(e: Errand) -> ClientOrder | ClientRefusal:
    program = {Operation.GET: "ncftpget", Operation.PUT: "ncftpput", Operation.LIST: "ncftpls"}[e.operation]
    if e.mode in (Mode.EPRT, Mode.EPSV):
        return ClientRefusal(
            ["ncftp"], text=f"{e.mode.lower()}\nquit\n"
        )  # neither its programs nor its shell have an option for it
    options = ["-u", e.login.user, "-p", e.login.password, "-P", str(e.port), "-t", str(SECONDS), "-r", "0"]
    options.append("-E" if e.mode.active else "-F")
    if e.operation is Operation.LIST:
        return ClientOrder([program, *options, "-l", f"ftp://{e.address}/{e.remote}/"], listing=True)
    paths = [e.remote, str(e.local)] if e.operation is Operation.GET else [str(e.local), e.remote]
    return ClientOrder([program, "-V", *options, "-C", e.address, *paths])


def _tnftp(e: Errand) -> ClientOrder | ClientRefusal:
    doing = {
        Operation.GET: f"get {e.remote} {e.local}",
        Operation.PUT: f"put {e.local} {e.remote}",
        Operation.LIST: f"ls {e.remote} {e.local}",
    }[e.operation]
    toggle = [] if e.mode in (Mode.EPRT, Mode.EPSV) else ["epsv4"]
    script = [*toggle, f"open {e.address} {e.port}", f"user {e.login.user} {e.login.password}", "binary", doing, "quit"]
    option = "-A" if e.mode.active else "-p"
    return ClientOrder(["tnftp", "-n", "-i", "-v", option, "-q", str(SECONDS)], text="\n".join(script) + "\n")


def _wget(e: Errand) -> ClientOrder | ClientRefusal:
    if e.mode in (Mode.EPRT, Mode.EPSV):
        return ClientRefusal(["wget", f"--{e.mode.lower()}", e.url])
    if e.operation is Operation.PUT:
        return ClientRefusal(["wget", "--upload-file", str(e.local), e.url])
    base = ["wget", "--no-config", "-nv", "-4", "--no-proxy", "--tries=1", f"--timeout={SECONDS}", "--no-glob"]
    base += [f"--ftp-user={e.login.user}", f"--ftp-password={e.login.password}"]
    return ClientOrder([*base, *(["--no-passive-ftp"] if e.mode.active else []), "-O", str(e.local), e.url])


def _ftplib(e: Errand) -> ClientOrder | ClientRefusal:
    script = Path(__file__).with_name("ftplib_client.py")
    where = [e.address, str(e.port), e.login.user, e.login.password]
    return ClientOrder([sys.executable, "-I", str(script), *where, e.mode, e.operation, e.remote, str(e.local)])


CLIENTS: dict[str, Callable[[Errand], ClientOrder | ClientRefusal]] = {
    "curl": _curl,
    "lftp": _lftp,
    "ncftp": _ncftp,
    "tnftp": _tnftp,
    "wget": _wget,
    "ftplib": _ftplib,
}


def order(client: str, errand: Errand) -> ClientOrder | ClientRefusal:
    """The command line for this client; LabError if there is no such client."""
    if client not in CLIENTS:
        raise LabError(f"no FTP client called {client}: one of {', '.join(CLIENTS)}", USAGE)
    return CLIENTS[client](errand)


def carry_out(host: Host, client: str, errand: Errand, told: ClientOrder | ClientRefusal) -> Outcome:
    """Run it in the host's namespace. HOME is the lab's folder, so no client touches the operator's files."""
    if shutil.which(told.argv[0]) is None:
        raise LabError(f"{told.argv[0]} is missing: `deploy/dev.sh setup test` installs it", MISSING)
    env = {"HOME": str(host.folder), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "TERM": "dumb"}
    done = host.run(told.argv, text=told.text, timeout=errand.seconds + 10, env=env, cwd=host.folder)
    words = [line.strip() for line in (done.stderr + "\n" + done.stdout).splitlines() if line.strip()]
    if isinstance(told, ClientRefusal):
        refusals = [line for line in words if _REFUSAL.search(line)] or words
        return Outcome(done.returncode, "", refusals[0] if refusals else f"{client}: exit {done.returncode}, no output")
    listing = done.stdout if told.listing else ""
    if errand.operation is Operation.LIST and not told.listing and errand.local.exists():
        listing = errand.local.read_text(errors="replace")
    return Outcome(done.returncode, listing, words[-1] if words else "")
