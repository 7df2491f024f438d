"""The capture's file, read by somebody else: tshark is the oracle."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from algate.alg.audit.pcapng import COMMENT_MOST, Interface, PcapngWriter

NEXT = "02:00:00:00:00:02"  # or scapy asks the host's neighbours, and waits

pytestmark = pytest.mark.unit
AT = 1_700_000_000_123_456_789


def frame(payload: bytes) -> bytes:
    """A segment with right checksums."""
    return bytes(
        Ether(dst=NEXT) / IP(src="10.0.0.2", dst="198.51.100.2") / TCP(sport=40001, dport=21, flags="PA") / payload
    )


def written() -> bytes:
    out = io.BytesIO()
    made = PcapngWriter(out.write, [Interface("lan0", "inside"), Interface("wan0", "outside")], "algate 1", "of bob")
    made.packet(0, AT, frame(b"NOOP\r\n"), False, ["decision: pass", "second → one"])
    made.packet(1, AT + 1000, frame(b"NOOP\r\nX"), True)
    made.packet(1, AT + 2000, frame(b"12345")[:54], True, ["x" * 9000], size=len(frame(b"12345")))
    made.statistics(0, AT + 3000, 1, 0)
    made.statistics(1, AT + 3000, 2, 5, "the end")
    return out.getvalue()


def tshark(path: Path, *argv: str) -> str:
    assert shutil.which("tshark"), "tshark is missing: `deploy/dev.sh setup test` installs it"
    done = subprocess.run(["tshark", "-r", str(path), *argv], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "rror" not in done.stderr and "malformed" not in done.stderr, done.stderr
    return done.stdout


def test_tshark_reads_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "made.pcapng"
    path.write_bytes(written())
    packets: list[Any] = json.loads(tshark(path, "-T", "json", "-o", "tcp.check_checksum:TRUE"))
    frames = [one["_source"]["layers"]["frame"] for one in packets]
    names = [one["frame.interface_id_tree"]["frame.interface_name"] for one in frames]
    assert names == ["lan0", "wan0", "wan0"]
    assert [one["frame.time_epoch"] for one in frames][:2] == ["1700000000.123456789", "1700000000.123457789"]
    assert [one["frame.cap_len"] for one in frames] == ["60", "61", "54"]
    assert frames[2]["frame.len"] == "59", "what was left out is known"
    told = tshark(path, "-T", "fields", "-e", "frame.comment", "-E", "aggregator=|").splitlines()
    assert told[0] == "decision: pass|second → one" and told[1] == "" and told[2] == "x" * COMMENT_MOST
    assert "_ws.malformed" not in tshark(path, "-V")


def test_blocks_are_whole_and_aligned() -> None:
    data, at, kinds = written(), 0, []
    while at < len(data):
        kind, size = (int.from_bytes(data[at + step : at + step + 4], "little") for step in (0, 4))
        assert size % 4 == 0 and data[at + size - 4 : at + size] == data[at + 4 : at + 8]
        kinds.append(kind)
        at += size
    assert kinds == [0x0A0D0D0A, 1, 1, 6, 6, 6, 5, 5] and at == len(data)
