"""The lab as tests want it: a named gateway in the middle, and nothing of netfilter where algate works.

The law of this file: no topology of its own; cli/lab builds the one lab that demo, bench, tests and baseline share.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from algate.cli.lab.gateways import AlgateGateway, LabGateway, make_gateway, netfilter_traces
from algate.cli.lab.lab import Lab, LabPlan
from algate.cli.lab.trial import forwards

GATEWAYS = ("algate", "kernel")  # the kernel's NAT goes through the same checks, as the baseline


@contextmanager
def gateway_lab(name: str, plan: LabPlan | None = None) -> Iterator[tuple[Lab, LabGateway]]:
    """A lab with that gateway running; with algate, no rule and no conntrack entry before or after the test."""
    with Lab(plan) as lab, make_gateway(name, lab, forwards(lab)) as gateway:
        no_netfilter(lab, gateway)
        yield lab, gateway
        no_netfilter(lab, gateway)


def no_netfilter(lab: Lab, gateway: LabGateway) -> None:
    """Fail if netfilter could have done algate's work."""
    if isinstance(gateway, AlgateGateway):
        assert netfilter_traces(lab) == []
