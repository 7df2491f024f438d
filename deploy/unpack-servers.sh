#!/bin/bash
# Put Debian's FTP servers where the lab finds them, without installing them: unpack-servers.sh DIR PACKAGE...
#
# Debian's FTP servers conflict with each other (each provides and conflicts with `ftp-server`), so the four of the matrix can't be
# installed together, and installing one would remove the server that the host already runs. Each package is unpacked under
# DIR/PACKAGE instead: no maintainer script runs, no service starts, no account is made. The libraries they need are named in
# packages-demo.txt and packages-test.txt. Does nothing if everything is in place.
set -euo pipefail
dir=$(realpath -m "$1")
shift
for package in "$@"; do
    [ ! -e "$dir/$package/.complete" ] || continue
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    log=$work/log
    if ! (cd "$work" && apt-get -q -o APT::Sandbox::User=root download "$package") >"$log" 2>&1; then
        echo "unpack-servers.sh: cannot fetch the Debian package $package (no network for packages?): $(tail -n1 "$log")" >&2
        exit 3
    fi
    rm -rf "${dir:?}/$package"
    mkdir -p "$dir"
    dpkg-deb -x "$work/$package"_*.deb "$dir/$package"
    touch "$dir/$package/.complete"
    rm -rf "$work"
    trap - EXIT
done
