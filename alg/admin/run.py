"""`algate run`: joins the service, the control socket and the verbs that come through it.

The law of this file: who is given what. What a verb does is in its own module or verbs.py; what the gateway does is in
the service, which knows no verb.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from algate.alg import threads
from algate.alg.admin import (
    allowing,
    answering,
    control,
    following,
    handover,
    host_inquiry,
    listings,
    live,
    origins,
    overview,
    pace,
    rights,
    snapshots,
    tables,
    verbs,
    vocabulary,
)
from algate.alg.admin.answering import Handler
from algate.alg.admin.build import build
from algate.alg.admin.capture import capture
from algate.alg.admin.inquiry import inquire
from algate.alg.admin.kill import forwarded, kill
from algate.alg.admin.place import RunDirectory
from algate.alg.admin.status import status
from algate.alg.admin.whose import whose
from algate.alg.answers import ReloadAnswer
from algate.alg.config.load import Config
from algate.alg.daemon.running import Running
from algate.alg.daemon.service import AGAIN, Daemon
from algate.alg.errors import AlgateError
from algate.alg.gateway import listing, namespace
from algate.alg.gateway.claim import Claim, readers
from algate.alg.rows import Row, SettingRow
from algate.alg.version import VERSION

if TYPE_CHECKING:
    from algate.alg.daemon.pairing import Pairing

log = logging.getLogger(__name__)
PRIORITY = -10  # nice value: ahead of batch work on the same host, behind real-time work


def run(config: Config, run_dir: Path, wait: float | None, replace: bool = False) -> int:
    """Run until stopped; `replace`: in the place of the daemon that serves there, if one does. Returns the exit code;
    raises AlgateError if it can't start or go on."""
    namespace.require_root("algate run")
    if not config.gateway.lan or not config.gateway.wan:
        raise AlgateError("which devices? give --lan and --wan, or [gateway] lan and wan in the configuration", 2)
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        faulthandler.enable()  # systemd's watchdog ends what hangs by SIGABRT: the log then says where it hung
    # A control connection waits for each decision; without the priority it waits a little longer.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    if replace and control.socket_path(run_dir).exists():
        return asyncio.run(_replace(config, run_dir, wait))
    code = AGAIN
    while code == AGAIN:  # a node that lost the address to the other one stands by for it
        with Claim(run_dir) as claim:
            code = asyncio.run(_serve(Daemon(config, run_dir, wait), claim))
    return code


async def _replace(config: Config, run_dir: Path, wait: float | None) -> int:
    service = Daemon(config, run_dir, wait)
    with await handover.take(service) as claim:
        return await _serve(service, claim)


async def _serve(service: Daemon, claim: Claim) -> int:
    run_dir = claim.run_dir
    loop = asyncio.get_running_loop()
    loop.set_default_executor(threads.pool())
    ended: list[str] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop_by_signal, service, number, ended)
    _say_hello(service)
    loop.add_signal_handler(signal.SIGHUP, _reload_by_signal, service)
    handing = handover.Handover(service)
    known = handlers(service, handing)
    server = await answering.serve(control.socket_path(run_dir), known, rights.judge, readers())
    keeping = asyncio.create_task(RunDirectory(claim, server, service.state_file, service.losses, service.judge).keep())
    try:
        code = await service.serve()
        by = f" by {ended[0]}" if ended else ""
        log.info("stopped%s after %.1f s: %s", by, time.time() - service.started, service.ending)
        return code
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await server.close()
        handing.close()
        claim.close()  # now, not when the last thread has ended: another daemon may be waiting for it


def _say_hello(service: Daemon) -> None:
    config = service.config
    lan, wan, where = ", ".join(config.gateway.lan), config.gateway.wan, config.path or "none, all defaults"
    log.info("algate %s (%s build, pid %d): lan %s, wan %s, datapath %s", VERSION, build(), os.getpid(), lan, wan,
             config.gateway.datapath)  # fmt: skip
    log.info("configuration %s; run directory %s", where, service.run_dir)


def _stop_by_signal(service: Daemon, number: signal.Signals, ended: list[str]) -> None:
    ended.append(number.name)
    service.stop()


def _reload_by_signal(service: Daemon) -> None:
    try:
        service.reloading.reload()
    except AlgateError as error:
        log.error("reload: %s", error)


