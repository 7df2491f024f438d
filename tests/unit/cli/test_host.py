"""What is run in a host of a lab, and on which processor."""

from __future__ import annotations

from pathlib import Path

from algate.cli.lab.host import Host


def test_a_command_runs_in_the_host_s_namespace_and_on_its_processor_alone() -> None:
    host = Host("gw", "lab-gw", "10.0.0.1", "eth0", Path("/nowhere"))
    assert host.command(["true"]) == ["nsenter", "--net=/run/netns/lab-gw", "--", "true"]
    host.processor = 1
    assert host.command(["true"])[3:] == ["taskset", "--cpu-list", "1", "true"]
