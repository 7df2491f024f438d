#!/bin/bash
# Real transfers with curl, down and up, in all four modes, to the FTP server of HOST: transfer.sh HOST [PORT]
#
# One line per transfer on standard output; exits with 1 if one failed, used the wrong mode, or changed a byte.
set -euo pipefail
host=${1:?usage: transfer.sh HOST [PORT]}
port=${2:-21}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
head -c 3000000 /dev/urandom >"$work/up"
failed=0

# transfer MODE LINE CURL-ARGUMENT...: LINE is the command that the mode must have sent.
transfer() {
    local mode=$1 line=$2 name result=ok
    shift 2
    name=smoke-$mode-$$
    if ! ftp -T "$work/up" "$@" "ftp://$host:$port/pub/$name" || ! said "$line"; then result='failed up'; fi
    if ! ftp -o "$work/down" "$@" "ftp://$host:$port/pub/$name" || ! said "$line"; then result='failed down'; fi
    if [ "$result" = ok ] && ! cmp -s "$work/up" "$work/down"; then result='bytes differ'; fi
    ftp "$@" -Q "-DELE /pub/$name" "ftp://$host:$port/pub/" || true
    rm -f "$work/down"
    echo "$mode $host:$port $result"
    if [ "$result" != ok ]; then
        failed=1
        grep -E '^[<>*]' "$work/talk" | tail -n 5 >&2 || true
    fi
}

ftp() {
    curl --silent --show-error --verbose --connect-timeout 10 --max-time 120 "$@" >/dev/null 2>"$work/talk"
}

# The command was sent, and the answer to it wasn't a refusal.
said() {
    tr -d '\r' <"$work/talk" | awk -v line="> $1" 'index($0, line) == 1 { sent = 1; next } sent && /^[<>] / { exit !/^< 2/ } END { if (!sent) exit 1 }'
}

transfer passive PASV --disable-epsv
transfer extended-passive EPSV
transfer active PORT --ftp-port - --disable-eprt
transfer extended-active EPRT --ftp-port -
exit $failed
