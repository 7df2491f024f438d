"""What `algate doctor` looks at in a gateway of two: its engines, the witness, keepalived, and both nodes' files.

The law of this file: as in doctor.py, it looks and changes nothing. A gateway alone has none of these checks.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from algate.alg.admin import control
from algate.alg.config import load as configuration
from algate.alg.config.load import Config
from algate.alg.findings import CheckRow
from algate.alg.plugin import policy, registry
from algate.alg.plugin.model import EndPoint

SECONDS = 1.0
CONF = Path("/etc/keepalived/keepalived.conf")
WRITE = "algate ha keepalived --config FILE --inside IP/LENGTH >/etc/keepalived/keepalived.conf"
Row = tuple[str, Callable[[], CheckRow]]


def checks(run_dir: Path) -> list[Row]:
    """By name, in the order to run them; none for a gateway alone, or without a daemon to ask."""
    try:
        status = control.request(run_dir, "status", seconds=control.SOON)
    except control.ControlError:
        return []
    told = status.get("ha") if isinstance(status, dict) else None
    if not isinstance(told, dict):
        return []
    file = status.get("config")

    def config() -> Config:
        return configuration.load(Path(file) if file else None, {}, policy.kinds(registry.discover()))

    return [
        ("pair", lambda: pair(told)),
        ("pair-secret", lambda: secret(config())),
        ("pair-engines", lambda: engines(config())),
        ("pair-epoch", lambda: epoch(config(), told)),
        ("pair-config", lambda: alike(config())),
        ("keepalived", lambda: keepalived(config(), run_dir)),
    ]


def pair(told: dict[str, Any]) -> CheckRow:
    """How the node stands."""
    words = f"{told['node']} {told['role']}, {told['state']}" + (f": {told['problem']}" if told["problem"] else "")
    if told["role"] == "leads" and told["fenced"]:
        return CheckRow("pair", False, words, "look at keepalived on both nodes, and at the link between them")
    if told["state"] != "in step":
        return CheckRow("pair", False, words, "look at the other node, at its engine and at the link to it")
    return CheckRow("pair", True, f"{words}; {told['sessions']} sessions, epoch {told['epoch']}")


def secret(config: Config) -> CheckRow:
    """Whether others on this host may read the password."""
    path = config.ha.password_file
    if not path:
        return CheckRow("pair-secret", True, "no password: whoever reaches the engines may write to them",
                        "set [ha] user and password_file (deploy/HA.md)")  # fmt: skip
    mode = Path(path).stat().st_mode & 0o777
    if mode & 0o077:
        return CheckRow("pair-secret", False, f"{path} has mode {mode:o}: others may read it", f"chmod 600 {path}")
    return CheckRow("pair-secret", True, f"{path} is for its owner alone")


def engines(config: Config) -> CheckRow:
    """Whether all three answer this node's user, and are set as they have to be."""
    ha, wrong, fixes = config.ha, list[str](), list[str]()
    places = {"engine": ha.engine, "peer": ha.peer, "witness": ha.witness}
    shared = ha.witness in (ha.engine, ha.peer)
    for name, point in places.items():
        said, fix = asyncio.run(_engine(config, point, name == "witness" and not shared))
        wrong += [f"{name}: {said}"] if said else []
        fixes += [fix] if fix else []
    if wrong:
        return CheckRow("pair-engines", False, "; ".join(wrong), "; ".join(dict.fromkeys(fixes)))
    return CheckRow("pair-engines", True, ", ".join(f"{name} {point}" for name, point in places.items()))


async def _engine(config: Config, point: EndPoint | None, keeps: bool) -> tuple[str, str]:
    """What is wrong with one, and what helps; both empty if nothing is. `keeps`: its data has to survive a restart."""
    from algate.alg.ha.credentials import where
    from algate.alg.ha.resp import connect
    from algate.alg.ha.store import StoreError

    try:
        connection = await connect(where(config.ha, point), SECONDS)
        try:
            raw = await connection.ask("INFO", "everything", seconds=SECONDS)
        finally:
            connection.end("that was all")
    except StoreError as error:
        return str(error), "is it running, is the link up, are user, password and rights (+info) those of redis.conf?"
    told = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else ""
    return settings(dict(re.findall(r"(?m)^(\w+):([^\r\n]*)", told)), keeps)


