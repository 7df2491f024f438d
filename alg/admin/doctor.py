"""What `algate doctor` looks at: whether this host can run the gateway. doctor_gateway.py looks at a running one.

The law of this file: it looks and changes nothing; every check gives one row, in words that an operator can act
on, and never raises. A row with `ok` true and a `fix` is a warning. `root` stands for "/", so that tests can show it
other hosts.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from algate.alg.admin import doctor_gateway as gateway
from algate.alg.admin import doctor_pair as pair
from algate.alg.findings import CheckRow

KERNEL_MIN = (6, 1)  # the oldest of vagrant/matrix.md that loads every program; 5.10 knows no compare-and-swap
CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_PERFMON": 38, "CAP_BPF": 39}
CAP_SYS_ADMIN = 21
DEPENDENCIES = ("pyroute2", "prometheus-client", "typer", "rich")
PROBE = """
import os, sys
from pathlib import Path
from tempfile import TemporaryDirectory
from bcc import BPF
from algate.bpf import headers
with TemporaryDirectory() as folder:
    headers.prepare(Path(folder)).activate()
    text = "#include <uapi/linux/bpf.h>\\nint probe(struct xdp_md *ctx) { return XDP_PASS; }"
    BPF(text=text).load_func("probe", BPF.XDP)
"""
PROBE_SECONDS = 60.0


def checks(run_dir: Path, root: Path = Path("/")) -> list[CheckRow]:
    """One row per check, the host's first, then those of the daemon on `run_dir`. Never raises."""
    host: list[tuple[str, Callable[[], CheckRow]]] = [
        ("privilege", lambda: privilege(root)),
        ("kernel", lambda: kernel(platform.release())),
        ("btf", lambda: btf(root)),
        ("bpffs", lambda: bpffs(root)),
        ("jit", lambda: jit(root)),
        ("tun", lambda: tun(root)),
        ("perf", perf_ring),
        ("headers", lambda: headers_row(root)),
        ("python", python_packages),
        ("bcc", bcc_version),
        ("compile", compiles),
        ("netfilter", netfilter),
    ]
    rows = [_guarded(name, check) for name, check in host]
    rows += [_guarded(name, check) for name, check in (*gateway.checks(run_dir), *pair.checks(run_dir))]
    return rows


def _guarded(name: str, check: Callable[[], CheckRow]) -> CheckRow:
    """A check that can't look is a failed check, not a traceback."""
    try:
        return check()
    except Exception as error:  # whatever an unusual host makes of it
        detail = str(error) or type(error).__name__
        return CheckRow(name, False, f"could not look: {detail.splitlines()[0]}", "run it as root, on the host itself")


def privilege(root: Path) -> CheckRow:
    """The capabilities that loading, attaching and the perf ring need (capabilities(7))."""
    effective = re.search(r"^CapEff:\s*([0-9a-f]+)", (root / "proc/self/status").read_text(), re.MULTILINE)
    held = int(effective[1], 16) if effective else 0
    # before Linux 5.8, and as a superset since, SYS_ADMIN stands for BPF and PERFMON
    missing = [name for name, bit in CAPABILITIES.items() if not held >> bit & 1]
    if held >> CAP_SYS_ADMIN & 1:
        missing = [name for name in missing if name == "CAP_NET_ADMIN"]
    if missing:
        return CheckRow("privilege", False, f"missing {', '.join(missing)}", "run as root: sudo algate doctor")
    return CheckRow("privilege", True, f"{', '.join(sorted(CAPABILITIES))}")


def kernel(release: str) -> CheckRow:
    """Whether the tests have run on one that is as old (vagrant/matrix.md)."""
    found = re.match(r"(\d+)\.(\d+)", release)
    wanted = ".".join(map(str, KERNEL_MIN))
    if found and (int(found[1]), int(found[2])) >= KERNEL_MIN:
        return CheckRow("kernel", True, release)
    return CheckRow("kernel", False, f"{release} is older than {wanted}", f"boot Linux {wanted} or newer")


def btf(root: Path) -> CheckRow:
    """Type information of the running kernel, which the loader hands to the verifier."""
    path = root / "sys/kernel/btf/vmlinux"
    if path.is_file() and path.stat().st_size:
        return CheckRow("btf", True, f"/sys/kernel/btf/vmlinux, {path.stat().st_size} bytes")
    return CheckRow(
        "btf", False, "no /sys/kernel/btf/vmlinux", "boot a kernel with CONFIG_DEBUG_INFO_BTF, as Debian's are"
    )


def bpffs(root: Path) -> CheckRow:
    """The file system that keeps maps and programs while no daemon runs."""
    for line in (root / "proc/self/mountinfo").read_text().splitlines():
        place, _, kind = line.partition(" - ")
        if kind.split(" ")[0] == "bpf" and place.split(" ")[4] == "/sys/fs/bpf":
            return CheckRow("bpffs", True, "mounted on /sys/fs/bpf")
    return CheckRow("bpffs", False, "not mounted on /sys/fs/bpf", "mount -t bpf bpf /sys/fs/bpf")


def jit(root: Path) -> CheckRow:
    """Interpreted programs work, several times slower."""
    path = root / "proc/sys/net/core/bpf_jit_enable"
    if not path.exists():
        return CheckRow("jit", True, "built in")
    if path.read_text().strip() == "0":
        return CheckRow("jit", True, "off: every packet costs several times more", "sysctl net.core.bpf_jit_enable=1")
    return CheckRow("jit", True, "on")


