"""What a node shows the engines, and what it believes: its password and its certificates, read once at the start."""

from __future__ import annotations

import ssl
from pathlib import Path

from algate.alg.config.sections import Ha, Lease
from algate.alg.errors import AlgateError
from algate.alg.plugin.model import EndPoint

from .resp import StoreAddress


def tls(ha: Ha | Lease) -> ssl.SSLContext | None:
    """None: without TLS. Raises AlgateError, of exit code 2, for files that can't be used."""
    if not ha.tls_ca:
        return None
    try:
        made = ssl.create_default_context(cafile=ha.tls_ca)
        if ha.tls_cert:
            made.load_cert_chain(ha.tls_cert, ha.tls_key)
    except OSError as error:  # ssl.SSLError is one
        raise AlgateError(f"[ha] TLS: {error.strerror or error}", 2) from None
    return made


def password(ha: Ha | Lease) -> str:
    """The first line of its file, "": none is given. Raises AlgateError, of exit code 2, if it can't be read."""
    if not ha.password_file:
        return ""
    try:
        lines = Path(ha.password_file).read_text().splitlines()
    except OSError as error:
        raise AlgateError(f"ha.password_file: {ha.password_file} can't be read: {error.strerror}", 2) from None
    return lines[0] if lines else ""


def where(ha: Ha, point: EndPoint | None) -> StoreAddress:
    """An engine, with what this node shows it. Raises AlgateError, as above."""
    if point is None:
        raise AlgateError("[ha] is incomplete: `algate check` says what is missing", 2)
    return StoreAddress(str(point.ip), point.port, ha.user, password(ha), tls(ha))
