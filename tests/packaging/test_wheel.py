"""The wheel: it has every module and the C code, installs no other top-level module, and runs from its own venv."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("bpf", "alg", "cli")
CLIENT = "algate/alg/client/"  # the package algate.client


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since building in the tree would leave build/ behind."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for part in (*PARTS, "deploy"):
        shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    python = ROOT / ".venv/bin/python"
    run([python, "-m", "pip", "wheel", "--no-deps", "--disable-pip-version-check", "-w", folder, source])
    (built,) = folder.glob("algate-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a venv made as the README says, without the tree."""
    venv = tmp_path_factory.mktemp("clean") / "venv"
    run(["/usr/bin/python3", "-m", "venv", "--system-site-packages", venv])
    pip: list[str | Path] = [venv / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    run([*pip, "-c", ROOT / "deploy/constraints.txt", wheel])
    yield venv
    shutil.rmtree(venv)


def run(command: list[str | Path], cwd: Path = Path("/")) -> str:
    """The standard output of a command that has to succeed."""
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, f"{' '.join(map(str, command))}\n{result.stdout}{result.stderr}"
    return result.stdout


def tree_files() -> set[str]:
    """What the wheel must have: modules, stubs, C, and the marks of a typed package."""
    kinds = ("*.py", "*.pyi", "*.c", "*.h", "*.def", "*.json", "py.typed")
    paths = [path.relative_to(ROOT) for part in PARTS for kind in kinds for path in (ROOT / part).rglob(kind)]
    return {f"algate/{path}".replace(CLIENT, "algate/client/") for path in paths}


def test_wheel_carries_the_tree_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name and ".data/" not in name}
    assert names == tree_files()


def test_no_bare_top_level_module(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.startswith("algate-")} == {"algate"}


def test_wheel_carries_licence_and_deployment_files(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    shared = {name.rsplit("/", 1)[1] for name in names if "/data/share/algate/" in name}
    assert shared == {"config.example.toml", "algate.service", "prometheus.rules.yml", "grafana-dashboard.json"}
    for place in (
        "man/man8/algate.8",
        "man/man5/algate.toml.5",
        "bash-completion/completions/algate",
        "zsh/site-functions/_algate",
        "fish/vendor_completions.d/algate.fish",
    ):
        assert any(name.endswith(f"/data/share/{place}") for name in names), place


def test_command_runs_from_a_clean_venv(installed: Path) -> None:
    algate = installed / "bin/algate"
    listed = run([algate, "--help"])
    for verb in ("run", "down", "status", "sessions", "forward", "top", "demo", "doctor"):
        assert verb in listed
    for verb in ("run", "demo"):
        assert "--" in run([algate, verb, "--help"])


def test_installed_copy_is_its_own(installed: Path) -> None:
    code = (
        "import importlib.metadata as m, importlib.util as u, algate.alg, algate.bpf, algate.cli, pathlib\n"
        "print(*(pathlib.Path(p.__file__).parent for p in (algate.alg, algate.bpf, algate.cli)), sep='\\n')\n"
        "print((pathlib.Path(algate.bpf.__file__).parent / 'gateway.bpf.c').stat().st_size > 0)\n"
        "import algate.client as c; print(c.schema('status')['title'])\n"
        "print(*sorted(e.name for e in m.entry_points(group='algate.protocols') if e.load()))\n"
        "print([n for n in ('alg', 'bpf', 'cli') if u.find_spec(n)])\n"
    )
    *folders, c_found, title, protocols, bare = run([installed / "bin/python", "-I", "-c", code]).splitlines()
    assert all(Path(folder).is_relative_to(installed) for folder in folders)
    assert (c_found, protocols, bare) == ("True", "ftp irc tftp", "[]")
    assert title == "algate status --json"


def test_share_folder_of_the_installation(installed: Path) -> None:
    assert (installed / "share/algate/config.example.toml").read_text().startswith("# algate")