def tun(root: Path) -> CheckRow:
    """The helper gives held segments back through a TAP device."""
    path = root / "dev/net/tun"
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return CheckRow(
            "tun", False, f"/dev/net/tun: {error.strerror}", "modprobe tun; in a container, pass the device in"
        )
    return CheckRow("tun", True, "/dev/net/tun opens")


def perf_ring() -> CheckRow:
    """Control segments reach the helper through a perf ring, which some kernels only give to CAP_SYS_ADMIN."""
    from algate.bpf import perf

    why = perf.refusal()
    if why is None:
        return CheckRow("perf", True, "a perf ring opens")
    return CheckRow("perf", False, why.split(": ")[0], why.split(": ", 1)[-1])


def headers_row(root: Path) -> CheckRow:
    """Which kernel headers the programs are compiled with; any kernel's will do."""
    from algate.bpf import compiler, headers

    if _compiled_beforehand():
        return CheckRow("headers", True, compiler.READY)
    chosen = os.environ.get(headers.VARIABLE)
    if chosen:
        return CheckRow("headers", Path(chosen).is_dir(), f"{headers.VARIABLE}={chosen}", f"unset {headers.VARIABLE}")
    try:
        return CheckRow("headers", True, headers.find(root).origin)
    except Exception as error:
        return CheckRow("headers", False, str(error), "apt-get install linux-headers-" + _architecture())


def _compiled_beforehand() -> bool:
    """Whether the package brought the programs of exactly this version."""
    from algate.bpf import compiler, flatten, programs

    return compiler.shipped(flatten.flatten(compiler.SOURCE), programs.PROGRAMS) is not None


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def python_packages(names: tuple[str, ...] = DEPENDENCIES) -> CheckRow:
    """Versions of the packages named in pyproject.toml."""
    found, missing = [], []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    detail = f"{platform.python_version()}, {', '.join(found)}"
    if missing:
        return CheckRow("python", False, f"missing {', '.join(missing)}", "install algate again: deploy/dev.sh setup")
    return CheckRow("python", True, detail)


def bcc_version() -> CheckRow:
    """bcc must be Debian's python3-bpfcc; the `bcc` of the Python package registry is another project."""
    try:
        import bcc
    except ImportError as error:
        fix = "apt-get install python3-bpfcc, and use a venv made by /usr/bin/python3 with --system-site-packages"
        return CheckRow("bcc", False, f"{sys.executable} can't import bcc: {error}", fix)
    if not hasattr(bcc, "BPF"):
        return CheckRow(
            "bcc",
            False,
            f"{bcc.__file__} belongs to another project called bcc",
            "remove it; Debian's is python3-bpfcc",
        )
    return CheckRow("bcc", True, f"{getattr(bcc, '__version__', 'unknown version')} in {Path(bcc.__file__).parent}")


def compiles(probe: str = PROBE) -> CheckRow:
    """Compile and load a one-line program in its own process: BCC writes to fd 2 and may crash on bad input."""
    if probe is PROBE and _compiled_beforehand():
        return CheckRow("compile", True, "not needed: the programs were compiled for the package")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
    command = [sys.executable, "-c", probe]
    try:
        result = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return CheckRow(
            "compile", False, f"not done within {PROBE_SECONDS:g} s", "check whether the machine is overloaded"
        )
    if result.returncode == 0:
        return CheckRow("compile", True, "a small XDP program compiles and loads")
    errors = [line for line in result.stderr.splitlines() if line.strip()]
    first = next(
        (line for line in errors if "error:" in line or "fatal" in line), errors[-1] if errors else "no message"
    )
    return CheckRow("compile", False, first.strip()[:300], "see the rows privilege, headers and bcc")


def netfilter(tool: str | None = None) -> CheckRow:
    """Rules in the forward hook: redirected packets don't go through them."""
    nft = tool or shutil.which("nft") or shutil.which("nft", path="/usr/sbin:/sbin")
    if nft is None:
        return CheckRow("netfilter", True, "not checked: nft isn't installed")
    listed = subprocess.run([nft, "-j", "list", "ruleset"], capture_output=True, text=True, timeout=20, check=False)
    if listed.returncode:
        return CheckRow("netfilter", True, "nft can't list rules here (no nf_tables, or not root)")
    rules = list(forward_rules(json.loads(listed.stdout or "{}")))
    if not rules:
        return CheckRow("netfilter", True, "nothing in the forward hook")
    detail = f"translated packets bypass the forward hook, which has {', '.join(rules)}"
    return CheckRow("netfilter", True, detail, "say the same in [firewall] and [[forward]], or run with --datapath tc")


def forward_rules(ruleset: Mapping[str, Any]) -> Iterator[str]:
    """`family table chain (n rules, policy p)` of each chain in the forward hook that has rules or drops by policy."""
    items = ruleset.get("nftables", [])
    counts: dict[tuple[str, str, str], int] = {}
    for rule in (item["rule"] for item in items if "rule" in item):
        key = (rule["family"], rule["table"], rule["chain"])
        counts[key] = counts.get(key, 0) + 1
    for chain in (item["chain"] for item in items if "chain" in item):
        count = counts.get((chain["family"], chain["table"], chain["name"]), 0)
        policy = chain.get("policy", "accept")
        if chain.get("hook") == "forward" and (count or policy != "accept"):
            yield f"{chain['family']} {chain['table']} {chain['name']} ({count} rules, policy {policy})"