def handlers(service: Daemon, handing: handover.Handover) -> dict[str, Handler]:
    """Verb -> handler. What each does to the gateway stands in rights.py."""

    async def down(args: dict[str, Any]) -> dict[str, Any]:
        service.stop("purge" if args.get("purge") else "detach")
        return {}

    async def reload(args: dict[str, Any]) -> ReloadAnswer:
        return verbs.reload(service.reloading, args)

    async def settings(args: dict[str, Any]) -> list[SettingRow]:
        live = service.running.forwards.live() if service.running else []
        return await asyncio.to_thread(origins.settings, service.config, live)

    async def upgrade(args: dict[str, Any]) -> dict[str, Any]:
        service.reloading.need_settled()  # the new daemon would read the file, and undo nothing
        return await handing.upgrade(args)

    def adding(add: Callable[[Running, Config, dict[str, Any]], tuple[Config, dict[str, Any]]]) -> Handler:
        async def answer(args: dict[str, Any]) -> dict[str, Any]:
            if args.get("save"):
                service.reloading.need_settled()
            service.config, row = add(service.need_running(), service.config, args)
            return row

        return answer

    async def forward_del(args: dict[str, Any]) -> dict[str, Any]:
        running = service.need_running()
        rows = dict(running.forwards.cells()).get(f"{args.get('proto')}/{args.get('wan_port')}", ())
        service.config, row = verbs.forward_del(running, service.config, args)
        return row | {"ended": await forwarded(running, frozenset(rows))} if args.get("kill") is True else row

    async def allow_del(args: dict[str, Any]) -> dict[str, Any]:
        service.config, row = allowing.delete(service.need_running(), service.config, args)
        return row

    need, memory = service.need_running, pace.Memory()

    def paired() -> Pairing:
        if service.pairing is None:
            raise AlgateError("there is no second gateway: [ha] node isn't set")
        return service.pairing

    async def leases(_: dict[str, Any]) -> list[dict[str, Any]]:
        if service.lease is None:
            raise AlgateError("this gateway leases nothing: [lease] node isn't set")
        return [one.as_dict() for one in await service.lease.rows()]

    return {
        "down": down,
        "reload": reload,
        "settings": settings,
        "upgrade": upgrade,
        "give-way": handing.give_way,
        "handover": _once(lambda: {"pid": os.getpid(), "state": service.state, "pause": service.pause}),
        "status": _once(lambda: status(service)),
        "stats": _once(lambda: need().stats()),
        "sessions": lambda args: listings.sessions(need(), args),
        "mappings": _rows("mappings", lambda: listing.mapping_rows(need().gateway)),
        "expectations": _rows("expectations", lambda: listing.expectation_rows(need().gateway, need().names)),
        "hosts": lambda args: overview.hosts(need(), args),
        "ports": lambda args: overview.ports(need(), args),
        "forward-list": _rows("forward-list", lambda: need().forwards.rows()),
        "forward-file": _once(lambda: verbs.forward_file(service.config)),
        "forward-add": adding(verbs.forward_add),
        "forward-del": forward_del,
        "allow-list": _rows("allow-list", lambda: allowing.rows(need())),
        "allow-add": adding(allowing.add),
        "allow-del": allow_del,
        "helper-state": _once(lambda: live.helper_state(need().helper, need().ports)),
        "kill": lambda args: kill(need(), args),
        "explain": lambda args: inquire(need(), service.config, service.state, args, host_inquiry.inquire),
        "follow": lambda args: followed(service, args),
        "capture": lambda args: capture(need(), args),
        "whose": lambda args: whose(need(), service.config, args, service.lease),
        "ha-status": _once(lambda: (service.lease or paired()).status()),
        "ha-leases": leases,
        "ha-yield": _once(lambda: paired().give_way()),
        "ha-resync": _once(lambda: paired().resync()),
        "top": lambda args: snapshots.top(need(), lambda: status(service), memory, args),
    }


def followed(service: Daemon, args: dict[str, Any]) -> AsyncIterator[Any]:
    """Events of the ALGs, or sessions as they are made and ended."""
    if args.get("sessions") is not True:
        return verbs.follow(service.events, vocabulary.checked(args, service.plugins, service.events))
    running = service.need_running()
    return following.follow(running.notices.relay, running.plugins, args)


def _once(tell: Callable[[], Any]) -> Handler:
    async def answer(_: dict[str, Any]) -> Any:
        return tell()

    return answer


def _rows(verb: str, make: Callable[[], Iterable[Row]]) -> Handler:
    return lambda args: tables.listed(verb, make(), args)
