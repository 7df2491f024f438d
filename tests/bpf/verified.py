"""`python -m tests.bpf.verified`: each program's size and cost to the verifier, which gives up at a million steps.

The law of this file: it loads the programs with its own pins, reads what the kernel says about them, and removes the
pins. Run it as root in two trees to compare them; with the word `six` or `nat64` those for IPv6 and NAT64 are loaded.
"""

from __future__ import annotations

import secrets
import sys
import tempfile
from pathlib import Path

from algate.bpf import syscall
from algate.bpf.errors import AlgateError
from algate.bpf.loader import Gateway

BPFFS = Path("/sys/fs/bpf")
MOST = 1_000_000  # instructions; BPF_COMPLEXITY_LIMIT_INSNS


def measure(six: bool = False, nat64: bool = False) -> dict[str, syscall.ProgInfo]:
    """What the kernel says about each program, by name, in the loader's order; with those for IPv6, or NAT64's too."""
    pins = BPFFS / f"ag-{secrets.token_hex(4)}"
    pins.mkdir()
    try:
        with tempfile.TemporaryDirectory(prefix="ag-headers-") as headers:
            gateway = Gateway(pins, 64, 1, Path(headers), six, nat64)
        try:
            return {name: syscall.prog_info(gateway.fds[name]) for name in gateway.artifact.programs}
        finally:
            gateway.close()
    finally:
        for pin in pins.iterdir():
            pin.unlink()
        pins.rmdir()


def main() -> int:
    """Print a table."""
    try:
        measured = measure("six" in sys.argv, "nat64" in sys.argv)
    except AlgateError as error:
        print(f"algate: {error}")
        return error.exit_code
    print(f"{'program':16}{'verified':>10}{'of limit':>10}{'bytecode':>10}{'machine':>10}")
    for name, info in measured.items():
        share = f"{100 * info.verified / MOST:.1f} %"
        print(f"{name:16}{info.verified:>10}{share:>10}{info.xlated // 8:>10}{info.jited:>10}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