def settings(info: dict[str, str], keeps: bool) -> tuple[str, str]:
    """As _engine, by what INFO says."""
    conf = "as in deploy/ha/redis.conf"
    if info.get("role") != "master" or info.get("connected_slaves", "0") != "0":
        return "it is replicated: a primary that restarts empty would wipe the other", f"no replicaof, {conf}"
    if info.get("maxmemory_policy", "noeviction") != "noeviction":
        return (
            f"it throws records away when it is full ({info['maxmemory_policy']})",
            f"maxmemory-policy noeviction, {conf}",
        )
    aof = info.get("aof_enabled") == "1"
    if keeps and not aof:
        return "it forgets the epoch when it restarts", "appendonly yes at the witness"
    if not keeps and aof:
        return "an old log comes back when it restarts", f"appendonly no, {conf}"
    return "", ""


def epoch(config: Config, told: dict[str, Any]) -> CheckRow:
    """Whether the witness's number is the latest, and its node the one that leads."""
    number, node, last = asyncio.run(_epochs(config))
    words = f"{number} of {node}, the logs' is {last}"
    if number < last:
        return CheckRow("pair-epoch", False, f"{words}: the witness has lost its data",
                        "it mends itself at the next take-over; give the witness `appendonly yes`")  # fmt: skip
    if (told["role"] == "leads") != (node == told["node"]) and node != "-":
        return CheckRow("pair-epoch", False, f"{words}, and {told['node']} {told['role']}",
                        "look again in some seconds; then at keepalived on both nodes")  # fmt: skip
    return CheckRow("pair-epoch", True, words)


async def _epochs(config: Config) -> tuple[int, str, int]:
    from algate.alg.ha import epoch as epochs
    from algate.alg.ha.credentials import where
    from algate.alg.ha.redis import RedisKeys, RedisLog

    keys, last = RedisKeys(where(config.ha, config.ha.witness), SECONDS), 0
    stood = await epochs.stands(keys)
    await keys.close()
    for point in (config.ha.engine, config.ha.peer):
        log = RedisLog(where(config.ha, point), "control", SECONDS)
        last = max(last, (await log.last()).epoch)
        await log.close()
    return stood.number, stood.node, last


def alike(config: Config) -> CheckRow:
    """Whether both nodes' configurations are the same where they have to be."""
    from algate.alg.ha import likeness

    a, b = asyncio.run(_left(config))
    if not a or not b:
        return CheckRow("pair-config", True, "the other node hasn't told its own yet", "start algate there")
    different = likeness.differences(a, b)
    if different:
        fix = "make the files equal, apart from [ha], then `algate reload` on both"
        return CheckRow("pair-config", False, f"the nodes differ in {', '.join(different)}", fix)
    return CheckRow("pair-config", True, "the same on both nodes")


async def _left(config: Config) -> tuple[bytes, bytes]:
    from algate.alg.ha import likeness
    from algate.alg.ha.credentials import where
    from algate.alg.ha.redis import RedisKeys

    keys = RedisKeys(where(config.ha, config.ha.witness), SECONDS)
    try:
        return await keys.read(likeness.key("a")), await keys.read(likeness.key("b"))
    finally:
        await keys.close()


def keepalived(config: Config, run_dir: Path, conf: Path = CONF, proc: Path = Path("/proc")) -> CheckRow:
    """Whether it is there, runs, and says what `algate ha keepalived` says now."""
    from algate.alg.ha import keepalived as made

    if shutil.which("keepalived") is None:
        return CheckRow("keepalived", False, "it isn't installed: nobody moves the addresses", "apt install keepalived")
    if not any(_named(one) == "keepalived" for one in proc.glob("[0-9]*/comm")):
        return CheckRow("keepalived", False, "it doesn't run here", "systemctl enable --now keepalived")
    try:
        text = conf.read_text()
    except OSError as error:
        return CheckRow("keepalived", False, f"{conf}: {error.strerror}", WRITE)
    if not text.startswith(made.LEAVE):
        return CheckRow("keepalived", True, f"runs; {conf} isn't algate's", f"compare it with `{WRITE}`")
    device, advert = (re.search(rf"(?m)^ +{word} (\S+)$", text) for word in ("interface", "advert_int"))
    block = re.search(r"(?s)virtual_ipaddress \{(.*?)\}", text)
    inside = tuple(line.split()[0] for line in block[1].splitlines() if line.strip()) if block else ()
    wanted = device and advert and made.text(config, device[1], inside, run_dir, float(advert[1]))
    if wanted != text:
        return CheckRow(
            "keepalived", False, f"{conf} isn't what the configuration says now", f"{WRITE}, then reload it"
        )
    return CheckRow("keepalived", True, f"runs, and {conf} is up to date")


def _named(comm: Path) -> str:
    try:
        return comm.read_text().strip()
    except OSError:
        return ""
