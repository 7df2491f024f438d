#!/bin/bash
# Make this machine the gateway, the client or the server of the Vagrant lab: provision.sh gateway|client|server
#
# Runs as root at every start; a second run changes nothing. deploy/dev.sh brings everything that algate needs. If no
# systemd is running (a container, a chroot), the files are written and nothing is started.
set -euo pipefail
role=${1:-}
tree=${ALGATE_TREE:-/srv/algate}
gateway_inside=10.20.1.100
gateway_outside=198.51.100.100
client_inside=10.20.1.2

main() {
    case $role in
        gateway | client | server) ;;
        *) echo "provision.sh: role '$role' is not one of gateway, client, server" >&2; exit 2 ;;
    esac
    [ -x "$tree/deploy/dev.sh" ] || { echo "provision.sh: no algate tree in $tree (vagrant rsync brings it)" >&2; exit 1; }
    "$tree/deploy/dev.sh" setup demo
    case $role in
        gateway) make_gateway ;;
        client)
            make_ftp_server
            route 198.51.100.0/24 "$gateway_inside"
            ;;
        server) make_ftp_server ;;
    esac
    echo "provision.sh: $role is ready"
}

# put FILE: make standard input the file's content; false if it already was.
put() {
    local new
    new=$(cat)
    if [ -e "$1" ] && [ "$new" = "$(cat "$1")" ]; then return 1; fi
    mkdir -p "$(dirname "$1")"
    printf '%s\n' "$new" >"$1"
}

has_systemd() {
    [ -d /run/systemd/system ]
}

# start UNIT CHANGED: enable it, and restart it if its files are new.
start() {
    if ! has_systemd; then
        echo "provision.sh: no systemd runs here: $1 is written, not started" >&2
        return 0
    fi
    systemctl daemon-reload
    systemctl enable --quiet "$1"
    if [ "$2" = yes ]; then systemctl restart "$1"; else systemctl start "$1"; fi
}

# The device that has an address; a fallback if no device has it yet.
device_of() {
    local found
    found=$(ip -o -4 address show to "$1" | awk '{ print $2; exit }')
    echo "${found:-$2}"
}

make_gateway() {
    local changed=no
    put /etc/algate/config.toml <<EOF && changed=yes
[gateway]
lan = ["$(device_of $gateway_inside eth1)"]
wan = "$(device_of $gateway_outside eth2)"

[[forward]]
proto = "tcp"
wan_port = 21
to = "$client_inside:21"
alg = "ftp"
EOF
    put /etc/systemd/system/algate.service <"$tree/deploy/algate.service" && changed=yes
    # the unit as it ships, run from this tree
    put /etc/systemd/system/algate.service.d/tree.conf <<EOF && changed=yes
[Service]
ExecStart=
ExecStart=$tree/.venv/bin/algate run --config /etc/algate/config.toml --run-dir /run/algate
ExecReload=
ExecReload=$tree/.venv/bin/algate reload --run-dir /run/algate
EOF
    ln -sfn "$tree/.venv/bin/algate" /usr/local/bin/algate
    start algate.service "$changed"
}

make_ftp_server() {
    local changed=no program=$tree/.venv/servers/vsftpd/usr/sbin/vsftpd
    mkdir -p /srv/ftp/pub /run/algate-lab
    chmod 755 /srv/ftp
    chmod 777 /srv/ftp/pub
    [ -s /srv/ftp/pub/hello ] || head -c 1048576 /dev/urandom >/srv/ftp/pub/hello
    put /etc/algate-lab/vsftpd.conf <<EOF && changed=yes
listen=YES
background=NO
anonymous_enable=YES
local_enable=NO
no_anon_password=YES
ftp_username=daemon
nopriv_user=nobody
anon_root=/srv/ftp
anon_upload_enable=YES
anon_other_write_enable=YES
anon_umask=022
anon_world_readable_only=NO
write_enable=YES
connect_from_port_20=YES
secure_chroot_dir=/run/algate-lab
seccomp_sandbox=NO
EOF
    put /etc/systemd/system/algate-lab-ftp.service <<EOF && changed=yes
[Unit]
Description=FTP server of the algate lab
After=network.target

[Service]
ExecStart=$program /etc/algate-lab/vsftpd.conf
RuntimeDirectory=algate-lab
Restart=on-failure

[Install]
WantedBy=multi-user.target
EOF
    start algate-lab-ftp.service "$changed"
}

# route PREFIX GATEWAY: add the route if this machine has the network for it.
route() {
    ip route replace "$1" via "$2" 2>/dev/null || echo "provision.sh: no route to $1 yet: $2 is not on a local network" >&2
}

main
