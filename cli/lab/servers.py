"""Real FTP servers for the lab: Debian's programs, configured for one namespace.

The law of this file: how each server is configured and started, nothing about gateways or judging. All serve one
folder with a writable `pub/`, in active and passive mode; none changes an announced address itself, so that what
an outside peer sees is the gateway's doing. They run unpacked (deploy/unpack-servers.sh) or installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from algate.alg.errors import MISSING, USAGE
from algate.cli.lab.host import Host, LabError, Spawned

NOBODY = 65534  # Debian's nobody and nogroup: owns what is uploaded
# crypt(3) of the password "lab": a fixed string, since Python loses its crypt module.
LAB_HASH = "$6$algatelab$Y/lIo61OXUJA6j0xZ4GbRm1m4BP6TtiU8vRd4crMkcTJ9taeIiNpMQ3pJ.9MGl7GYUNY9iZXiWKCyyr8CaIzm."


@dataclass(frozen=True)
class Login:
    user: str
    password: str


@dataclass(frozen=True)
class Setting:
    """What a configuration is made from."""

    folder: Path  # configuration, pid files, logs
    root: Path  # the folder that is served
    address: str
    port: int
    more: Mapping[str, object] = field(default_factory=dict)  # keys of the server's own configuration; vsftpd only
    threads: bool = False  # one for each session; pyftpdlib only, the others have a process each


@dataclass(frozen=True)
class ServerKind:
    """A server program: its Debian package, file and login, and the function that configures it and gives its argv."""

    package: str
    program: str
    login: Login
    configure: Callable[[Setting, str], list[str]]


class FtpServer:
    """A running FTP server in a host's namespace; `pub` is its writable folder as this process sees it."""

    def __init__(self, kind: str, host: Host, process: Spawned, root: Path, port: int) -> None:
        self.kind = kind
        self.host = host
        self.process = process
        self.root = root
        self.port = port
        self.login = KINDS[kind].login

    @property
    def pub(self) -> Path:
        return self.root / "pub"

    def stop(self) -> None:
        self.process.stop()


def start_server(
    kind: str,
    host: Host,
    *,
    port: int = 21,
    more: Mapping[str, object] | None = None,
    threads: bool = False,
    env: Mapping[str, str] | None = None,
    address: str = "",
) -> FtpServer:
    """Start a server of that kind on every address of the host, or of IPv6 for an `address` of that. Raises
    LabError if it doesn't listen within 10 s."""
    if kind not in KINDS:
        raise LabError(f"no FTP server called {kind}: one of {', '.join(KINDS)}", USAGE)
    base = host.folder / f"{host.name}-{kind}-{len(host.spawned)}"
    setting = Setting(base, base / "files", address or host.address, port, more or {}, threads)
    (setting.root / "pub").mkdir(parents=True)
    (setting.root / "pub").chmod(0o777)  # the servers write as different accounts
    argv = KINDS[kind].configure(setting, find_program(KINDS[kind]))
    process = host.spawn(kind, argv, cwd=base, env=env)
    if not host.wait_port(port, alive=process.alive):
        process.kill()
        raise LabError(f"{kind} isn't listening on {host.address}:{port}: {process.tail() or 'no output'}")
    return FtpServer(kind, host, process, setting.root, port)


