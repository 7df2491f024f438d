"""doctor: every check, on hosts with and without the fault; none raises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from algate.alg.admin import control, doctor
from algate.alg.admin import doctor_gateway as gateway
from algate.alg.findings import CheckRow
from algate.alg.gateway import hooks, netlink, reach
from algate.alg.gateway.state import DeviceState, State
from algate.alg.rows import RefusalRow
from algate.bpf import abi
from algate.bpf import pins as pin_places

MOUNT = "30 24 0:27 / {place} rw,relatime shared:9 - {kind} {kind} rw,mode=700\n"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A root that looks like a host with everything in place."""
    files = {
        "proc/self/status": "Name:\tpython\nCapEff:\t000001ffffffffff\n",
        "proc/self/mountinfo": MOUNT.format(place="/proc", kind="proc") + MOUNT.format(place="/sys/fs/bpf", kind="bpf"),
        "proc/sys/net/core/bpf_jit_enable": "1\n",
        "proc/sys/net/ipv4/ip_forward": "1\n",
        "sys/kernel/btf/vmlinux": "btf",
        "dev/net/tun": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def write(host: Path, name: str, text: str) -> None:
    (host / name).parent.mkdir(parents=True, exist_ok=True)
    (host / name).write_text(text)


def test_everything_in_place(host: Path) -> None:
    for row in (doctor.privilege(host), doctor.btf(host), doctor.bpffs(host), doctor.jit(host), doctor.tun(host)):
        assert row.ok and not row.fix, row


@pytest.mark.parametrize(
    ("effective", "ok", "named"),
    [
        ("000000c000001000", True, "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON"),
        ("0000000000201000", True, ""),  # SYS_ADMIN includes BPF and PERFMON
        ("0000000000200000", False, "missing CAP_NET_ADMIN"),
        ("0000008000001000", False, "missing CAP_PERFMON"),
        ("0000000000000000", False, "missing CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF"),
    ],
)
def test_privilege(host: Path, effective: str, ok: bool, named: str) -> None:
    write(host, "proc/self/status", f"Name:\tx\nCapInh:\tffffffffffffffff\nCapEff:\t{effective}\n")
    row = doctor.privilege(host)
    assert row.ok is ok
    assert named in row.detail
    assert bool(row.fix) is not ok


@pytest.mark.parametrize(
    ("release", "ok"),
    [
        ("6.1.0-18-amd64", True),
        ("6.1.0-50-cloud-amd64", True),
        ("5.9.16-custom", False),
        ("4.19.0-27", False),
        ("10.0", True),
        ("x", False),
    ],
)
def test_kernel(release: str, ok: bool) -> None:
    row = doctor.kernel(release)
    assert row.ok is ok
    assert release in row.detail


def test_no_btf(host: Path) -> None:
    (host / "sys/kernel/btf/vmlinux").unlink()
    assert not doctor.btf(host).ok


@pytest.mark.parametrize(
    "mounts", ["", MOUNT.format(place="/sys/fs/bpf", kind="tmpfs"), MOUNT.format(place="/run/b", kind="bpf")]
)
def test_no_bpffs(host: Path, mounts: str) -> None:
    write(host, "proc/self/mountinfo", mounts)
    row = doctor.bpffs(host)
    assert not row.ok
    assert row.fix == "mount -t bpf bpf /sys/fs/bpf"


def test_interpreter_is_a_warning(host: Path) -> None:
    write(host, "proc/sys/net/core/bpf_jit_enable", "0\n")
    row = doctor.jit(host)
    assert row.ok and "sysctl" in row.fix


def test_no_tun(host: Path) -> None:
    (host / "dev/net/tun").unlink()
    row = doctor.tun(host)
    assert not row.ok
    assert "No such file" in row.detail


def test_headers_are_named(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BCC_KERNEL_SOURCE", raising=False)
    assert not doctor.headers_row(host).ok
    common, own = (host / f"usr/src/linux-headers-6.1.0-9-{half}" for half in ("common", "amd64"))
    arch = doctor.headers_row.__globals__["platform"].machine().replace("x86_64", "x86").replace("aarch64", "arm64")
    for path in (
        common / "include/linux/kconfig.h",
        common / "include/uapi/linux/bpf.h",
        own / "include/generated/autoconf.h",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (own / f"arch/{arch}/include/generated").mkdir(parents=True)
    row = doctor.headers_row(host)
    assert row.ok
    assert "linux-headers-6.1.0-9-amd64" in row.detail


def test_packages_missing() -> None:
    assert doctor.python_packages(("rich",)).ok
    row = doctor.python_packages(("rich", "no-such-package-of-algate"))
    assert not row.ok
    assert row.detail == "missing no-such-package-of-algate"


def test_compile_tells_the_compilers_words() -> None:
    row = doctor.compiles(
        "import sys; sys.stderr.write('noise\\nx.c:1: error: no such type\\n1 error\\n'); sys.exit(1)"
    )
    assert not row.ok
    assert row.detail == "x.c:1: error: no such type"
    assert doctor.compiles("pass").ok
    assert not doctor.compiles("import os; os.abort()").ok


def ruleset(*items: dict[str, Any]) -> dict[str, Any]:
    return {"nftables": [{"metainfo": {}}, *items]}


def chain(name: str, hook: str, policy: str = "accept") -> dict[str, Any]:
    return {"chain": {"family": "inet", "table": "filter", "name": name, "hook": hook, "policy": policy}}


RULE = {"rule": {"family": "inet", "table": "filter", "chain": "forward", "expr": []}}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (ruleset(), []),
        (ruleset(chain("forward", "forward")), []),
        (ruleset(chain("input", "input", "drop")), []),
        (ruleset(chain("forward", "forward"), RULE, RULE), ["inet filter forward (2 rules, policy accept)"]),
        (ruleset(chain("forward", "forward", "drop")), ["inet filter forward (0 rules, policy drop)"]),
    ],
)
def test_forward_rules(rules: dict[str, Any], expected: list[str]) -> None:
    assert list(doctor.forward_rules(rules)) == expected


def test_netfilter_warns_and_does_not_fail(tmp_path: Path) -> None:
    listing = json.dumps(ruleset(chain("forward", "forward", "drop")))
    tool = tmp_path / "nft"
    tool.write_text(f"#!/bin/sh\necho '{listing}'\n")
    tool.chmod(0o755)
    row = doctor.netfilter(str(tool))
    assert row.ok and row.fix
    assert "policy drop" in row.detail


def test_no_daemon_is_no_fault(tmp_path: Path) -> None:
    row = gateway.daemon(tmp_path)
    assert row.ok
    assert "algate run" in row.fix


@pytest.mark.parametrize(("answer", "ok"), [({"lan": []}, True), (["?"], False)])
def test_daemon_that_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: object, ok: bool) -> None:
    monkeypatch.setattr(control, "request", lambda *_, **__: answer)
    assert gateway.daemon(tmp_path).ok is ok


