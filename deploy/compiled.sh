# shellcheck shell=bash
# Sourced by dev.sh: the compiled build (setup.py), in a venv of its own. Uses `die` of dev.sh; the working directory is the tree.
#
# The law of this file: .venv runs the tree as it stands; .venv/compiled runs a copy of it, made anew when the tree has changed.
# No compiled module ever lies in the tree, where it would stand before the source that somebody edits.
#
# ALGATE_COMPILED: 1 builds it, or says what is missing; 0 doesn't; else it is built where a C compiler and Python's headers are.

has_compiler() {
    command -v cc >/dev/null && [ -e "$(/usr/bin/python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ]
}

wants_compiled() {
    case ${ALGATE_COMPILED:-auto} in
        0) return 1 ;;
        1) has_compiler || die 3 "ALGATE_COMPILED=1, but there is no C compiler or no Python.h: install gcc libc6-dev python3-dev" ;;
        *) has_compiler ;;
    esac
}

# best_algate: the command of the compiled build if it is wanted and can be made, else of the tree.
best_algate() {
    if wants_compiled; then
        make_compiled
        echo .venv/compiled/bin/algate
    else
        echo .venv/bin/algate
    fi
}

# The venv sees what is installed in .venv, but not its link to the tree: a .pth file's folder is searched, its .pth files are not read.
make_compiled() {
    local venv=.venv/compiled hash log site options=()
    hash=$(find alg bpf cli pyproject.toml setup.py deploy/constraints.txt -type f -not -name '*.pyc' -print0 | sort -z |
        xargs -0 sha256sum | sha256sum | cut -d' ' -f1)-$PWD
    mkdir -p "$venv"
    ln -sfn ../servers "$venv/servers" # the lab looks for them in the venv that runs it
    if [ -x "$venv/bin/algate" ] && grep -qsxF "$hash" "$venv/.algate-stamp"; then return 0; fi
    echo "dev.sh: compiling (one or two minutes)" >&2
    rm -f "$venv/.algate-stamp"
    [ -x "$venv/bin/python" ] || /usr/bin/python3 -m venv --without-pip --system-site-packages "$venv" || die 3 "cannot make $venv"
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    .venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$site/algate-needs.pth"
    # mypy is there if the tests' tools are; else pip fetches it for the time of the build
    if .venv/bin/python -c 'import mypy, setuptools' 2>/dev/null; then options+=(--no-build-isolation); fi
    log=$(mktemp)
    ALGATE_COMPILED=1 PIP_CONSTRAINT=$PWD/deploy/constraints.txt .venv/bin/python -m pip --python "$venv/bin/python" install \
        --disable-pip-version-check --no-input --no-deps --force-reinstall "${options[@]}" . >"$log" 2>&1 </dev/null ||
        die 3 "cannot compile: $(grep -E '(^ *|: )(ERROR|error):' "$log" | grep -m1 -v subprocess-exited || tail -n1 "$log"); whole log: $log"
    rm -f "$log"
    echo "$hash" >"$venv/.algate-stamp"
}
