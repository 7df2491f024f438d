# shellcheck shell=bash
# Sourced by dev.sh: the test ladder, on what setup made.
#
# The law of this file: every rung runs, whatever happened to the one before; a rung that can't run, runs no test, or skips one has
# failed. A rung's budget, in seconds, is printed; at three times its budget the rung is stopped.

declare -a rung_rows=()
declare -A rungs_beside=()
rungs_failed=0
tests_passed=0
tests_failed=0

# rung NAME BUDGET COMMAND...: run it, show its output, note how it went.
rung() {
    local name=$1 budget=$2 log code=0 start=$SECONDS
    shift 2
    log=$(mktemp)
    printf '\n=== %s (budget %s s)\n' "$name" "$budget"
    timeout --foreground --signal=INT --kill-after=30 $((budget * 3)) "$@" </dev/null 2>&1 | tee "$log" || code=${PIPESTATUS[0]}
    noted "$name" "$budget" "$code" $((SECONDS - start)) "$log" "$*"
    rm -f "$log"
}

# beside NAME BUDGET COMMAND...: begin it in the background; `joined NAME` waits for it, shows its output and notes how it went.
# For what measures nothing, beside a rung that mostly waits.
beside() {
    local name=$1 budget=$2 folder
    shift 2
    folder=$(mktemp -d)
    {
        local code=0 start=$SECONDS
        timeout --kill-after=30 $((budget * 3)) "$@" </dev/null >"$folder/log" 2>&1 || code=$?
        echo "$code $((SECONDS - start))" >"$folder/done"
    } &
    rungs_beside[$name]="$! $folder $budget $*"
}

joined() {
    local pid folder budget command code=1 took=0
    read -r pid folder budget command <<<"${rungs_beside[$1]}"
    printf '\n=== %s (budget %s s, beside the one before)\n' "$1" "$budget"
    wait "$pid" || true
    cat "$folder/log"
    [ ! -e "$folder/done" ] || read -r code took <"$folder/done"
    noted "$1" "$budget" "$code" "$took" "$folder/log" "$command"
    rm -r "$folder"
}

# noted NAME BUDGET CODE TOOK LOG COMMAND: a row of the summary.
noted() {
    local name=$1 budget=$2 code=$3 took=$4 log=$5 command=$6 passed failed skipped note=ok
    passed=$(closing "$log" passed) failed=$(closing "$log" 'failed|errors?') skipped=$(closing "$log" skipped)
    if [ "$code" = 124 ]; then
        note="ended after three times its budget"
    elif [ "$code" != 0 ]; then
        note="exit code $code"
    elif [[ "$command" == *pytest* ]] && [ "$passed" = 0 ]; then
        note="ran no test"
        code=1
    elif [ "$skipped" != 0 ]; then
        note="$skipped tests skipped"
        code=1
    elif [ "$took" -gt "$budget" ]; then
        note="ok, over its budget"
    fi
    [ "$code" = 0 ] || rungs_failed=$((rungs_failed + 1))
    if [[ "$command" == *pytest* ]] && [ "$code" != 0 ] && [ "$failed" = 0 ]; then failed=1; fi
    tests_passed=$((tests_passed + passed))
    tests_failed=$((tests_failed + failed))
    rung_rows+=("$(printf '%-10s %6d %6d %7d %7d  %s' "$name" "$took" "$budget" "$passed" "$failed" "$note")")
}

