#!/bin/bash
# Build a Debian 12 box for the libvirt provider from Debian packages only: vagrant/box.sh FILE.box
#
# For machines that can't fetch a public box, or whose guests have no network: the box includes what deploy/dev.sh installs.
# The kernel boots directly (no boot loader), by emulation unless ALGATE_ACCEL=kvm. Run it as root;
# it needs mmdebstrap, qemu-utils, e2fsprogs, vagrant. Then: vagrant box add --name algate-test FILE.box; ALGATE_BOX=algate-test vagrant up
set -euo pipefail
out=$(realpath -m "${1:?usage: vagrant/box.sh FILE.box}")
tree=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d -p "$(dirname "$out")")
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root

make_root() {
    local sources=/etc/apt/sources.list.d/debian.sources
    [ -e $sources ] || sources=/etc/apt/sources.list
    mmdebstrap --quiet --mode=root --variant=apt --format=directory --dpkgopt='path-exclude=/usr/share/doc/*' \
        --include=linux-image-cloud-amd64,systemd-sysv,dbus,udev,openssh-server,sudo,rsync,iproute2,iputils-ping,ca-certificates,kmod,mount,procps \
        bookworm "$root" "$sources"
}

# Fetch here what deploy/dev.sh would fetch in the guest.
bake() {
    local file
    mkdir -p "$root/srv/algate"
    rsync -a --exclude=.git --exclude=.venv --exclude='*.egg-info' --exclude=__pycache__ "$tree/" "$root/srv/algate/"
    for file in /etc/resolv.conf /etc/pip.conf /etc/apt/apt.conf.d; do
        [ -e "$file" ] && mkdir -p "$root$(dirname "$file")" && cp -rL "$file" "$root$(dirname "$file")/"
    done
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    # shellcheck disable=SC2016
    unshare --mount --propagation private bash -c '
        for folder in proc sys dev; do mount --rbind "/$folder" "$1/$folder"; done
        mount -t tmpfs none "$1/run"
        exec chroot "$1" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin /srv/algate/deploy/dev.sh setup demo' bake "$root"
    rm -rf "$root/etc/pip.conf" "$root"/var/cache/apt/archives/*.deb "$root"/root/.cache
}

make_guest() {
    chroot "$root" useradd --create-home --shell /bin/bash vagrant
    echo 'vagrant ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/vagrant"
    install -d -m 700 "$root/home/vagrant/.ssh"
    # the well-known key that Vagrant replaces at the first start
    find / -xdev -path '*vagrant*/keys/vagrant.pub' -exec cat {} \; -quit 2>/dev/null >"$root/home/vagrant/.ssh/authorized_keys"
    [ -s "$root/home/vagrant/.ssh/authorized_keys" ] || { echo 'box.sh: no vagrant.pub found: is vagrant installed?' >&2; exit 1; }
    chroot "$root" chown -R vagrant: /home/vagrant/.ssh
    printf '[Match]\nName=eth0\n[Network]\nDHCP=ipv4\n' >"$root/etc/systemd/network/10-eth0.network"
    chroot "$root" systemctl enable --quiet systemd-networkd ssh
    echo algate >"$root/etc/hostname"
    printf '127.0.0.1 localhost algate\n' >"$root/etc/hosts"
    echo '/dev/vda / ext4 rw 0 1' >"$root/etc/fstab"
}

pack() {
    mkdir "$work/box"
    cp "$root"/boot/vmlinuz-* "$work/box/vmlinuz"
    cp "$root"/boot/initrd.img-* "$work/box/initrd"
    mke2fs -q -t ext4 -O ^has_journal -d "$root" "$work/root.img" 4G
    qemu-img convert -c -O qcow2 "$work/root.img" "$work/box/box.img"
    echo '{"provider": "libvirt", "format": "qcow2", "virtual_size": 4}' >"$work/box/metadata.json"
    cat >"$work/box/Vagrantfile" <<EOF
Vagrant.configure("2") do |config|
  config.vm.boot_timeout = 900
  config.vm.provider "libvirt" do |machine|
    machine.driver = "${ALGATE_ACCEL:-qemu}"
    machine.kernel = File.expand_path("vmlinuz", __dir__)
    machine.initrd = File.expand_path("initrd", __dir__)
    machine.cmd_line = "root=/dev/vda rw net.ifnames=0 mitigations=off console=ttyS0"
    machine.graphics_type = "none"
    machine.video_type = "none"
  end
end
EOF
    tar -C "$work/box" -czf "$out" metadata.json Vagrantfile vmlinuz initrd box.img
}

make_root
bake
make_guest
pack
echo "$out"
