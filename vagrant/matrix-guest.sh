#!/bin/bash
# The first process of a guest of matrix.sh: prepares the machine, tries algate, says what came of it on the console, powers off.
#
# What counts are its lines that begin with MATRIX; everything else is for whoever looks for the cause.
export HOME=/root LANG=C.UTF-8 TERM=dumb PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# Emulation is 10 to 15 times slower than the machine: whatever waits for something waits that much longer.
export ALGATE_PATIENCE=40

prepare() {
    mount -t proc proc /proc
    mount -t sysfs sys /sys
    mount -t devtmpfs dev /dev
    ln -s /proc/self/fd /dev/fd
    mkdir -p /dev/pts /dev/shm
    mount -t devpts pts /dev/pts
    mount -t tmpfs shm /dev/shm
    mount -t tmpfs run /run
    mount -t tmpfs tmp /tmp
    mount -t bpf bpf /sys/fs/bpf
    mount -t tracefs trace /sys/kernel/tracing
    mount -t cgroup2 cgroup /sys/fs/cgroup
    mkdir -p /run/netns /run/lock
    for module in veth tun dummy bridge sch_ingress cls_bpf act_bpf nf_conntrack nf_nat nf_conntrack_ftp nf_nat_ftp nft_chain_nat; do
        modprobe -q "$module"
    done
    ip link set lo up
    cd /srv/algate || return 1
    deploy/dev.sh setup test </dev/null # links only: everything is installed
}

# try NAME COMMAND...: run it to the console and to /tmp/NAME.
try() {
    local name=$1
    shift
    "$@" </dev/null 2>&1 | tee "/tmp/$name"
    return "${PIPESTATUS[0]}"
}

report() {
    echo "MATRIX kernel $(uname -r)"
    if try load sh -c '.venv/bin/python -m tests.bpf.verified && .venv/bin/python -m tests.bpf.verified nat64'; then
        awk '$2 ~ /^[0-9]+$/ { n++; all += $2; if ($2 > most) { most = $2; which = $1 } }
            END { print "MATRIX load all " n; print "MATRIX steps " all ", " most " (" which ")" }' /tmp/load
    else
        echo "MATRIX load no: $(sed -n 's/^algate: //p' /tmp/load | tail -n1 | cut -c1-160)"
        return
    fi
    if grep -q matrix=load /proc/cmdline; then return; fi
    if try tests .venv/bin/python -m pytest --color=no --no-header -q -x --maxfail=20 -n 2 -m bpf tests/bpf; then
        echo "MATRIX tests $(tail -n1 /tmp/tests)"
    else
        echo "MATRIX tests no: $(tail -n1 /tmp/tests)"
    fi
    if try demo .venv/bin/algate demo; then
        echo "MATRIX demo $(tail -n1 /tmp/demo)"
    else
        echo "MATRIX demo no: $(tail -n1 /tmp/demo)"
    fi
}

prepare
report
echo "MATRIX end"
sync
echo o >/proc/sysrq-trigger
sleep 60
