"""A gateway among several active ones: the kernel's part of its lease, and what the operator hears of it.

The law of this file: what the room `ha` says of lots is done here to port blocks and sessions; nothing else gives out,
ends or takes back what is leased.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Collection
from pathlib import Path

from algate.alg.answers import LeaseAnswer
from algate.alg.audit.lease import LeaseFamilies
from algate.alg.config.load import Config
from algate.alg.daemon.blockkeeping import BlockKeeping
from algate.alg.errors import AlgateError
from algate.alg.gateway import portblocks
from algate.alg.gateway.lots import Lots
from algate.alg.ha.credentials import password, tls
from algate.alg.ha.leases import LeaseTerms, Lessee
from algate.alg.ha.leasing import LOG, LeasePeriod, Leasing, boot, shown
from algate.alg.ha.redis import RedisKeys, RedisLog
from algate.alg.ha.resp import StoreAddress
from algate.alg.rows import LeaseRow
from algate.bpf import abi, ticks
from algate.bpf.loader import Gateway
from algate.bpf.packing import numbers
from algate.bpf.requests import ControlProgram

NAME = "lease-name"  # in the run directory: this gateway's, in this life of its tables
PATIENCE = 1.0  # s that the engine may take
KEY = abi.HEADER.structs["session_key"].size


class LeasedBlocks:
    """`leasing.LeasedPorts`, on port blocks."""

    def __init__(self, gateway: Gateway, control: ControlProgram, blocks: BlockKeeping, lots: Lots) -> None:
        self._gateway = gateway
        self._control = control
        self._blocks = blocks
        self._lots = lots
        self._opened: frozenset[int] = frozenset()
        blocks.leased = self._leased

    def _leased(self, port: int, size: int) -> bool:
        """Whether all of the block that begins there is in what was opened; a reload may have made blocks larger."""
        first, last = self._lots.at(port), self._lots.at(port + size - 1)
        return first is not None and last is not None and self._opened.issuperset(range(first, last + 1))

    def found(self) -> set[int]:
        """Lots of which the kernel gives out blocks, or some block is held: an earlier daemon's."""
        words = [word for at, word in self._gateway.block_bits.items() if at >= abi.BLOCK_USABLE]
        self._opened = frozenset(self._lots.open(words))
        return set(self._opened) | self._held()

    def _held(self) -> set[int]:
        lots = {self._lots.at(one.first) for one in portblocks.held(self._gateway)}
        return {lot for lot in lots if lot is not None}

    def empty(self, lots: Collection[int]) -> set[int]:
        """As LeasedPorts says: a block is held until it was empty for hold-down."""
        return set(lots) - self._held() if lots else set()

    def open(self, lots: Collection[int]) -> None:
        """As LeasedPorts says."""
        self._opened = frozenset(lots)
        self._blocks.rewrite()

    def last(self, new_until: float, gone_at: float) -> None:
        """As LeasedPorts says."""
        value = self._gateway.configs[0]
        value.new_until = int(new_until * 1e9)
        value.gone_at = ticks.at(time.monotonic() + gone_at - boot()) or 1
        self._gateway.configs.put(0, value)

    async def clear(self, lots: Collection[int]) -> bool:
        """As LeasedPorts says. The lease is over meanwhile, so the kernel adds nothing."""
        self.open(self._opened - set(lots))
        for keys, values, _ in list(self._gateway.sessions.chunks()):
            rows = numbers("session", "port_index", values)
            at = [
                place for place, row in enumerate(rows) if row != abi.EXEMPT_ROW and self._lots.at(row & 0xFFFF) in lots
            ]
            self._control.keys(abi.ControlOp.KILL, [keys[one * KEY : (one + 1) * KEY] for one in at])
            await asyncio.sleep(0)
        value = self._gateway.configs[0]
        idle, value.block_idle = value.block_idle, 0
        self._gateway.configs.put(0, value)
        rows_of = [one.row for one in portblocks.held(self._gateway) if self._lots.at(one.first) in lots]
        done = [self._control.withdraw(row) for row in rows_of]
        value = self._gateway.configs[0]
        value.block_idle = idle
        self._gateway.configs.put(0, value)
        return all(done)


