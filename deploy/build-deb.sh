#!/bin/bash
# Build a Debian package of this tree, by Debian's own tools: debhelper, dh-python, dpkg-buildpackage.
#
#   deploy/build-deb.sh [--version V] [--no-programs] [FOLDER]
#
# makes algate_V_all.deb in FOLDER (default: build/deb); V is pyproject.toml's unless it is given.
#
# What is built is what lies here, committed or not. It is built in a folder of its own, in which deploy/debian stands at the top.
# On Debian 12 the package brings its own typer, since the archive's is too old; elsewhere it uses the archive's. If this machine
# may load BPF programs and has python3-bpfcc and kernel headers, the compiled programs go in: then the package needs no headers.
# Build dependencies that are missing are installed if this is root, else named.
#
# Exit codes: 0 done, 1 failed, 2 usage, 3 something to build with is missing.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
headers='linux-headers-amd64 | linux-headers-arm64 | linux-headers-generic'
parts=(LICENSE README.md pyproject.toml setup.py alg bpf cli deploy)
version='' out='' programs=yes

say() { echo "build-deb.sh: $*" >&2; }

die() {
    local code=$1
    shift
    say "$*"
    exit "$code"
}

arguments() {
    while [ $# -gt 0 ]; do
        case $1 in
            --version) [ $# -ge 2 ] || die 2 "--version wants one"; version=$2 && shift 2 ;;
            --no-programs) programs=no && shift ;;
            -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
            -*) die 2 "unknown option '$1'" ;;
            *) [ -z "$out" ] || die 2 "one folder, please"; out=$1 && shift ;;
        esac
    done
    out=$(realpath -m "${out:-$root/build/deb}")
}

# A copy in which the build may write; what Python or a compiler left in the tree stays behind.
export_tree() {
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    tree=$work/algate
    mkdir "$tree"
    tar -C "$root" --exclude=__pycache__ --exclude='*.so' --exclude='*.egg-info' -cf - "${parts[@]}" | tar -C "$tree" -xf -
    cp -r "$root/deploy/debian" "$tree/debian"
    rm -r "$tree/deploy/debian"
    if [ -n "$version" ]; then
        sed -i "s/^version = .*/version = \"$version\"/" "$tree/pyproject.toml"
        sed -i "1s/(.*)/($version)/" "$tree/debian/changelog"
    fi
}

candidate() { apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: \([^(]*\)$/\1/p'; }

older() { [ -z "$1" ] || dpkg --compare-versions "$1" lt "$2"; }

# Sets `needs`: the package's dependencies that differ.
fit_typer() {
    needs=python3-typer
    older "$(candidate python3-typer)" 0.12 || return 0
    say "the archive's typer is too old: the package brings $(sed -n 's/^\(typer==[^ ]*\) .*/\1/p' "$tree/debian/vendored.txt")"
    needs='python3-click (>= 8.0), python3-rich, python3-shellingham, python3-typing-extensions'
    sed -i '/^    "typer/d' "$tree/pyproject.toml"
    /usr/bin/python3 -m venv "$work/venv" || die 3 "cannot make a venv to fetch it with: install python3-venv"
    "$work/venv/bin/pip" -q --disable-pip-version-check install --no-deps --no-compile --require-hashes \
        --target "$tree/vendored" -r "$tree/debian/vendored.txt" || die 3 "cannot fetch it (is there a network?)"
    rm -rf "$tree"/vendored/{bin,*/__pycache__}
    find "$tree/vendored" \( -iname 'LICENSE*' -o -name RECORD -o -name INSTALLER -o -name REQUESTED \) -delete
}

# setuptools knows licences as PEP 639 has them from version 77 on.
fit_setuptools() {
    older "$(dpkg-query -W -f '${Version}' python3-setuptools 2>/dev/null || candidate python3-setuptools)" 77 || return 0
    sed -i -e 's/^license = "\(.*\)"/license = {text = "\1"}/' -e '/^license-files/d' -e 's/"setuptools>=[^"]*"/"setuptools"/' \
        "$tree/pyproject.toml"
}

ship_programs() {
    local links=$work/links part
    if [ "$programs" = no ]; then
        needs+=", $headers"
        return 0
    fi
    mkdir -p "$links/algate"
    for part in alg bpf cli; do ln -s "$tree/$part" "$links/algate/$part"; done
    if PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$links /usr/bin/python3 -m algate.bpf.ship "$tree/programs" 2>"$work/said"; then
        return 0
    fi
    say "without compiled programs, so the package needs kernel headers: $(tail -n1 "$work/said")"
    needs+=", $headers"
}

build_dependencies() {
    command -v dpkg-checkbuilddeps >/dev/null && (cd "$tree" && dpkg-checkbuilddeps >/dev/null 2>&1) && return 0
    [ "$(id -u)" = 0 ] || die 3 "to build with, install: dpkg-dev$(sed -n '/^Build-Depends/,/^S/{s/^ \([^(,]*\).*/ \1/p}' "$tree/debian/control" | tr -d '\n')"
    say "installing build dependencies"
    if ! apt_install install dpkg-dev || ! apt_install build-dep "$tree"; then
        die 3 "cannot install them: $(grep -m1 '^E:' "$work/said" || tail -n1 "$work/said")"
    fi
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends "$@" >"$work/said" 2>&1 </dev/null
}

main() {
    arguments "$@"
    export_tree
    build_dependencies
    fit_setuptools
    fit_typer
    ship_programs
    echo "algate:Depends=$needs" >"$tree/debian/needs"
    (cd "$tree" && dpkg-buildpackage -b -us -uc >"$work/log" 2>&1) || die 1 "$(tail -n 30 "$work/log")"
    mkdir -p "$out"
    mv "$work"/algate_*_all.deb "$out/"
    ls "$out"/algate_*_all.deb
}

main "$@"
