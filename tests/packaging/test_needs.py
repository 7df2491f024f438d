"""What the code calls or imports is named by the project: in a package list, pyproject.toml, or Debian's minimum.

A developer's machine has nearly everything, so nothing else there would notice a missing name.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from algate.cli.app import VERBS

ROOT = Path(__file__).resolve().parents[2]
LEVELS = {"run": ("run",), "demo": ("run", "demo"), "test": ("run", "demo", "test")}
#: What has to be set up for each part of the tree. The bench needs the tests' set-up.
PARTS = {"alg": "run", "bpf": "run", "cli": "demo", "cli/bench": "test", "tests": "test"}
#: Programs, by the Debian package that contains them.
PROGRAMS = {
    "bash": ("bash",),
    "conntrack": ("conntrack",),
    "coreutils": ("cat", "nice", "rm"),
    "curl": ("curl",),
    "dash": ("dash", "sh"),
    "dpkg": ("dpkg",),
    "dnsmasq-base": ("dnsmasq",),
    "ethtool": ("ethtool",),
    "gcc": ("gcc",),
    "iproute2": ("ip", "ss", "tc"),
    "iputils-ping": ("ping",),
    "keepalived": ("keepalived",),
    "lftp": ("lftp",),
    "mount": ("mount", "umount"),
    "nats-server": ("nats-server",),
    "ncftp": ("ncftp",),
    "nfdump": ("nfcapd", "nfdump"),
    "nftables": ("nft",),
    "openssl": ("openssl",),
    "pmacct": ("nfacctd",),
    "prometheus": ("prometheus", "promtool"),
    "redis-server": ("redis-server",),
    "redis-tools": ("redis-cli",),
    "stun-client": ("stun",),
    "systemd": ("journalctl", "systemd-analyze"),
    "tmux": ("tmux",),
    "tnftp": ("tnftp",),
    "tshark": ("tshark",),
    "util-linux": ("nsenter", "setpriv", "taskset", "unshare"),
    "vagrant": ("vagrant",),
    "wget": ("wget",),
}
ESSENTIAL = {"bash", "coreutils", "dash", "dpkg", "util-linux"}
#: Only the tests need these: doctor works without nft, and without keepalived on a gateway alone; `whose` without a
#: journal; the demo compares with no other NAT and has curl for its only client.
SPARED = {
    ("alg", "nft"),
    ("alg", "keepalived"),
    ("cli", "conntrack"),  # the peer of a pair in the bench
    ("cli", "journalctl"),
    *(("cli", program) for program in ("nft", "redis-server", "keepalived", "lftp", "ncftp", "tnftp", "wget")),
}
#: Modules of the machine's Python, by the package that must be listed. All others are in the venv.
DEBIAN_MODULES = {"bcc": "python3-bpfcc", "pyftpdlib": "python3-pyftpdlib"}
#: First words of what looks like a command line and isn't: algate's own verbs, the kernel's programs, a fuzz target,
#: what the bench's ends are told; and a server that is unpacked, not installed (servers-test.txt).
OTHERS = {"algate", "allow-list", "filter", "forward-list", "grammar", "tc_lan", "tc_tap", "tc_wan_in", "tc_wan_out"}
OTHERS |= {"tcx_lan", "tcx_wan_in", "connect", "tayga"}
CALLS = {"run", "Popen", "which", "order", "trial"}
WITH_LISTS = {"spawn", "ClientOrder", "ClientRefusal"}
NAMES = {"argv", "command", "words", "enter"}


def listed(level: str) -> set[str]:
    texts = [(ROOT / f"deploy/packages-{name}.txt").read_text() for name in LEVELS[level]]
    lines = [line.partition("#")[0].strip() for text in texts for line in text.splitlines()]
    return {line for line in lines if line}


def modules(part: str) -> Iterator[ast.Module]:
    """The syntax trees of one part, without those that are separate parts."""
    for file in sorted((ROOT / part).rglob("*.py")):
        if part == max((one for one in PARTS if file.is_relative_to(ROOT / one)), key=len):
            yield ast.parse(file.read_text())


# -- programs --


def first_words(node: ast.expr) -> Iterator[str]:
    """The first word of a command line, as far as the text has it."""
    match node:
        case (
            ast.List(elts=[first, *_]) | ast.Tuple(elts=[first, *_]) | ast.Starred(value=first) | ast.BinOp(left=first)
        ):
            yield from first_words(first)
        case ast.IfExp(body=one, orelse=other):
            yield from first_words(one)
            yield from first_words(other)
        case ast.Constant(value=str(text)) if re.fullmatch(r"[a-z][\w.+-]*", text):
            yield text


def is_option(node: ast.expr) -> bool:
    text = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else node
    return isinstance(text, ast.Constant) and isinstance(text.value, str) and bool(re.match("--?[a-zA-Z]", text.value))


def called_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def command_lines(tree: ast.Module) -> Iterator[ast.expr]:
    """Lists with an option in them, arguments of what runs commands, names that say command line."""
    for node in ast.walk(tree):
        match node:
            case ast.List(elts=[_, *rest]) | ast.Tuple(elts=[_, *rest]) if any(map(is_option, rest)):
                yield node
            case ast.Call(func=func, args=[first, *_]) if called_name(func) in CALLS:
                yield first
            case ast.Call(func=func, args=args) if called_name(func) in WITH_LISTS:
                yield from (arg for arg in args if isinstance(arg, ast.List))
            case ast.Assign(targets=[target], value=ast.List() as value) if called_name(target) in NAMES:
                yield value
            case ast.AnnAssign(target=target, value=ast.List() as value) if called_name(target) in NAMES:
                yield value


def called(tree: ast.Module) -> set[str]:
    return {word for line in command_lines(tree) for word in first_words(line)} - set(VERBS) - OTHERS


@pytest.mark.parametrize("part", PARTS)
def test_what_is_called_is_listed(part: str) -> None:
    """Put a word that isn't a program into OTHERS, a program into PROGRAMS, and its package in a list."""
    owner = {program: package for package, programs in PROGRAMS.items() for program in programs}
    words = {word for tree in modules(part) for word in called(tree)}
    assert words - set(owner) == set(), "which Debian package brings it?"
    known = listed(PARTS[part]) | ESSENTIAL
    lacking = {f"{word}: {owner[word]}" for word in words if owner[word] not in known and (part, word) not in SPARED}
    assert lacking == set(), f"in no list of setup {PARTS[part]}"


