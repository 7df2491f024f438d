"""`python3 -m algate.bpf.ship FOLDER`: compile the programs for a package, so that its user needs no kernel headers.

The law of this file: it is the builder's; nothing that runs imports it. BCC has no CO-RE, but what is compiled here
needs none: see compiler.shipped.
"""

from __future__ import annotations

import sys
from pathlib import Path

from algate.bpf import compiler, flatten
from algate.bpf.errors import AlgateError
from algate.bpf.programs import TEXTS


def main(folder: Path) -> None:
    """Write the files that compiler.shipped looks for. AlgateError if this host can't compile (BCC makes maps)."""
    folder.mkdir(parents=True, exist_ok=True)
    for source, programs in TEXTS.items():
        artifact, _ = compiler.get(programs, None, source)
        name = compiler.package_key(flatten.flatten(source), programs)
        (folder / f"{name}.json").write_text(artifact.dump())


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except AlgateError as error:
        sys.exit(f"ship: {error}")
