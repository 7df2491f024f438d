#!/bin/bash
# The whole life of the Debian package where nothing was ever installed: build, lintian, install, demo, upgrade and roll-back under
# load, removal, purge.
#
#   sudo .ci/empty-root.sh tests/packaging/life.sh [--all]
#
# --all: once more with a package that brings no compiled programs, so that it needs kernel headers and compiles.
#
# It changes the system that it runs in: only in a root that is thrown away. systemd isn't there: fake_systemctl.py does what the
# maintainer scripts ask of it, and says what it can't do. Exit code 1: something is wrong, the last lines say what.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/tests/packaging
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
passed=0 since=$SECONDS

# step WHAT: it was right so far.
step() {
    passed=$((passed + 1))
    printf 'life: %-60s %4d s\n' "$1" $((SECONDS - since))
    since=$SECONDS
}

die() {
    printf 'life: FAILED: %s\ntotal: %s passed, 1 failed\n' "$*" "$passed"
    exit 1
}

apt() {
    apt-get -q -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=60 "$@" >/tmp/apt.log 2>&1 </dev/null || {
        tail -n 30 /tmp/apt.log
        die "apt-get $*"
    }
}

installed() { dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' | sed -n 's/^ii *//p' | sort; }

only_here() {
    if [ -e /usr/bin/algate ] || [ -d /run/systemd/system ]; then die "not an empty root: run it as .ci/empty-root.sh tests/packaging/life.sh"; fi
}

# A gateway with the default run directory: its pins must not be the host's.
own_bpffs() {
    apt update
    apt install -y --no-install-recommends mount
    mount -t bpf bpf /sys/fs/bpf || die "cannot mount a bpffs"
}

build() {
    local before=/tmp/before more
    installed >$before
    apt install -y --no-install-recommends python3 python3-venv python3-bpfcc "linux-headers-$(dpkg --print-architecture)" lintian
    step "packages to build with"
    deploy/build-deb.sh /tmp/one >/tmp/build.log 2>&1 || { cat /tmp/build.log; die "build-deb.sh"; }
    step "built"
    rm -rf /var/cache/algate # the builder's, in which the user of a package would find what it compiled
    renumber /tmp/one/*.deb /tmp/two 0.1.1
    lintian --allow-root --fail-on error /tmp/one/*.deb >/tmp/lintian.log 2>&1 || { cat /tmp/lintian.log; die "lintian"; }
    cat /tmp/lintian.log
    step "lintian has no errors"
    mapfile -t more < <(installed | comm -13 $before -)
    apt purge -y "${more[@]}"
    [ "$(installed)" = "$(cat $before)" ] || die "what it was built with is still there"
    step "nothing to build with is left"
}

# renumber PACKAGE FOLDER VERSION: the same with another number; a second build would take as long as the first.
renumber() {
    local old
    old=$(dpkg-deb -f "$1" Version)
    mkdir "$2"
    dpkg-deb -R "$1" /tmp/renumber
    sed -i "s/^Version: .*/Version: $3/" /tmp/renumber/DEBIAN/control /tmp/renumber/usr/lib/python3/dist-packages/algate-"$old".dist-info/METADATA
    dpkg-deb -b /tmp/renumber "$2/algate_$3_all.deb" >/dev/null
}

# What the demo and this test want, and none of it may start.
tools() {
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    # shellcheck disable=SC2046 # one word a line
    apt install -y --no-install-recommends vsftpd python3-jsonschema $(sed 's/[[:space:]]*#.*//' deploy/packages-demo.txt)
    rm /usr/sbin/policy-rc.d
}

stand_in() {
    mkdir -p /run/systemd/system
    install -m 755 "$here/fake_systemctl.py" /usr/bin/systemctl
}

life() {
    local code=0
    apt install -y --no-install-recommends /tmp/one/*.deb
    cp /tmp/apt.log /tmp/install.log
    tools
    step "installed"
    PYTHONPATH=$PWD /usr/bin/python3 -m tests.packaging.life | tee /tmp/life.log || code=$?
    passed=$((passed + $(grep -c '^life: ' /tmp/life.log)))
    [ "$code" = 0 ] || die "see above"
}

main() {
    case ${1:-} in '' | --all) ;; *) die "unknown argument '$1'" ;; esac
    only_here
    own_bpffs
    build
    stand_in
    life
    if [ "${1:-}" = --all ]; then
        rm -rf /usr/share/algate
        apt install -y --no-install-recommends python3 python3-venv
        deploy/build-deb.sh --no-programs /tmp/three >/tmp/build.log 2>&1 || { cat /tmp/build.log; die "build-deb.sh --no-programs"; }
        apt install -y --no-install-recommends /tmp/three/*.deb
        algate demo | tail -n 1 || die "the demo without compiled programs"
        apt purge -y algate
        step "without compiled programs"
    fi
    printf 'total: %s passed, 0 failed\n' "$passed"
}

main "$@"
