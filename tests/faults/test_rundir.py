"""The run directory, the state in it, and what `run` and `down` make of a gateway without them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator

import pytest

from algate.bpf import pins
from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.lab import Lab
from tests.faults.bed import Bed, Incident, made_bed
from tests.faults.fault import fault
from tests.netns.footprint import Footprint, filters, footprint, pinned
from tests.netns.talk import until, verb


@pytest.fixture
def own() -> Iterator[tuple[Bed, Footprint]]:
    """A bed for this test alone, and the host as it was before."""
    with Lab() as lab:
        before = footprint(lab.gw)
        with made_bed(lab, AlgateGateway(lab)) as made:
            yield made, before


def die(bed: Bed) -> None:
    assert bed.gateway.process is not None
    bed.gateway.process.kill()


def clean(bed: Bed, before: Footprint) -> bool:
    """Nothing is left but the forwarding switches, whose former values were lost with the state."""
    after = footprint(bed.lab.gw)
    return {**after, "switches": 0} == {**before, "switches": 0}


@pytest.mark.parametrize("what", ["", "control.sock", "lock", "state.json"])
@fault("`rm -r` of the run directory: {what}", long=("lock", "state.json"))
def test_run_dir_removed(bed: Bed, incident: Incident, what: str) -> None:
    """A living daemon makes it anew, and is managed through it as before."""
    where = bed.gateway.run_dir
    with bed.traffic() as traffic:
        incident.inject(lambda: (where / what).unlink() if what else shutil.rmtree(where))
        incident.noticed("log: `somebody took it, or something in it; made anew`", lambda: bed.renewed())
        incident.mended(lambda: bed.translating and (where / "state.json").exists())
        incident.spared(traffic)
    done = verb(bed.gateway, "run", "--lan", "lan0", "--wan", "wan0", host=bed.lab.gw)
    assert done.returncode == 1 and "already running" in done.stderr
    assert bed.stat('algate_host_repairs_total{kind="run-dir"}') > 0


@fault("the run directory is removed, and the daemon killed before it notices")
def test_run_over_a_lost_run_dir(own: tuple[Bed, Footprint], incident: Incident) -> None:
    """`run` knows its own filters by the maps that they use, and takes over."""
    bed, before = own
    with bed.traffic() as traffic:
        die(bed)
        incident.inject(lambda: shutil.rmtree(bed.gateway.run_dir))
        incident.noticed("`run` takes over by itself", lambda: True)
        bed.gateway.start()
        incident.mended(lambda: bed.translating)
        incident.spared(traffic)
    bed.gateway.stop()
    assert clean(bed, before)
    assert pinned(bed.gateway.run_dir) == []


@pytest.mark.parametrize("lost", ["run directory", "run directory and pins", "state", "damaged state"])
@fault("`down --purge` without a daemon, after the loss of: {lost}", long=("run directory", "state", "damaged state"))
def test_down_after_a_loss(own: tuple[Bed, Footprint], incident: Incident, lost: str) -> None:
    """It searches, takes off what is ours, and says so."""
    bed, before = own
    where = bed.gateway.run_dir
    die(bed)

    def lose() -> None:
        if "state" in lost:
            (where / "state.json").write_text("{") if "damaged" in lost else (where / "state.json").unlink()
        else:
            shutil.rmtree(where)
        if "pins" in lost:
            shutil.rmtree(pins.folder(where))

    incident.inject(lose)
    assert filters(bed.lab.gw, "lan0") != []
    done = verb(bed.gateway, "down", "--purge", host=bed.lab.gw)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == f"algate: down on {where}"
    incident.noticed("`took tc_lan off lan0`, `down on ...`", lambda: "took tc_lan off lan0" in done.stderr)
    incident.mended(lambda: clean(bed, before) and pinned(where) == [])
    assert where.exists() == ("state" in lost)
    incident.row.lost = "the former value of the forwarding switches"


@fault("`down --purge` from another network namespace, without a daemon or a run directory", long=True)
def test_down_from_elsewhere_after_a_loss(own: tuple[Bed, Footprint], incident: Incident) -> None:
    bed, before = own
    die(bed)
    incident.inject(lambda: shutil.rmtree(bed.gateway.run_dir))
    done = verb(bed.gateway, "down", "--purge")
    assert done.returncode == 0, done.stderr
    incident.noticed("`took tc_lan off lan0`, `down on ...`", lambda: "took tc_lan off lan0" in done.stderr)
    incident.mended(lambda: clean(bed, before))
    incident.row.lost = "the former value of the forwarding switches"


@fault("`down` while the daemon is alive and its run directory is lost", long=True)
def test_down_before_it_is_made_anew(own: tuple[Bed, Footprint], incident: Incident) -> None:
    """It waits until the daemon can be asked again, and never says "down" before."""
    bed, before = own
    assert bed.gateway.process is not None
    os.kill(bed.gateway.process.pid, signal.SIGSTOP)
    incident.inject(lambda: shutil.rmtree(bed.gateway.run_dir))
    try:
        done = verb(bed.gateway, "down", host=bed.lab.gw)
    finally:
        os.kill(bed.gateway.process.pid, signal.SIGCONT)
    assert done.returncode == 1 and "doesn't answer" in done.stderr and "down on" not in done.stderr
    assert filters(bed.lab.gw, "lan0") != []
    until(lambda: bed.translating)
    done = verb(bed.gateway, "down", "--purge", host=bed.lab.gw)
    incident.noticed("`a daemon holds the pins ... and doesn't answer`, exit code 1", lambda: True)
    assert done.returncode == 0, done.stderr
    incident.mended(lambda: footprint(bed.lab.gw) == before)
    incident.row.lost = "nothing"


@fault("`down --run-dir TYPO`")
def test_down_with_a_typo(bed: Bed, incident: Incident) -> None:
    """It creates nothing, touches nothing, and says that nothing was up there, and where something is."""
    other = AlgateGateway(bed.lab)
    other.run_dir = bed.lab.folder / "runn"
    before = footprint(bed.lab.gw)
    incident.inject(lambda: None)
    done = verb(other, "down", "--purge", host=bed.lab.gw)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == f"algate: nothing was up on {other.run_dir}: there is no such directory"
    assert "another gateway is up on" in done.stderr and "lan0" in done.stderr
    assert not other.run_dir.exists()
    assert footprint(bed.lab.gw) == before and bed.translating
    incident.noticed("`nothing was up on ...`, `another gateway is up on lan0, wan0`", lambda: True)
    incident.row.lost = "nothing"


@pytest.mark.parametrize("mode", ["mode 0777", "a link"])
@fault("a run directory that others could change: {mode}")
def test_unsafe_run_dir(bed: Bed, incident: Incident, mode: str) -> None:
    """`run` and `down` refuse it in one line."""
    other = AlgateGateway(bed.lab)
    other.run_dir = bed.lab.folder / mode.replace(" ", "-")
    if mode == "a link":
        (bed.lab.folder / "there").mkdir()
        other.run_dir.symlink_to("there")
    else:
        other.run_dir.mkdir()
        other.run_dir.chmod(0o777)
    incident.inject(lambda: None)
    for words in (["run", "--lan", "lan0", "--wan", "wan0"], ["down"]):
        done = verb(other, *words, host=bed.lab.gw)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
        assert "symbolic link" in done.stderr or "others may write" in done.stderr
    incident.noticed(f"`{done.stderr.strip()[:60]}...`", lambda: True)
    incident.row.lost = "nothing"


@fault("a full disk under the run directory, while filters are taken")
def test_full_disk(incident: Incident) -> None:
    """One clear line where something can't be written; translation, and what was written before, stay."""
    with Lab() as lab:
        gateway = AlgateGateway(lab)
        gateway.run_dir.mkdir(mode=0o700)
        lab.undo(["umount", str(gateway.run_dir)])
        small = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "none", str(gateway.run_dir)]
        subprocess.run(small, check=True)
        try:
            with made_bed(lab, gateway) as bed, bed.traffic() as traffic:
                written = (gateway.run_dir / "state.json").read_text()
                with pytest.raises(OSError, match="No space left"):
                    (gateway.run_dir / "ballast").write_bytes(bytes(1 << 20))
                incident.inject(lambda: lab.gw.run(["tc", "qdisc", "del", "dev", "lan0", "clsact"], check=True))
                incident.noticed(
                    "log: `tc_lan on lan0: somebody took it; put back`", lambda: bed.repairs("tc_lan on lan0")
                )
                incident.mended(lambda: bed.translating)
                incident.spared(traffic)
                assert (gateway.run_dir / "state.json").read_text() == written
                assert "Traceback" not in gateway.log
                (gateway.run_dir / "ballast").unlink()
        finally:
            subprocess.run(["umount", str(gateway.run_dir)], check=True)
