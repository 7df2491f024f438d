#!/bin/bash
# Which kernels can run algate: vagrant/matrix.sh [--load] [KERNEL ...]        KERNEL: 5.10 6.1 6.12 newest (default: all)
#
# Boots each kernel of Debian in QEMU with one Debian 12 userland (the tests' own), loads every program there, runs tests/bpf and
# `algate demo`, and prints a table: kernel, programs loaded, the verifier's steps, tests, demo. vagrant/matrix.md is that table.
# --load: only load the programs, some minutes a kernel.
# Needs root, Debian's package sources, some 4 GB in ALGATE_MATRIX_CACHE (default /var/cache/algate-matrix), and per
# kernel half an hour where QEMU has to emulate: it proves behaviour, never speed. ALGATE_ACCEL=kvm where KVM works.
#
# Exit codes: 0 every kernel that README claims (6.1 and later) passed all, 1 one of them didn't, 2 usage, 3 no such machine here.
set -euo pipefail
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${ALGATE_MATRIX_CACHE:-/var/cache/algate-matrix}
limit=${ALGATE_MATRIX_SECONDS:-5400} # a kernel's whole run
only=all
cd "$tree"

say() { echo "matrix.sh: $*" >&2; }

die() {
    say "${*:2}"
    exit "$1"
}

# suite KERNEL: where Debian keeps it.
suite() {
    case $1 in
        5.10) echo bullseye ;;
        6.1) echo bookworm ;;
        6.12) echo trixie ;;
        newest) echo trixie-backports ;;
        *) die 2 "kernel '$1' is not one of 5.10, 6.1, 6.12, newest" ;;
    esac
}

# The mirrors and their key, as this machine's apt knows them.
find_mirror() {
    local file
    for file in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
        [ ! -e "$file" ] || grep -qw bookworm "$file" || continue
        mirror=$(sed -nE '/^#/d; /security/d; s#^(URIs:|deb ).*(https?://[^ ]+).*#\2#p' "$file" | head -n1)
        [ -z "$mirror" ] || sources=$file
        [ -z "$mirror" ] || return 0
    done
    die 3 "no mirror of Debian in /etc/apt"
}