def test_hosts_at_their_limits_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no fault: it is what limits are for."""
    row = RefusalRow("10.0.0.2", "host-sessions", 3, 4.0, 5, 5, "sessions", "max_sessions_per_host")
    monkeypatch.setattr(control, "request", lambda *_, **__: {"refused": [row.as_dict()]})
    found = gateway.limits(tmp_path)
    assert found.ok and found.detail.startswith("host 10.0.0.2 was refused new sessions (host-sessions) 3 times")
    assert "it has 5 of 5 sessions" in found.detail and "max_sessions_per_host" in found.fix
    monkeypatch.setattr(control, "request", lambda *_, **__: {})
    assert gateway.limits(tmp_path).detail == "no host was refused new sessions lately"


def test_daemon_that_hangs_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        raise control.ControlError("the daemon on /x didn't answer within 5 s")

    monkeypatch.setattr(control, "request", hang)
    assert not gateway.daemon(tmp_path).ok


def test_drops_are_told_with_their_cures_and_are_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gateway.drops(tmp_path) == CheckRow("drops", True, "no daemon to ask")
    some = [
        {"reason": f"r{number}", "count": 10 - number, "meaning": "meant", "cure": "do so" if number == 1 else ""}
        for number in range(9)
    ]
    monkeypatch.setattr(control, "request", lambda *_, **__: {"drops": some})
    row = gateway.drops(tmp_path)
    assert (row.ok, row.fix) == (True, "do so")
    assert row.detail == "10 r0 (meant); 9 r1 (do so); 8 r2 (meant); 7 r3 (meant); 6 r4 (meant)"
    monkeypatch.setattr(control, "request", lambda *_, **__: {"drops": []})
    assert gateway.drops(tmp_path) == CheckRow("drops", True, "none")


@pytest.fixture
def state(tmp_path: Path) -> State:
    """A gateway between lan0 and wan0."""
    devices = {"lan0": DeviceState("lan0", 7, "lan"), "wan0": DeviceState("wan0", 8, "wan", xdp="generic")}
    return State(tmp_path / "state.json", devices=devices)


@pytest.mark.parametrize(
    ("values", "ok", "said"),
    [
        ({}, True, "algate run"),
        ({"lan0": "1", "wan0": "1"}, True, "on for lan0, wan0"),
        ({"lan0": "1", "wan0": "0"}, False, "off for wan0"),
    ],
)
def test_forwarding(host: Path, state: State, values: dict[str, str], ok: bool, said: str) -> None:
    for name, value in values.items():
        write(host, f"conf/{name}/forwarding", value)
    row = gateway.forwarding(state, host / "conf")
    assert (row.ok, said in row.detail) == (ok, True)
    assert row.fix == ("" if ok else "sysctl net.ipv4.conf.wan0.forwarding=1")


@pytest.mark.parametrize("filtered", [True, False])
def test_targets_of_both_families_need_a_route(state: State, monkeypatch: pytest.MonkeyPatch, filtered: bool) -> None:
    rows = {
        "forward-list": [{"to": "10.0.0.5:21"}, {"to": "[2001:db8:1::5]:21"}],
        "allow-list": [{"to": "2001:db8:1::6", "port": "8443"}],
    }

    def request(_: Path, verb: str, **__: object) -> list[dict[str, str]]:
        if verb == "allow-list" and not filtered:
            raise control.ControlError("IPv6 isn't filtered")
        return rows[verb]

    monkeypatch.setattr(control, "request", request)
    monkeypatch.setattr(netlink, "device_indices", lambda: {8: "wan0"})
    monkeypatch.setattr(reach, "obstacle", lambda _target, _wan: "")
    targets = 3 if filtered else 2
    assert gateway.forwards(state.path.parent, state).detail == f"{targets} targets, each with a route"
    monkeypatch.setattr(
        reach, "obstacle", lambda target, wan: f"{target} is behind {wan}" if target.version == 6 else ""
    )
    row = gateway.forwards(state.path.parent, state)
    told = ["2001:db8:1::5 is behind wan0", "2001:db8:1::6 is behind wan0"][: targets - 1]
    assert (row.ok, row.detail) == (False, "; ".join(told))


FILTERS = {(7, netlink.INGRESS): "tc_lan", (8, netlink.INGRESS): "tc_wan_in", (8, netlink.EGRESS): "tc_wan_out"}


@pytest.mark.parametrize(
    ("devices", "taken", "ok", "said"),
    [
        ({"lan0": 7, "wan0": 8}, None, True, "attached to lan0 (lan), wan0 (wan, xdp generic)"),
        ({"lan0": 7, "wan0": 8}, (8, netlink.EGRESS), False, "wan0 lacks tc_wan_out"),
        ({"lan0": 7}, None, False, "wan0 is gone"),
        ({"lan0": 7, "wan0": 9}, None, False, "wan0 is gone"),  # recreated with the old name
        ({}, None, True, "not in this network namespace"),
    ],
)
def test_programs(
    state: State, monkeypatch: pytest.MonkeyPatch, devices: dict[str, int], taken: object, ok: bool, said: str
) -> None:
    def find(name: str) -> netlink.Device | None:
        return netlink.Device(name, devices[name], b"", 1500, True, "", ()) if name in devices else None

    def names(index: int, hook: int) -> list[str]:
        return [FILTERS[index, hook]] if (index, hook) in FILTERS and (index, hook) != taken else []

    monkeypatch.setattr(netlink, "find_device", find)
    monkeypatch.setattr(netlink, "filter_names", names)
    row = gateway.programs(state)
    assert row.ok is ok
    assert said in row.detail


@pytest.mark.parametrize(("there", "said"), [([5, 77], "attached to lan0"), ([5], "lan0 lacks tcx_lan")])
def test_what_stands_in_front(state: State, monkeypatch: pytest.MonkeyPatch, there: list[int], said: str) -> None:
    state.devices = {"lan0": DeviceState("lan0", 7, "lan", front=77)}
    monkeypatch.setattr(netlink, "find_device", lambda name: netlink.Device(name, 7, b"", 1500, True, "", ()))
    monkeypatch.setattr(netlink, "filter_names", lambda index, hook: ["tc_lan"])
    monkeypatch.setattr(hooks, "programs", lambda index, hook: there)
    assert said in gateway.programs(state).detail


def test_no_gateway_no_programs(tmp_path: Path) -> None:
    assert gateway.programs(State(tmp_path / "state.json")).detail == "none attached"


@pytest.mark.parametrize(
    ("maps", "ok", "said"),
    [([], True, "none in"), (["own/a", "own/b"], True, "2 in"), (["0123456789abcdef/a"], False, "another version")],
)
def test_pins(host: Path, monkeypatch: pytest.MonkeyPatch, maps: list[str], ok: bool, said: str) -> None:
    run_dir = Path("/run/algate")
    monkeypatch.setattr(pin_places, "is_bpffs", lambda path: path == host)
    monkeypatch.setattr(pin_places, "BPFFS", host)
    monkeypatch.setattr(pin_places, "bpffs", lambda: host)
    for name in maps:
        write(host, f"algate/{name.replace('own', abi.layout_hash())}", "")
    row = gateway.pins(run_dir)
    assert row.ok is ok
    assert said in row.detail


def test_pins_without_bpffs_mount_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pin_places, "is_bpffs", lambda path: False)
    monkeypatch.setattr(pin_places, "bpffs", lambda: pytest.fail("would mount"))
    assert gateway.pins(Path("/run/algate")).ok


def test_no_check_raises_on_an_empty_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "compiles", lambda: CheckRow("compile", True, ""))
    rows = doctor.checks(tmp_path / "run", tmp_path)
    names = [row.check for row in rows]
    assert len(names) == len(set(names))
    failed = {row.check for row in rows if not row.ok}
    assert {"privilege", "btf", "bpffs", "tun"} <= failed
    assert all(row.detail and (row.ok or row.fix) for row in rows if row.check != "compile")
    assert all("\n" not in row.detail for row in rows)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("why", "ok", "fix"),
    [
        (None, True, ""),
        ("kernel.perf_event_paranoid is 3: run `sysctl x`", False, "run `sysctl x`"),
        (
            "the kernel refuses a perf ring (Operation not permitted): CAP_PERFMON is needed",
            False,
            "CAP_PERFMON is needed",
        ),
    ],
)
def test_perf_ring(monkeypatch: pytest.MonkeyPatch, why: str | None, ok: bool, fix: str) -> None:
    from algate.bpf import perf

    monkeypatch.setattr(perf, "refusal", lambda: why)
    row = doctor.perf_ring()
    assert (row.ok, row.fix) == (ok, fix)
