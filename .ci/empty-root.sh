#!/bin/bash
# Run a command where nothing was ever installed: in a clone of this tree's HEAD inside an empty Debian 12 root.
#
#   sudo .ci/empty-root.sh COMMAND [ARG ...]        e.g. sudo .ci/empty-root.sh deploy/dev.sh demo
#
# Kernel, /proc, /sys, /dev and network are the host's; files, packages and environment are a newcomer's. Taken along: Debian's
# sources and what apt needs to reach them, certificates, pip's settings. The bare root is kept as a tar in a cache folder
# (ALGATE_CI_CACHE, default /var/cache/algate-ci; a week at most) and unpacked anew for each run. All mounts live in a mount
# namespace of their own, which ends with the command and what it left running; then the root is removed.
#
# Output and exit code are the command's; lines that begin with "empty-root.sh:" are this script's, on stderr. Where no such root
# can be made: one line, exit code 3.
set -euo pipefail
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${ALGATE_CI_CACHE:-/var/cache/algate-ci}
certificates=/etc/ssl/certs/ca-certificates.crt
root='' made=0

say() { echo "empty-root.sh: $*" >&2; }

die() {
    say "cannot make an empty Debian 12 root: $*"
    exit 3
}

# quiet WHAT COMMAND...: its output only counts if it fails, and then as one line.
quiet() {
    local what=$1 said
    shift
    said=$("$@" 2>&1 </dev/null) || die "$what: $(grep -m1 -E '^(E|W|error|fatal): ' <<<"$said" || tail -n1 <<<"$said")"
}

# Of the host's sources only Debian's own: a newcomer has no others.
find_sources() {
    for sources in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
        if grep -qsw bookworm "$sources"; then return 0; fi
    done
    die "neither /etc/apt/sources.list.d/debian.sources nor /etc/apt/sources.list names a mirror of bookworm"
}

check_host() {
    [ "$(id -u)" = 0 ] || die "not root: run it as 'sudo $0 ...'"
    command -v apt-get >/dev/null || die "no apt-get: the host has to be a Debian"
    command -v git >/dev/null || die "no git on the host"
    find_sources
    if ! command -v mmdebstrap >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        quiet "apt-get update" apt-get -q update
        quiet "installing mmdebstrap" apt-get -qy install --no-install-recommends mmdebstrap
    fi
}

# Sets `base`: the tar of apt and what Debian calls essential. Other sources or another script make another one.
find_base() {
    base=$cache/$(cat "$sources" "${BASH_SOURCE[0]}" | sha256sum | cut -c1-16).tar
    quiet "the cache folder" mkdir -p "$cache"
    find "$cache" -maxdepth 1 -name '*.tar*' -mtime +6 -delete
    [ ! -e "$base" ] || return 0
    local started=$SECONDS new
    new=$(mktemp "$base.XXXXXX")
    trap 'rm -f "$new"' EXIT
    quiet mmdebstrap mmdebstrap --mode=root --variant=apt --format=tar bookworm "$new" "$sources"
    mv "$new" "$base"
    trap - EXIT
    say "the bare root was made in $((SECONDS - started)) s and kept in $base"
}

# take FILE...: what of them there is, to the same place.
take() {
    local file
    for file in "$@"; do
        [ ! -e "$file" ] || install -D -m 644 "$file" "$root$file"
    done
}

