"""`python -m tests.cases.faults [NUMBER ...]`: plant the faults of those cases (default: all) and see tests fail.

The law of this file: it works in copies of the tree; the tree itself only gets the note of what was shown.
"""

from __future__ import annotations

import json
import subprocess
import sys

from tests.cases.case import label, numbered, prefix
from tests.cases.faults import SHOWN, Fault, faults, shown
from tests.planted import LONGEST, tree_with


def main(words: list[str]) -> int:
    """Exit code 0 if every fault was noticed, 1 if not, 2 for a number without a fault."""
    numbers = {numbered(word) for word in words}
    chosen = [one for one in faults() if not numbers or numbers & set(one.cases)]
    lacking = numbers - {case for one in chosen for case in one.cases}
    if lacking:
        print(f"no fault for {', '.join(map(label, sorted(lacking)))}", file=sys.stderr)
        return 2
    missed = 0
    for fault in chosen:
        cases = sorted(set(fault.cases) & numbers if numbers else fault.cases)
        failed, said = noticed(fault, cases)
        for case in cases:
            print(f"{label(case)}: {'noticed' if case in failed else 'NOT NOTICED'}: {fault.fails_when}", flush=True)
        for case in set(cases) & failed:
            note(case, fault.digest)
        if set(cases) - failed:
            missed += 1
            print(said, file=sys.stderr)
    return 1 if missed else 0


def noticed(fault: Fault, cases: list[int]) -> tuple[set[int], str]:
    """The cases whose tests fail in a copy of the tree with that fault, and the end of what pytest said."""
    with tree_with(fault) as (tree, env):
        answers = tree / "answers.json"
        names = " or ".join(map(prefix, cases))
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "cases", "tests/cases"]
        done = subprocess.run(
            [*argv, "-k", names, "--cases-json", str(answers)],
            cwd=tree,
            env=env,
            capture_output=True,
            text=True,
            timeout=LONGEST,
        )
        rows = json.loads(answers.read_text()) if answers.exists() else []
        ran = {row["number"] for row in rows}
        if ran != set(cases):
            return set(), f"ran {sorted(ran)}, wanted {cases}: {done.stdout[-3000:]}{done.stderr[-1000:]}"
        return {row["number"] for row in rows if not row["yes"] and not row["broken"]}, done.stdout[-3000:]


def note(case: int, digest: str) -> None:
    """Note that the case was seen to fail."""
    known = shown() | {case: digest}
    SHOWN.write_text("".join(f"{number} {known[number]}\n" for number in sorted(known)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