def find_program(kind: ServerKind) -> str:
    """The server's program, unpacked for the lab or installed. Raises LabError with the remedy."""
    if kind.program == "pyftpdlib":
        return "/usr/bin/python3"
    unpacked = Path(sys.prefix) / "servers" / kind.package / "usr/sbin" / kind.program
    if unpacked.exists():
        return str(unpacked)
    found = shutil.which(kind.program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise LabError(
            f"{kind.program} is missing: `deploy/dev.sh setup test` unpacks Debian's {kind.package} for the lab",
            MISSING,
        )
    return found


def _vsftpd(s: Setting, program: str) -> list[str]:
    empty = s.folder / "empty"
    empty.mkdir()
    lines = {
        "listen": "YES",
        "listen_port": s.port,
        "background": "NO",
        "anonymous_enable": "YES",
        "local_enable": "NO",
        "no_anon_password": "YES",
        "ftp_username": "daemon",  # wants an account whose home exists
        "nopriv_user": "nobody",
        "anon_root": s.root,
        "anon_upload_enable": "YES",
        "anon_mkdir_write_enable": "YES",
        "anon_other_write_enable": "YES",
        "anon_umask": "022",
        "anon_world_readable_only": "NO",
        "write_enable": "YES",
        "connect_from_port_20": "YES",
        "secure_chroot_dir": empty,
        "seccomp_sandbox": "NO",
        "xferlog_enable": "NO",
        "use_localtime": "NO",
        "max_clients": 0,
        "max_per_ip": 0,
        **({"listen": "NO", "listen_ipv6": "YES"} if ":" in s.address else {}),
        **s.more,
    }
    config = s.folder / "vsftpd.conf"
    config.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
    return [program, str(config)]


def _proftpd(s: Setting, program: str) -> list[str]:
    users = s.folder / "passwd"
    users.write_text(f"lab:{LAB_HASH}:{NOBODY}:{NOBODY}::{s.root}:/bin/sh\n")
    groups = s.folder / "group"
    groups.write_text(f"lab:x:{NOBODY}:lab\n")
    for file in (users, groups):
        file.chmod(0o600)
    config = s.folder / "proftpd.conf"
    config.write_text(f"""
ServerName lab
ServerIdent on lab
ServerType standalone
DefaultServer on
DefaultAddress {s.address}
Port {s.port}
UseIPv6 {"on" if ":" in s.address else "off"}
UseReverseDNS off
WtmpLog off
TransferLog none
SystemLog {s.folder}/proftpd.log
PidFile {s.folder}/proftpd.pid
ScoreboardFile {s.folder}/scoreboard
DelayTable none
User nobody
Group nogroup
AuthOrder mod_auth_file.c
AuthUserFile {users}
AuthGroupFile {groups}
RequireValidShell off
DefaultRoot {s.root}
AllowOverwrite on
Umask 022
MaxInstances 500
<IfModule mod_ident.c>
IdentLookups off
</IfModule>
<IfModule mod_delay.c>
DelayEngine off
</IfModule>
""")
    return [program, "-n", "-q", "-c", str(config)]


def _pure_ftpd(s: Setting, program: str) -> list[str]:
    users = s.folder / "passwd"
    users.write_text(f"lab:{LAB_HASH}:{NOBODY}:{NOBODY}::{s.root}/./::::::::::::\n")
    users.chmod(0o600)
    database = s.folder / "users.pdb"
    maker = Path(program).parent.parent / "bin" / "pure-pw"
    done = subprocess.run([str(maker), "mkdb", str(database), "-f", str(users)], capture_output=True, text=True)
    if done.returncode != 0:
        raise LabError(f"pure-pw made no user database: {done.stderr.strip() or done.stdout.strip()}")
    options = [
        *([] if ":" in s.address else ["-4"]),
        "-H",
        "-E",
        "-A",
        "-u",
        "1",
        "-c",
        "500",
        "-C",
        "500",
        "-U",
        "022:022",
        "-g",
        f"{s.folder}/pid",
    ]
    return [program, *options, "-S", str(s.port), "-l", f"puredb:{database}"]


_THREADED = """
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import ThreadedFTPServer
FTPHandler.authorizer = DummyAuthorizer()
FTPHandler.authorizer.add_anonymous(sys.argv[2], perm="elradfmwMT")
ThreadedFTPServer(("0.0.0.0", int(sys.argv[1])), FTPHandler).serve_forever()
"""


def _pyftpdlib(s: Setting, program: str) -> list[str]:
    every = "::" if ":" in s.address else "0.0.0.0"
    if s.threads:
        return [program, "-W", "ignore", "-c", _THREADED, str(s.port), str(s.root)]
    return [program, "-W", "ignore", "-m", "pyftpdlib", "-i", every, "-p", str(s.port), "-w", "-d", str(s.root)]


ANONYMOUS = Login("anonymous", "lab@example.org")
LAB = Login("lab", "lab")
KINDS = {
    "vsftpd": ServerKind("vsftpd", "vsftpd", ANONYMOUS, _vsftpd),
    "proftpd": ServerKind("proftpd-core", "proftpd", LAB, _proftpd),
    "pure-ftpd": ServerKind("pure-ftpd", "pure-ftpd", LAB, _pure_ftpd),
    "pyftpdlib": ServerKind("python3-pyftpdlib", "pyftpdlib", ANONYMOUS, _pyftpdlib),
}