unpack_root() {
    root=$(mktemp -d -p "${TMPDIR:-/var/tmp}" algate-root.XXXXXX 2>/dev/null) || die "no folder for it in ${TMPDIR:-/var/tmp}"
    chmod 755 "$root"
    quiet "unpacking $base" tar -C "$root" -xf "$base"
    rm -f "$root/usr/sbin/policy-rc.d" # a newcomer has none: what starts a service when it is installed shows
    take /etc/resolv.conf /etc/hosts "$certificates" /usr/local/share/ca-certificates/*.crt /etc/apt/keyrings/*
    take "${SSL_CERT_FILE:-/nowhere}" "${PIP_CERT:-/nowhere}" "${REQUESTS_CA_BUNDLE:-/nowhere}"
    take /etc/pip.conf
    apt-config dump Acquire | grep -v '^Acquire::IndexTargets' >"$root/etc/apt/apt.conf.d/90host"
    echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/throw-away" # no fsync: the root lives for minutes
}

# The HEAD of the tree, whether it is a clone, a shallow one or a worktree, and whoever owns it.
clone_tree() {
    local trust=$root/tmp/trust changed head
    printf '[safe]\n\tdirectory = *\n' >"$trust"
    export GIT_CONFIG_GLOBAL=$trust
    quiet "git clone" git clone -q "file://$tree" "$root/root/algate"
    head=$(git -C "$tree" rev-parse HEAD)
    [ "$(git -C "$root/root/algate" rev-parse HEAD)" = "$head" ] || die "the clone is not at $head"
    changed=$(git -C "$tree" status --porcelain | wc -l)
    [ "$changed" = 0 ] || say "$changed uncommitted changes are left out; what runs is ${head:0:12}"
    unset GIT_CONFIG_GLOBAL
    rm "$trust"
}

# Sets `environment`: a newcomer's, with the proxies and pip's settings of the host.
find_environment() {
    local name
    environment=(HOME=/root LANG=C.UTF-8 "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    for name in CI TERM SSL_CERT_FILE REQUESTS_CA_BUNDLE "${!PIP_@}" {http,https,ftp,no}_proxy {HTTP,HTTPS,FTP,NO}_PROXY; do
        [ -z "${!name:-}" ] || environment+=("$name=${!name}")
    done
}

# Runs in the new namespace: $1 root, then NAME=VALUE..., --, COMMAND... Processes are not in one of their own: the kernel's threads
# are in the host's alone, and the bench looks at them. Propagation is shared as on any Debian, among these mounts alone.
# shellcheck disable=SC2016
inside='
    set -e
    root=$1 settings=()
    shift
    while [ "$1" != -- ]; do settings+=("$1"); shift; done
    shift
    mount --bind "$root" "$root"
    mount --rbind /proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs shm "$root/dev/shm"
    mount -t tmpfs run "$root/run"
    mount --make-rshared "$root"
    exec chroot "$root" /usr/bin/env -i "${settings[@]}" bash -c "cd /root/algate; exec \"\$@\"" first "$@"'

# Ends, by its id, whatever has the root for its root; repeats until there is nothing.
# shellcheck disable=SC2317 # the trap calls it
end_processes() {
    local process found=yes
    while [ -n "$found" ]; do
        found=''
        for process in /proc/[0-9]*; do
            [ "$process/root" -ef "$root" ] || continue
            found=yes
            say "still running, ended: $({ tr '\0' ' ' <"$process/cmdline"; } 2>/dev/null | cut -c1-100)"
            kill -KILL "${process##*/}" 2>/dev/null || true
        done
        [ -z "$found" ] || sleep 0.2
    done
}

# With its last process the namespace has gone: nothing is mounted below the root.
# shellcheck disable=SC2317 # the trap calls it
clean_up() {
    local started=$SECONDS
    trap '' INT TERM
    if [ -n "$root" ]; then
        end_processes
        rm -rf --one-file-system "$root" || say "$root is left over"
    fi
    say "making and removing the root took $((made + SECONDS - started)) s"
}

main() {
    [ $# -gt 0 ] || { say "usage: .ci/empty-root.sh COMMAND [ARG ...]"; exit 2; }
    local code=0 child
    trap 'exit 130' INT
    trap 'exit 143' TERM
    check_host
    find_base
    trap clean_up EXIT
    unpack_root
    clone_tree
    find_environment
    made=$SECONDS
    set -m # a group of its own: else bash would have the command ignore SIGINT
    unshare --mount --propagation private \
        bash -c "$inside" inside "$root" "${environment[@]}" -- "$@" </dev/null &
    child=$!
    set +m
    wait "$child" || code=$?
    exit "$code"
}

main "$@"
