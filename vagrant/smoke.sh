#!/bin/bash
# The demo's transfers across the three machines, from the host, after `vagrant up`: vagrant/smoke.sh
#
# Client inside to server outside, then client outside through the forward to the server inside; all four modes, up and down.
# Ends with what the gateway counted. Exits with 1 if anything failed.
set -euo pipefail
cd "$(dirname "$0")"

# on MACHINE COMMAND
on() {
    vagrant ssh "$1" -c "$2" </dev/null
}

# used: how many expectations the gateway saw used
used() {
    on gateway 'sudo algate stats --json' | python3 -c '
import json, sys
stats = json.load(sys.stdin)
stats = stats[0] if isinstance(stats, list) else stats
print(int(stats.get("algate_expectations_total{outcome=\"used\"}", 0)))'
}

before=$(used)
echo '== client inside'
on client '/srv/algate/vagrant/transfer.sh 198.51.100.2'
echo '== server inside, behind the forward'
on server '/srv/algate/vagrant/transfer.sh 198.51.100.100'
after=$(used)
echo "== $((after - before)) data connections were expected and came"
# four modes, each up, down and the clean-up's listing, on both sides
[ $((after - before)) -ge 16 ] || { echo 'smoke.sh: fewer than 16: something bypassed the gateway' >&2; exit 1; }
if on server 'ip route get 10.20.1.2' | grep -q 'dev eth1'; then
    echo 'smoke.sh: the server has a route to the inside: this proves nothing' >&2
    exit 1
fi
echo 'smoke.sh: all transfers passed'
