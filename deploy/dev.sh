#!/bin/bash
# Set up algate on Debian 12 and run it, its tests or its checks. Each command does all it needs; a second run is quick.
#
#   sudo deploy/dev.sh setup [run|demo|test]   install what running, the demo or the tests need (default: run)
#   sudo deploy/dev.sh compile                 build what a punt passes through with mypyc, in .venv/compiled
#   sudo deploy/dev.sh demo [ARG ...]          real FTP through a gateway in network namespaces: algate demo ARG ...
#   sudo deploy/dev.sh test [--all]            every rung of the test ladder; --all: the large matrices in full
#   sudo deploy/dev.sh lint                    ruff, mypy, clang-format, shellcheck; changes nothing
#   sudo deploy/dev.sh format                  let ruff and clang-format rewrite the tree
#   sudo deploy/dev.sh fuzz [SECONDS]          look for inputs that break parsers, streams or the engine (default: 600 s)
#   sudo deploy/dev.sh soak [--minutes N]      mixed traffic and random faults, tables checked throughout (default: 30)
#   sudo deploy/dev.sh bench [ARG ...]         measure next to the kernel's NAT: algate bench ARG ...
#
# Where gcc and python3-dev are, setup run, demo and bench build and run the compiled build. ALGATE_COMPILED=0: they don't; 1: they
# must. `setup test` builds it with 1 only.
#
# Exit codes: 0 done, 1 failed, 2 usage, 3 missing privilege, kernel feature or package source.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
cd "$root"
# shellcheck source=deploy/setup.sh
source "$here/setup.sh"
# shellcheck source=deploy/compiled.sh
source "$here/compiled.sh"
# shellcheck source=deploy/rungs.sh
source "$here/rungs.sh"

# die CODE LINE...: one line on stderr, then exit.
die() {
    local code=$1
    shift
    echo "dev.sh: $*" >&2
    exit "$code"
}

usage() {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
}

has_bench() {
    .venv/bin/algate --help 2>/dev/null | grep -qw bench
}

main() {
    local verb=${1:-} chosen
    [ $# -gt 0 ] && shift
    case $verb in
        setup)
            case ${1:-run} in run | demo | test) ;; *) die 2 "setup: '$1' is not one of run, demo, test" ;; esac
            setup "${1:-run}"
            # whoever tests has the tree for a source, and asks for this when it is wanted
            if [ "${1:-run}" != test ] || [ -n "${ALGATE_COMPILED:-}" ]; then best_algate >/dev/null; fi
            ;;
        compile)
            setup test
            ALGATE_COMPILED=1 best_algate
            ;;
        demo)
            setup demo
            chosen=$(best_algate)
            exec "$chosen" demo "$@"
            ;;
        test)
            case ${1:-} in '' | --all) ;; *) die 2 "test: unknown argument '$1' (only --all is known)" ;; esac
            setup test
            run_ladder "${1:-}"
            ;;
        lint)
            setup test
            run_lint
            ;;
        format)
            setup test
            run_format
            ;;
        fuzz)
            [[ ${1:-600} =~ ^[1-9][0-9]*$ ]] || die 2 "fuzz: '$1' is not a number of seconds"
            setup test
            run_fuzz "${1:-600}"
            ;;
        soak)
            setup test
            exec .venv/bin/python -m tests.soak "$@"
            ;;
        bench)
            setup test # the bench's rivals and C programs need what the tests need
            has_bench || die 2 "bench: this version has no 'algate bench'"
            chosen=$(best_algate)
            exec "$chosen" bench "$@"
            ;;
        -h | --help | help) usage ;;
        '') usage >&2; exit 2 ;;
        *) die 2 "unknown command '$verb'; one of: setup compile demo test lint format fuzz soak bench" ;;
    esac
}

main "$@"
