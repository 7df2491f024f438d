"""`forward add --save`: one [[forward]] is added to a file or removed, and every other byte stays."""

from __future__ import annotations

import tomllib

import pytest

from algate.alg.config import saved
from algate.alg.config.load import loads
from algate.alg.errors import AlgateError

FILE = """# the office
[gateway]
lan = ["eth1"]
wan = "eth0"   # uplink

# mail
[[forward]]
proto = "tcp"
wan_port = 25
to = "10.0.0.5:25"
from = [
  "192.0.2.0/24",  # [[forward]] in a comment
]

# below the first
[[ forward ]]  # a range
proto = "udp"
wan_port = "7000-7009"
to = "10.0.0.6:7000"

# timers of the lab
[timeouts]
udp = 30
"""
ONE = {"proto": "tcp", "wan_port": "2121", "to": "10.0.0.9:21", "from": ["192.0.2.0/24"], "alg": "ftp"}


@pytest.mark.parametrize("text", ["", FILE, FILE.rstrip("\n"), "[gateway]\nlan = ['a']\r\nwan = 'b'\r\n"])
def test_what_is_added_can_be_read_and_taken_out_again(text: str) -> None:
    grown = saved.with_forward(text, ONE, "f")
    assert grown.startswith(text)
    assert tomllib.loads(grown)["forward"][-1] == {**ONE, "wan_port": 2121}
    back = saved.without_forward(grown, "tcp", "2121", "f")
    assert back is not None and back.rstrip("\n") == text.rstrip("\n")


def test_the_file_is_one_that_algate_reads() -> None:
    made = loads(saved.with_forward(FILE, ONE, "f"))
    assert [str(one.wan_port) for one in made.forwards] == ["25", "7000-7009", "2121"]
    assert (str(made.forwards[2].to), made.forwards[2].alg) == ("10.0.0.9:21", "ftp")


def test_twice_is_once() -> None:
    grown = saved.with_forward(FILE, ONE, "f")
    assert saved.with_forward(grown, ONE, "f") == grown


@pytest.mark.parametrize(
    ("proto", "port", "gone"),
    [
        ("tcp", "25", FILE[FILE.index("[[forward]]\n") : FILE.index("\n# below")]),
        ("udp", "7000-7009", FILE[FILE.index("[[ forward") : FILE.index("\n# timers")]),
    ],
)
def test_only_its_lines_go(proto: str, port: str, gone: str) -> None:
    """Comments stay, those after it too: they belong to what follows."""
    assert saved.without_forward(FILE, proto, port, "f") == FILE.replace(gone, "")


def test_what_the_file_does_not_have() -> None:
    for proto, port in (("udp", "25"), ("tcp", "26"), ("udp", "7000"), ("udp", "x")):
        assert saved.without_forward(FILE, proto, port, "f") is None


@pytest.mark.parametrize("port", ["7005", "6990-7000", "7000-7009"])
def test_ports_that_another_one_has(port: str) -> None:
    with pytest.raises(AlgateError, match="f has a forward of udp port 7000-7009"):
        saved.with_forward(FILE, {**ONE, "proto": "udp", "wan_port": port}, "f")


INLINE = 'forward = [{proto = "tcp", wan_port = 25, to = "10.0.0.5:25"}]\n'
HIDDEN = FILE + '[alg.ftp]\ndeny = ["""\n[[forward]]\n"""]\n'


def test_what_cannot_be_edited_is_left_to_the_operator() -> None:
    with pytest.raises(AlgateError, match="by hand"):
        saved.with_forward(INLINE, ONE, "f")
    with pytest.raises(AlgateError, match="by hand"):
        saved.without_forward(INLINE, "tcp", "25", "f")
    with pytest.raises(AlgateError, match="by hand"):  # a header inside a string
        saved.without_forward(HIDDEN, "tcp", "25", "f")
    with pytest.raises(AlgateError, match="not TOML, nothing saved"):
        saved.with_forward("[", ONE, "f")


ALLOW = {"proto": "tcp", "port": "6000-6009", "to": "2001:db8:1::5", "from": ["2001:db8:9::/48"]}


@pytest.mark.parametrize("text", ["", FILE, FILE.rstrip("\n")])
def test_what_is_let_in_is_kept_the_same_way(text: str) -> None:
    grown = saved.with_allowed(text, ALLOW, "f")
    assert grown.startswith(text) and tomllib.loads(grown)["allow_in"] == [ALLOW]
    assert saved.with_allowed(grown, ALLOW, "f") == grown
    more = saved.with_allowed(grown, {**ALLOW, "to": "2001:db8:1::6"}, "f")
    with pytest.raises(AlgateError, match="f has an entry of tcp port 6000-6009 of 2001:db8:1::5: delete it"):
        saved.with_allowed(more, {**ALLOW, "port": 6009}, "f")
    assert saved.without_allowed(more, "tcp", "6000-6009", "2001:db8:1::7", "f") is None
    fewer = saved.without_allowed(more, "tcp", "6000-6009", "2001:0db8:1::6", "f")
    assert fewer == grown, "however the address is spelled"
    back = saved.without_allowed(grown, "tcp", "6000-6009", "[2001:db8:1::5]", "f")
    assert back is not None and back.rstrip("\n") == text.rstrip("\n")
