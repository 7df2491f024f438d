# shellcheck shell=bash
# Sourced by dev.sh: prepare a Debian machine for algate. Uses `die` of dev.sh; the working directory is the tree.
#
# The law of this file: it installs Debian packages, makes .venv and mounts bpffs. It starts no service, leaves none enabled
# that wasn't there before, names no mirror, and does nothing if everything is in place.

policy=/usr/sbin/policy-rc.d
policy_mark='# temporary, of algate deploy/dev.sh'

# setup LEVEL: run, demo or test; each includes the one before.
setup() {
    local level=$1
    check_machine
    restore_policy # left by a run that was killed
    install_debian "$level"
    check_features
    make_venv "$level"
    link_tree
    unpack_servers "$level"
    mount_bpffs
}

check_machine() {
    [ "$(uname -s)" = Linux ] || die 3 "algate needs Linux, this is $(uname -s)"
    [ "$(id -u)" = 0 ] || die 3 "not root: run it as 'sudo deploy/dev.sh ...' (packages, BPF programs and network namespaces need root)"
    command -v apt-get >/dev/null || die 3 "no apt-get: this script knows Debian 12 and later only (deploy/README.md says what to install elsewhere)"
}

check_features() {
    [ -r /sys/kernel/btf/vmlinux ] || die 3 "this kernel has no BTF (/sys/kernel/btf/vmlinux): boot one built with CONFIG_DEBUG_INFO_BTF, as Debian's are"
    compgen -G '/usr/src/linux-headers-*' >/dev/null || compgen -G '/lib/modules/*/build' >/dev/null || [ -e /sys/kernel/kheaders.tar.xz ] ||
        die 3 "no kernel headers in /usr/src: install linux-headers-$(dpkg --print-architecture)"
}

# wanted LEVEL: the Debian packages of a level, one per line.
wanted() {
    local lists=(deploy/packages-run.txt)
    case $1 in
        demo) lists+=(deploy/packages-demo.txt) ;;
        test) lists+=(deploy/packages-demo.txt deploy/packages-test.txt) ;;
    esac
    sed -e 's/[[:space:]]*#.*//' -e '/^[[:space:]]*$/d' -e "s/@ARCH@/$(dpkg --print-architecture)/" "${lists[@]}" | sort -u
}

installed() {
    dpkg-query -W -f '${db:Status-Abbrev}${binary:Package}\n' 2>/dev/null | sed -n 's/^ii \([^:]*\).*/\1/p' | sort -u
}

install_debian() {
    local missing before log
    mapfile -t missing < <(comm -23 <(wanted "$1") <(installed))
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "dev.sh: installing ${#missing[@]} Debian packages: ${missing[*]}" >&2
    before=$(installed)
    log=$(mktemp)
    forbid_services
    export DEBIAN_FRONTEND=noninteractive
    if ! apt_get "$log" update || ! apt_get "$log" install -y --no-install-recommends "${missing[@]}"; then
        restore_policy
        die 3 "cannot install Debian packages (no network for packages?): $(grep -m1 '^E:' "$log" || tail -n1 "$log"); whole log: $log"
    fi
    restore_policy
    disable_new_units "$before"
    rm -f "$log"
}

# apt_get LOG ARG...
apt_get() {
    local log=$1
    shift
    apt-get -q -o APT::Update::Error-Mode=any -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" >>"$log" 2>&1 </dev/null
}

# While packages install, no maintainer script may start a service.
forbid_services() {
    trap restore_policy EXIT
    if [ -e "$policy" ] || [ -L "$policy" ]; then mv "$policy" "$policy.algate-saved"; fi
    printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" >"$policy"
    chmod 755 "$policy"
}

restore_policy() {
    if [ -f "$policy" ] && grep -qsxF "$policy_mark" "$policy"; then rm -f "$policy"; fi
    if [ -e "$policy.algate-saved" ] || [ -L "$policy.algate-saved" ]; then mv "$policy.algate-saved" "$policy"; fi
    trap - EXIT
}

# Nor may one start at the next boot, since the tests run their servers themselves. Only for packages that weren't there before.
disable_new_units() {
    local package unit
    command -v systemctl >/dev/null || return 0
    while read -r package; do
        while read -r unit; do
            systemctl disable "${unit##*/}" >/dev/null 2>&1 || true
        done < <(dpkg-query -L "$package" 2>/dev/null | grep -E '^(/usr)?/lib/systemd/system/[^/@]+\.(service|socket|timer)$')
    done < <(comm -13 <(echo "$1") <(installed) | grep -vE '^(systemd|dbus|udev|libsystemd)')
}

# The editable install takes entry points and metadata from pyproject.toml; modules are imported from the tree.
make_venv() {
    local extra='' stamp hash log
    [ "$1" = test ] && extra='[dev]'
    hash=$(cat pyproject.toml deploy/constraints.txt deploy/setup.sh | sha256sum | cut -d' ' -f1)-$PWD-$(/usr/bin/python3 -V | tr -d ' ')
    stamp=.venv/.algate-stamp
    # An install with the tests' tools is good for the other levels too.
    if [ -x .venv/bin/algate ] && { grep -qsxF "$hash$extra" "$stamp" || grep -qsxF "${hash}[dev]" "$stamp"; }; then return 0; fi
    echo "dev.sh: making .venv" >&2
    if ! .venv/bin/python -c 'import sys, bcc; sys.exit(sys.base_prefix != "/usr")' 2>/dev/null; then
        /usr/bin/python3 -m venv --clear --system-site-packages .venv || die 3 "cannot make .venv: is python3-venv installed?"
    fi
    log=$(mktemp)
    if ! .venv/bin/python -m pip install --disable-pip-version-check --no-input -c deploy/constraints.txt -e ".$extra" >"$log" 2>&1 </dev/null; then
        die 3 "cannot install Python packages (is there a network?): $(grep -E '^ *(ERROR|error): ' "$log" | grep -m1 -v subprocess-exited || tail -n1 "$log"); whole log: $log"
    fi
    rm -f "$log"
    echo "$hash$extra" >"$stamp"
}

# What mypy reads: the import package `algate` as links to the folders, so that new files are seen at once.
link_tree() {
    local part
    mkdir -p .venv/tree/algate
    for part in bpf alg cli; do ln -sfnr "$part" ".venv/tree/algate/$part"; done
    ln -sfnr alg/client .venv/tree/algate/client
}

# The packages of FTP servers conflict with each other, so they are unpacked in .venv/servers.
unpack_servers() {
    local lists=()
    case $1 in
        run) return 0 ;;
        demo) lists=(deploy/servers-demo.txt) ;;
        test) lists=(deploy/servers-demo.txt deploy/servers-test.txt) ;;
    esac
    sed -e 's/[[:space:]]*#.*//' -e '/^[[:space:]]*$/d' "${lists[@]}" | sort -u | xargs deploy/unpack-servers.sh .venv/servers || exit 3
}

mount_bpffs() {
    mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf || die 3 "cannot mount bpffs: try 'mount -t bpf bpf /sys/fs/bpf'"
}
