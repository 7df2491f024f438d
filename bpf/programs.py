"""What a gateway loads: programs, their texts and their rows of the program array; sizes of maps, and which are pinned.

The law of this file: names and numbers. It loads nothing and makes no map.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from algate.bpf import abi, compiler
from algate.bpf.compiler import MapSpec

TC_PROGRAMS = ("tc_lan", "tc_wan_in", "tcx_lan", "tcx_wan_in", "tc_wan_out", "tc_tap", "control")
XDP_PROGRAMS = ("xdp_lan", "xdp_wan")
STAGES = {stage: f"stage_{stage.name.lower()}" for stage in abi.Stage if stage < abi.Stage.ENTER_OUT}
PROGRAMS = (*TC_PROGRAMS, *STAGES.values(), *XDP_PROGRAMS)
FAMILY4 = ("HAIRPIN", "FINISH", "SHARE", "BLOCK", "BLOCK_CONTROL")  # what only translation needs
SIX_ALONE = (abi.Stage.WAY, abi.Stage.MAKE, abi.Stage.ENDS)
STAGES6 = {
    stage + abi.STAGES_SIX: f"stage6_{stage.name.lower()}"
    for stage in abi.Stage
    if stage in SIX_ALONE or (stage.name not in FAMILY4 and stage < abi.Stage.FROM6)
}  # row of `stages` -> program for IPv6
FROM6 = "stage_from6"
OF4 = (FROM6, "stage_retell")  # of IPv4's programs where NAT64 is on
STAGES64 = {
    int(stage): f"stage_{stage.name.lower()}"
    for stage in abi.Stage
    if stage >= abi.Stage.FROM6 and stage not in SIX_ALONE
}
TURNS = tuple(name for name in STAGES64.values() if name not in OF4)
PROGRAMS6 = (*STAGES6.values(), "control6")
TEXTS = {
    compiler.SOURCE: PROGRAMS,
    compiler.SOURCE6: PROGRAMS6,
    compiler.SOURCE64: (*PROGRAMS, *OF4),
    compiler.TURNING: TURNS,
}  # main file -> its programs
PORT_ROWS_LEAST = 4  # the port table always has room for this many public addresses: their number may grow
UNPINNED = (
    "punts",
    "unhurried",
    "notices",
    "scratch",
    "hops",
    "hops6",
    "turns",
    "scratch6",
    "cuts",
)  # of one load: rings' readers, a workspace, the FIB's last answers
PER_SESSION = (
    "sessions",
    "relations",
    "mappings",
    "peers",
    "shares",
    "handles",
    "addresses6",
)  # MAX_SESSIONS in maps.h


def programs(header_folder: Path | None, six: bool, nat64: bool = False) -> tuple[compiler.Artifact, str]:
    """What is to be loaded, and which headers it was compiled with. The texts are compiled at once: a process each."""
    first = compiler.SOURCE64 if nat64 else compiler.SOURCE
    more = ((compiler.TURNING, nat64), (compiler.SOURCE6, six))
    texts = (first, *(text for text, wanted in more if wanted))
    with ThreadPoolExecutor() as pool:
        made = list(pool.map(lambda text: compiler.get(TEXTS[text], header_folder, text), texts))
    found, headers = made[0]
    for artifact, _ in made[1:]:
        found = found.join(artifact)
    return found, headers


def entries(spec: MapSpec, max_sessions: int, port_rows: int) -> int:
    """The size of a map: those of sessions and ports are as large as wanted, the others as maps.h says."""
    if spec.name in PER_SESSION:
        return max_sessions
    if spec.name == "ports":
        return port_rows
    if spec.name == "port_bits":
        return port_rows // 65536 * abi.BITMAP_BLOCK
    if spec.name == "port_blocks":
        return port_rows // abi.PORTS_PER_ADDRESS * abi.BLOCK_ROWS
    return spec.max_entries