# closing LOG WORD: the number before WORD in the closing line of pytest or of a whole ladder; else 0.
closing() {
    local counts
    counts=$(grep -aE '^(=*[ ]?|total: )[0-9]+ (passed|failed|error|skipped|deselected|xfailed)' "$1" | tail -n1 | grep -oE "[0-9]+ ($2)\b" | cut -d' ' -f1)
    echo $((${counts//$'\n'/+} + 0))
}

# tests FOLDER BUDGET WORKERS [ARG...]: one rung of pytest; WORKERS: tests at once (tests/conftest.py says which stay together).
tests() {
    local name=$1
    shift
    pytest_rung rung "$name" "$name" .venv/bin/python "$@"
}

# compiled FOLDER BUDGET WORKERS [ARG...]: the same on the compiled build. --build has pytest refuse any other.
compiled() {
    local name=$1
    shift
    pytest_rung rung "$name-c" "$name" .venv/compiled/bin/python "$@" --build compiled
}

# compiled_beside FOLDER BUDGET WORKERS [ARG...]: begin it beside a rung that mostly waits, which has the processors first.
compiled_beside() {
    local name=$1
    shift
    pytest_rung beside "$name-c" "$name" .venv/compiled/bin/python "$@" --build compiled
}

# pytest_rung WAY TITLE FOLDER PYTHON BUDGET WORKERS [ARG...]; WAY: rung or beside
pytest_rung() {
    local way=$1 title=$2 name=$3 python=$4 budget=$5 workers=$6 lowly=()
    shift 6
    [ "$way" = rung ] || lowly=(nice -n 10)
    "$way" "$title" "$budget" "${lowly[@]}" "$python" -m pytest --color=no --no-header --durations=5 -n "$workers" -m "$name" "tests/$name" "$@"
}

run_ladder() {
    local all=() start=$SECONDS
    if [ "${1:-}" = --all ]; then all=(--all); fi
    # no vulnerability data to be had is the network's doing: audit.sh says so, and it is no failure
    beside audit 120 bash -c 'deploy/audit.sh || [ $? = 3 ]'
    rung lint 60 deploy/dev.sh lint
    joined audit
    tests unit 90 2 "${all[@]}"
    tests property 60 2 "${all[@]}"
    tests fuzz 60 2
    tests bpf 200 2 "${all[@]}"
    tests netns "$([ "${1:-}" = --all ] && echo 3600 || echo 360)" 3 "${all[@]}"
    # compliance waits two thirds of its time, for timers and for silence
    beside compile 180 nice -n 10 deploy/dev.sh compile
    if compgen -G 'tests/compliance/test_*.py' >/dev/null; then tests compliance 120 2 "${all[@]}"; fi
    joined compile
    compiled fuzz 60 2 # for so many seconds, alone: beside others it would try less
    compiled_beside unit 240 1 "${all[@]}"
    compiled_beside property 240 1 "${all[@]}"
    tests cases 240 2 # and the kernel's column, a third process: all of them mostly wait
    joined unit-c
    joined property-c
    tests faults "$([ "${1:-}" = --all ] && echo 900 || echo 120)" 0 "${all[@]}" # one at a time: they measure
    beside soak 120 .venv/bin/python -m tests.soak --minutes 1
    tests packaging 120 2
    joined soak
    if has_bench; then tests bench 120 0; fi
    summary $((SECONDS - start))
}

summary() {
    printf '\n%-10s %6s %6s %7s %7s  %s\n' rung took budget passed failed ''
    printf '%s\n' "${rung_rows[@]}"
    printf '%s rungs, %s failed, %s s\n' "${#rung_rows[@]}" "$rungs_failed" "$1"
    # a plain line for machines; a rung that failed without a failing test counts as one
    printf 'total: %s passed, %s failed\n' "$tests_passed" "$((tests_failed > rungs_failed ? tests_failed : rungs_failed))"
    [ "$rungs_failed" = 0 ]
}

c_files() {
    find bpf alg -maxdepth 2 -name '*.[ch]' | sort
}

# run_fuzz [SECONDS]: all targets in turn, with a new seed each time.
run_fuzz() {
    .venv/bin/python -m tests.fuzz --seconds "${1:-600}"
}

# Runs all of them and fails if one did.
run_lint() {
    local code=0
    .venv/bin/ruff format --check . || code=1
    .venv/bin/ruff check . || code=1
    # mypy reads through links; name the files as in the tree
    .venv/bin/mypy --no-error-summary 2>&1 | sed 's#^\.venv/tree/algate/##' || code=1
    c_files | xargs clang-format-14 --dry-run --Werror || code=1
    shellcheck -x deploy/*.sh deploy/debian/algate.p* vagrant/*.sh .ci/run .ci/*.sh tests/packaging/*.sh || code=1
    if [ "$code" = 0 ]; then echo "lint: all clean"; else echo "lint: see above; 'deploy/dev.sh format' repairs the format" >&2; fi
    return "$code"
}

run_format() {
    .venv/bin/ruff check --fix-only --quiet .
    .venv/bin/ruff format .
    c_files | xargs clang-format-14 -i
}