def test_the_table_holds_what_is_called_and_no_more() -> None:
    words = {word for part in PARTS for tree in modules(part) for word in called(tree)}
    assert {program for programs in PROGRAMS.values() for program in programs} - words == set()


@pytest.mark.parametrize("package", PROGRAMS)
def test_the_package_brings_its_programs(package: str) -> None:
    said = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, check=True).stdout
    brought = {Path(line).name for line in said.splitlines() if "bin/" in line}
    found = {name: shutil.which(name, path="/usr/bin:/usr/sbin") for name in PROGRAMS[package]}
    # the name may be a link of Debian's alternatives to what the package contains
    assert {
        name for name, path in found.items() if not path or not {name, Path(path).resolve().name} & brought
    } == set()


@pytest.mark.parametrize(
    "line",
    ["subprocess.run(['strace', name])", "argv = ['strace', name]", "x(['strace', '-f'])", "which('strace')"],
)
def test_a_program_is_seen(line: str) -> None:
    assert called(ast.parse(line)) == {"strace"}


# -- Python --


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~\[; ]", name)[0]).lower()


def named(*, tests: bool) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["dev"] if tests else []
    return {normal(name) for name in (*project["dependencies"], *extra)}


@pytest.mark.parametrize("part", PARTS)
def test_what_is_imported_is_named_and_lies_in_the_venv(part: str) -> None:
    owners = importlib.metadata.packages_distributions()
    foreign = {name for tree in modules(part) for name in imported(tree)} - sys.stdlib_module_names
    found = {}
    for name in foreign - {"algate", "tests", "algate_callback", "algate_unruly", *DEBIAN_MODULES}:
        spec = importlib.util.find_spec(name)
        place = Path((spec and spec.origin) or "/nowhere")
        found[name] = place.is_relative_to(sys.prefix) and bool(
            {normal(owner) for owner in owners.get(name, ())} & named(tests=PARTS[part] == "test" and part == "tests")
        )
    assert [name for name, good in found.items() if not good] == []
    assert {DEBIAN_MODULES[name] for name in foreign & set(DEBIAN_MODULES)} <= listed("test")


def test_what_builds_lies_in_the_venv() -> None:
    """tests/distribution.py builds without a network, with the setuptools that pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["build-system"]["requires"]) <= set(project["project"]["optional-dependencies"]["dev"])
    spec = importlib.util.find_spec("setuptools")
    assert spec and spec.origin and Path(spec.origin).is_relative_to(sys.prefix)


def test_every_named_distribution_has_one_tested_version() -> None:
    lines = (ROOT / "deploy/constraints.txt").read_text().splitlines()
    pinned = {normal(line): line.partition("==")[2] for line in lines if "==" in line}
    assert {name for name in named(tests=True) if importlib.metadata.version(name) != pinned.get(name)} == set()