need_tools() {
    local tool missing=()
    for tool in mmdebstrap:mmdebstrap qemu-system-x86_64:qemu-system-x86 cpio:cpio depmod:kmod; do
        command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
    done
    [ ${#missing[@]} = 0 ] || die 3 "not installed: apt-get install --no-install-recommends ${missing[*]}"
    [ "$(id -u)" = 0 ] || die 3 "not root: run it as 'sudo vagrant/matrix.sh'"
}

# Sets `base`: the userland as a cpio archive, with all that `deploy/dev.sh setup test` installs. What decides it is in its name.
make_base() {
    local root
    base=$cache/$(cat deploy/packages-*.txt deploy/servers-*.txt deploy/setup.sh deploy/constraints.txt pyproject.toml | sha256sum | cut -c1-16).cpio
    [ ! -e "$base" ] || return 0
    say "making the userland (some minutes)"
    mkdir -p "$cache"
    root=$(mktemp -d -p "$cache")
    # shellcheck disable=SC2064
    trap "rm -rf --one-file-system '$root'" EXIT
    mmdebstrap --quiet --mode=root --variant=apt --format=directory --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --include=ca-certificates,iproute2,kmod,mount,procps,rsync bookworm "$root/root" "$sources"
    root=$root/root
    copy_tree "$root/srv/algate"
    # shellcheck disable=SC2016
    unshare --mount --propagation private bash -c '
        for folder in proc sys dev; do mount --rbind "/$folder" "$1/$folder"; done
        for file in /etc/resolv.conf /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
            if [ -e "$file" ]; then cp -L "$file" "$1$file"; fi
        done
        apt-config dump Acquire | grep -v "^Acquire::IndexTargets" >"$1/etc/apt/apt.conf.d/90host"
        mount -t tmpfs none "$1/run"
        exec chroot "$1" env -i HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin /srv/algate/deploy/dev.sh setup test
    ' base "$root" >&2
    rm -rf "$root"/var/cache/apt "$root"/var/lib/apt/lists "$root"/root/.cache "$root/etc/pip.conf" "$root/etc/apt/apt.conf.d/90host"
    rm -rf "$root"/usr/share/man "$root"/usr/share/vagrant "$root"/usr/lib/llvm-14/lib/*.a
    (cd "$root" && find . -xdev | cpio --quiet -o -H newc) >"$base.new"
    mv "$base.new" "$base"
    rm -rf --one-file-system "$(dirname "$root")"
    trap - EXIT
}

# The tree as it is committed or changed here, without what is made from it.
copy_tree() {
    mkdir -p "$1"
    git ls-files -z | rsync -a --from0 --files-from=- "$tree/" "$1/"
}

# fetch KERNEL: Debian's cloud kernel of that suite, unpacked in `kernel_root`; its release in `release`.
fetch() {
    local apt=$cache/apt-$1 image part file
    kernel_root=$cache/kernel-$1
    if [ ! -e "$kernel_root/release" ]; then
        rm -rf "$kernel_root"
        mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$kernel_root"
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $(suite "$1") main" >"$apt/sources.list"
        [ "$1" != newest ] || echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >>"$apt/sources.list"
        : >"$apt/status"
        local options=(-q -o "Dir::State=$apt" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt" -o "Dir::Etc::sourcelist=$apt/sources.list"
            -o Dir::Etc::sourceparts=/dev/null -o Acquire::Check-Valid-Until=false -o APT::Get::List-Cleanup=false)
        apt-get "${options[@]}" update -o APT::Update::Error-Mode=any >"$apt/log" 2>&1 || { say "$1: no package lists of $(suite "$1"): $(tail -n1 "$apt/log")"; return 1; }
        image=$(apt-cache "${options[@]}" show -a linux-image-cloud-amd64 | grep '^Depends:' | grep -oE 'linux-image-[0-9][^ ,]*' | sort -rV | head -n1)
        (cd "$apt" && apt-get "${options[@]}" download "$image" >>log 2>&1) || { say "$1: cannot fetch $image: $(tail -n1 "$apt/log")"; return 1; }
        # of newer ones kernel and modules are packages of their own
        for part in binary modules; do
            (cd "$apt" && apt-get "${options[@]}" download "${image/image/$part}" >>log 2>&1) || true
        done
        for file in "$apt"/*.deb; do dpkg-deb -x "$file" "$kernel_root"; done
        rm -f "$apt"/*.deb
        release=${image#linux-image-}
        if [ -d "$kernel_root/usr/lib/modules" ]; then mkdir -p "$kernel_root/lib" && mv "$kernel_root/usr/lib/modules" "$kernel_root/lib/modules"; fi
        if [ -e "$kernel_root/lib/modules/$release/vmlinuz" ]; then # where newer packages put it
            mkdir -p "$kernel_root/boot"
            mv "$kernel_root/lib/modules/$release/vmlinuz" "$kernel_root/boot/vmlinuz-$release"
        fi
        [ -e "$kernel_root/boot/vmlinuz-$release" ] || { say "$1: no kernel in $image"; return 1; }
        rm -rf "${kernel_root:?}/usr"
        depmod -b "$kernel_root" "$release"
        echo "$release" >"$kernel_root/release"
    fi
    release=$(cat "$kernel_root/release")
}

# boot KERNEL LOG: run vagrant/matrix-guest.sh in it. The archives follow one another: userland, then modules and tree.
boot() {
    local kernel=$1 log=$2 extra=$work/extra
    rm -rf "$extra"
    mkdir -p "$extra/usr/lib"
    cp -a "$kernel_root/lib/modules" "$extra/usr/lib/modules"
    copy_tree "$extra/srv/algate"
    install -m 755 vagrant/matrix-guest.sh "$extra/matrix-init"
    cp "$base" "$work/initrd"
    (cd "$extra" && find . | cpio --quiet -o -H newc) >>"$work/initrd"
    local accel=(-accel "tcg,thread=multi" -cpu "qemu64,-cx16")
    [ "${ALGATE_ACCEL:-tcg}" = tcg ] || accel=(-accel "$ALGATE_ACCEL" -cpu host)
    timeout "$limit" qemu-system-x86_64 -M q35 "${accel[@]}" -smp 2 -m 6144 -nodefaults -display none -no-reboot -serial stdio \
        -kernel "$kernel_root/boot/vmlinuz-$release" -initrd "$work/initrd" \
        -append "console=ttyS0 rdinit=/matrix-init panic=-1 oops=panic net.ifnames=0 mitigations=off no_timer_check loglevel=4 matrix=$only" \
        </dev/null >"$log" 2>&1 || true
}

# row KERNEL LOG: what the guest reported, as a row of the table.
row() {
    said() { sed -n "s/\r$//;s/^MATRIX $1 //p" "$2" | tail -n1; }
    printf '| %s | %s | %s | %s | %s | %s |\n' "$1" "${release:-?}" "$(said load "$2")" "$(said steps "$2")" "$(said tests "$2")" "$(said demo "$2")"
    if ! grep -q '^MATRIX end' "$2"; then say "$1: it did not reach its end; see $2"; return 1; fi
    [ "$1" = 5.10 ] || [ $only = load ] || ! grep -qE '^MATRIX (load|tests|demo) no' "$2"
}

main() {
    local kernels=() kernel code=0 rows=()
    if [ "${1:-}" = --load ]; then
        only=load
        shift
    fi
    for kernel in "$@"; do
        suite "$kernel" >/dev/null
        kernels+=("$kernel")
    done
    [ ${#kernels[@]} -gt 0 ] || kernels=(5.10 6.1 6.12 newest)
    need_tools
    find_mirror
    make_base
    mkdir -p "$cache/logs"
    work=$(mktemp -d -p "$cache")
    # shellcheck disable=SC2064
    trap "rm -rf --one-file-system '$work'" EXIT
    for kernel in "${kernels[@]}"; do
        if ! fetch "$kernel"; then
            rows+=("| $kernel | not to be had | | | | |")
            continue
        fi
        say "$kernel: $release, output in $cache/logs/$kernel"
        boot "$kernel" "$cache/logs/$kernel"
        rows+=("$(row "$kernel" "$cache/logs/$kernel")") || code=1
    done
    echo "Run on $(date -u +%F) at commit $(git rev-parse --short HEAD), ${ALGATE_ACCEL:-tcg}, Debian 12's userland."
    echo
    echo '| kernel | release | programs loaded | verifier steps: all, largest | tests/bpf | algate demo |'
    echo '| --- | --- | --- | --- | --- | --- |'
    printf '%s\n' "${rows[@]}"
    return "$code"
}

main "$@"
