"""FTP-40: the data connection that nobody named."""

from __future__ import annotations

import pytest

from tests.cases.bed import Bed
from tests.cases.case import case
from tests.cases.dialogue import dialogue

DEFAULT = "without PORT the server would call the client's control port from port 20: refused, in both placements"


@pytest.mark.parametrize("command", [b"RETR f\r\n", b"STOR f\r\n", b"LIST\r\n"])
@case(40, DEFAULT)
def test_ftp_40_default_data_port(bed: Bed, command: bytes) -> None:
    """RFC 959 section 3.2. The transfer fails by the server's own answer, the control session goes on."""
    with dialogue(bed) as d:
        d.command(command)
        d.reply(b"150 opening the data connection\r\n")
        d.shut_in(d.server.remote.port, d.client.local.port, source_port=20)
        d.shut_in(d.server.remote.port, d.client.local.port)
        d.reply(b"425 can't open the data connection\r\n")
        port = d.new_port()
        d.comes_in(d.port(port), port)
        d.alive()


@case(40, DEFAULT)
def test_ftp_40_default_data_port_of_an_outside_client(bed: Bed) -> None:
    with dialogue(bed, "server") as d:
        d.ask(b"RETR f\r\n", b"150 opening the data connection\r\n")
        d.shut_out(d.outer_ip, d.client.local.port)
        d.reply(b"425 can't open the data connection\r\n")
        d.alive()
