#!/bin/bash
# Ask the package index's vulnerability data about every Python package in deploy/constraints.txt: deploy/audit.sh
#
# Exit codes: 0 none is known to be vulnerable, 1 some are (they are printed), 3 it can't be told here (no data to be had): one line.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools=.venv/audit
report=$(mktemp)
trap 'rm -f "$report"' EXIT

unknown() {
    echo "audit.sh: not audited: $1" >&2
    exit 3
}

if [ ! -x $tools/bin/pip-audit ]; then
    python3 -m venv $tools >"$report" 2>&1 || unknown "cannot make $tools: $(tail -n1 "$report")"
    $tools/bin/pip install -q pip-audit >"$report" 2>&1 || unknown "cannot install pip-audit: $(tail -n1 "$report")"
fi
timeout 120 $tools/bin/pip-audit -r deploy/constraints.txt --no-deps --disable-pip --progress-spinner off -f json >"$report" 2>/dev/null || true
python3 - "$report" <<'END'
import json, sys
try:
    found = json.load(open(sys.argv[1]))["dependencies"]
except (ValueError, KeyError):
    found = []
known = [one for one in found if "vulns" in one]
if not known:
    print("audit.sh: not audited: the index has no vulnerability data to be had from here", file=sys.stderr)
    sys.exit(3)
for one in known:
    for flaw in one["vulns"]:
        print(f"{one['name']} {one['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'no version'}")
missing = len(found) - len(known)
print(f"audit: {len(known)} packages, {sum(bool(one['vulns']) for one in known)} vulnerable, {missing} unknown to the index")
sys.exit(any(one["vulns"] for one in known))
END