class Leaseholder:
    """Of one daemon with [lease]."""

    def __init__(self, config: Config, run_dir: Path) -> None:
        self._lease, nat = config.lease, config.nat
        self._lots = Lots.of_blocks(nat, config.lease.lots)
        pool = f"{','.join(map(str, nat.addresses))} {nat.ports} {nat.port_block}"
        self._terms = LeaseTerms(config.lease.lots, config.lease.seconds, nat.hold_down, pool)
        engine = config.lease.engine
        if engine is None:
            raise AlgateError("[lease] is incomplete: `algate check` says what is missing", 2)
        where = StoreAddress(str(engine.ip), engine.port, config.lease.user, password(config.lease), tls(config.lease))
        self._where = where
        self._run_dir = run_dir
        self.leasing: Leasing | None = None

    def _name(self) -> str:
        """A name that stays while the tables do: whoever begins with empty ones has nothing of what it had."""
        file, begun = self._run_dir / NAME, f"{self._lease.node}."
        with_name = file.read_text().strip() if file.exists() else ""
        if not with_name.startswith(begun):
            with_name = begun + secrets.token_hex(4)
            file.write_text(with_name + "\n")
        return with_name

    def begin(self, gateway: Gateway, control: ControlProgram, blocks: BlockKeeping) -> LeaseFamilies:
        """Before anything is given out. What its metrics are."""
        ports = LeasedBlocks(gateway, control, blocks, self._lots)
        lessee = Lessee(self._name(), self._terms)
        lessee.inherit(ports.found())
        keys = RedisKeys(self._where, PATIENCE)
        self.leasing = Leasing(lessee, keys, lambda: RedisLog(self._where, LOG, PATIENCE), ports)
        return LeaseFamilies(self.status, self.rounds)

    async def run(self) -> None:
        """Renew the lease, for ever."""
        await self._need().run()

    def _need(self) -> Leasing:
        if self.leasing is None:
            raise AlgateError("nothing is leased yet: the gateway isn't translating")
        return self.leasing

    def status(self) -> LeaseAnswer:
        """For `algate ha status`."""
        leasing, lessee = self._need(), self._need().lessee
        left = lessee.new_until - boot() if lessee.until else 0.0
        state = "in step" if left > 0 else "the lease is over: no new mappings" if lessee.until else "no lease yet"
        table = lessee.table
        owners = {one.owner for one in table.held.values()} if table is not None else set()
        return {
            "node": self._lease.node, "role": "shares", "state": state, "lease": round(max(0.0, left), 3),
            "version": table.version if table is not None else 0,
            "ports": [str(self._lots.ports(lot)) for lot in sorted(lessee.lots)],
            "giving_back": [str(self._lots.ports(lot)) for lot in sorted(lessee.draining)],
            "others": sorted(shown(one) for one in owners - {lessee.name}),
            "engine": str(self._where), "problem": leasing.problem,
        }  # fmt: skip

    def rounds(self) -> tuple[int, int]:
        """Renewals of this daemon's: made, and failed."""
        leasing = self._need()
        return leasing.renewals, leasing.failures

    async def rows(self) -> list[LeaseRow]:
        """For `algate ha leases`: who had which ports when."""
        return [self._row(one) for one in await self._need().history()]

    def _row(self, one: LeasePeriod) -> LeaseRow:
        return LeaseRow(str(self._lots.ports(one.lot)), shown(one.node), one.since, one.until)

    async def lessees(self, port: int) -> list[LeaseRow]:
        """Of one port."""
        lot = self._lots.at(port)
        return [self._row(one) for one in await self._need().history() if one.lot == lot]
