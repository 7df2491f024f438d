"""Who owns a public port in the kernel's words: an IPv6 host is there by its handle, whenever it is asked for."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from algate.alg.helper.ports import KernelPorts
from algate.alg.plugin.model import address
from algate.bpf.requests import ControlProgram
from tests.wire import INSIDE, INSIDE6, NAT64, PUBLIC

pytestmark = pytest.mark.unit
HANDLE = NAT64.key.inside_ip


@pytest.mark.parametrize(("inside", "known_as"), [(INSIDE, INSIDE), (INSIDE6, HANDLE)])
def test_an_inside_host_holds_a_port_by_what_the_kernel_calls_it(inside: bytes, known_as: bytes) -> None:
    ports = KernelPorts(ControlProgram(-1), [IPv4Address(PUBLIC)], 1024, 65535)
    ports.raw = lambda asked: HANDLE if asked == INSIDE6 else asked
    assert ports._owner(address(inside)) == IPv4Address(known_as)


def test_a_handle_that_is_another_host_s_now_isn_t_remembered() -> None:
    """Handles are freed, and given out again: each port asks anew."""
    ports, handles = KernelPorts(ControlProgram(-1), [IPv4Address(PUBLIC)], 1024, 65535), [HANDLE, bytes((0, 1, 2, 4))]
    ports.raw = lambda _: handles.pop(0)
    assert [ports._owner(address(INSIDE6)).packed for _ in range(2)] == [HANDLE, bytes((0, 1, 2, 4))]
