"""Fuzz all targets in turn, or one: `python -m tests.fuzz [--seconds N] [--seed N] [--target NAME] [--grow]`.

The law of this file: it only drives. libFuzzer ends the process that it runs in, so each target gets its own. A crash's
input is kept in build/fuzz/; move it to tests/fuzz/corpus/TARGET/ when the bug is fixed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.seeds import write_seeds

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
ARTIFACTS = HERE.parents[1] / "build" / "fuzz"
NAMES = ("grammar", "lines", "stream", "machine", "engine", "frames")
WEIGHTS = {"machine": 3, "engine": 3}  # shares of the time
MAX_INPUT = {"grammar": 300, "lines": 400, "stream": 600, "machine": 1200, "engine": 1500, "frames": 2000}
MEMORY_MB = 768  # for the whole process: endless growth is a crash
PATIENCE = 20  # s for one input


def main() -> int:
    """Exit code 1 if a target crashed."""
    arguments = _arguments()
    if arguments.inside:
        return _fuzz_here(arguments.inside, sys.argv[:1] + arguments.rest)
    if arguments.write_seeds:
        write_seeds(CORPUS)
        return 0
    chosen = [arguments.target] if arguments.target else list(NAMES)
    shares = sum(WEIGHTS.get(name, 1) for name in chosen)
    failed = []
    for name in chosen:
        seconds = max(1, round(arguments.seconds * WEIGHTS.get(name, 1) / shares))
        if not run(name, seconds, arguments.seed, arguments.grow):
            failed.append(name)
    print("fuzz: " + (f"crashed: {', '.join(failed)}; inputs in {ARTIFACTS}" if failed else "no crash"))
    return 1 if failed else 0


def run(name: str, seconds: int, seed: int, grow: bool = False) -> bool:
    """Fuzz one target in a separate process; show its last lines. False if it crashed."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="algate-fuzz-") as found:
        options = [
            f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={MAX_INPUT[name]}", f"-timeout={PATIENCE}",
            f"-rss_limit_mb={MEMORY_MB}", f"-artifact_prefix={ARTIFACTS}/{name}-", "-print_final_stats=1",
        ]  # fmt: skip
        command = [sys.executable, "-m", "tests.fuzz", "--inside", name, *options, found, str(CORPUS / name)]
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        told = [line for line in result.stderr.splitlines() if "executed_units" in line or "DONE" in line]
        print(f"fuzz {name}, {seconds} s: " + " ".join(" ".join(line.split()) for line in told), flush=True)
        if result.returncode:
            print(result.stdout[-3000:], result.stderr[-3000:], sep="\n", flush=True)
        if grow and not result.returncode:
            merge = [*command[:5], "-merge=1", str(CORPUS / name), found]
            subprocess.run(merge, capture_output=True, check=True)
    return result.returncode == 0


def _fuzz_here(name: str, options: list[str]) -> int:
    import atheris

    with atheris.instrument_imports(include=["algate.alg"]):
        from tests.fuzz import targets

    target = targets.TARGETS[name] if "ALGATE_FUZZ_PLANTED" not in os.environ else _planted
    atheris.Setup(options, target)
    atheris.Fuzz()
    return 0


def _planted(data: bytes) -> None:
    assert len(data) < 3, "planted"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=600, help="for all chosen targets together (default: 600)")
    parser.add_argument("--seed", type=int, default=0, help="of libFuzzer (default: another one each time)")
    parser.add_argument("--target", choices=NAMES)
    parser.add_argument("--grow", action="store_true", help="keep inputs that reach new code in the corpus")
    parser.add_argument("--write-seeds", action="store_true", help="write the corpus' dialogues anew, fuzz nothing")
    parser.add_argument("--inside", choices=NAMES, help=argparse.SUPPRESS)
    arguments, arguments_rest = parser.parse_known_args()
    if arguments_rest and not arguments.inside:
        parser.error(f"unknown argument {arguments_rest[0]}")
    arguments.rest = arguments_rest
    return arguments


if __name__ == "__main__":
    sys.exit(main())
