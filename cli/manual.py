"""The manual pages and the shells' completion scripts, made from what the programs themselves go by.

`python -m algate.cli.manual FOLDER` writes them; deploy/man and deploy/completion hold the result, and a test compares.
algate(8) comes from the table of verbs and their options, algate.toml(5) from config.example.toml.

The law of this file: pure but for `main`; it describes nothing of its own that the program knows.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from algate.cli import app as command
from algate.cli.completion import VARIABLE

EXAMPLE = "config.example.toml"
BASH, ZSH, FISH = "bash/algate", "zsh/_algate", "fish/algate.fish"
EXITS = (
    ("0", "done"),
    ("1", "failed, or nothing was found"),
    ("2", "wrong usage or configuration"),
    ("3", "missing privilege or kernel feature"),
)
FILES = (
    ("/etc/algate/config.toml", "the configuration that the systemd unit reads: algate.toml(5)"),
    ("/run/algate", "run directory: control socket and state of the daemon"),
    ("/sys/fs/bpf/algate*", "pinned programs and tables: sessions live there while no daemon runs"),
    ("/var/cache/algate", "compiled programs, kept until the source or the kernel's headers change"),
)
ENVIRONMENT = (
    ("ALGATE_RUN_DIR", "default for --run-dir"),
    ("ALGATE_GROUP", "of `run`: the group that may read without root, algate if unset, none if empty"),
    ("ALGATE_DEBUG", "if set, errors are shown with their traceback"),
)
EXAMPLES = (
    ("algate run --lan eth1 --wan eth0", "share the connection of eth0 with the network on eth1"),
    ("algate forward add tcp 21 10.0.0.5:21 --alg ftp --save", "an FTP server inside, reachable from outside"),
    ("algate explain 10.0.0.7:40112", "why does this client's transfer hang?"),
    ("algate sessions --inside 10.0.0.7", "what one host is doing"),
    ("algate hosts --limit 10 --watch 2", "who hogs the line"),
    ("algate ports", "what is left of the public ports, and for how long"),
)


def escaped(text: str) -> str:
    """Text as roff takes it: backslashes, hyphens that are typed, and dots or quotes that begin a line."""
    out = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(aq").replace("'", "\\(aq")
    return re.sub(r"^\.", r"\\&.", out, flags=re.M)


def quoted(text: str) -> str:
    """An argument of a macro."""
    return '"' + escaped(text).replace('"', "\\(dq") + '"'


def head(name: str, section: int, what: str, version: str) -> Iterator[str]:
    yield f".TH {quoted(name.upper())} {section} {quoted('')} {quoted(f'algate {version}')} {quoted('algate')}"
    yield from (".SH NAME", f"{escaped(name)} \\- {escaped(what)}")


def items(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A list of terms with their meaning."""
    for term, meaning in rows:
        yield from (".TP", f".B {quoted(term)}", escaped(meaning))


def paragraphs(text: str) -> Iterator[str]:
    """A docstring's paragraphs."""
    for number, part in enumerate(re.split(r"\n\s*\n", text.strip())):
        if number:
            yield ".PP"
        yield escaped(" ".join(part.split()))


def usage(parts: Sequence[str]) -> str:
    return " ".join(("algate", *parts))


def verb_section(words: Sequence[str], verb: Any) -> Iterator[str]:
    """One verb, or each of those that it has."""
    inner = getattr(verb, "commands", None)
    if inner:
        for name, one in inner.items():
            yield from verb_section((*words, name), one)
        return
    context = verb.make_context(" ".join(words), [], resilient_parsing=True)
    pieces = [piece for piece in verb.collect_usage_pieces(context) if piece]
    yield f".SS {quoted(usage((*words, *pieces)))}"
    yield from paragraphs(verb.help or "")
    yield from items(_parameters(verb, context))


def _parameters(verb: Any, context: Any) -> Iterator[tuple[str, str]]:
    for one in verb.get_params(context):
        if one.param_type_name == "argument":
            yield str(one.metavar), getattr(one, "help", None) or ""
        elif (record := one.get_help_record(context)) is not None and "--help" not in one.opts:
            yield " ".join(record[0].split()), " ".join(record[1].split())


def program_page(version: str) -> str:
    """algate(8)."""
    lines = list(head("algate", 8, "NAT gateway in eBPF that understands FTP", version))
    lines += [".SH SYNOPSIS", ".B algate", ".I VERB", "[OPTIONS] [ARGUMENTS]", ".SH DESCRIPTION"]
    lines += list(paragraphs(command.options.__doc__ or ""))
    lines += [
        ".PP",
        escaped(
            "Without a verb: what `algate status` says if a daemon runs, else the list of verbs. "
            "-h or --help after a verb shows its options."
        ),
    ]
    lines += [".SH VERBS", *items(command.VERBS.items()), ".SH OPTIONS OF EACH VERB"]
    for verb in command.VERBS:
        lines += verb_section((verb,), command.build(verb))
    lines += [".SH EXIT STATUS", *items(EXITS), ".SH ENVIRONMENT", *items(ENVIRONMENT)]
    lines += [".SH FILES", *items(FILES), ".SH EXAMPLES", *items(EXAMPLES)]
    lines += [".SH SEE ALSO", ".BR algate.toml (5),", ".BR nft (8),", ".BR conntrack (8),", ".BR tc (8)"]
    return "\n".join(lines) + "\n"


_TABLE = re.compile(r"^(# )?(\[\[?[\w.]+\]\]?)\s*(?:#\s*(.*))?$")
_KEY = re.compile(r"^(# )?(\w+) = (.*?)\s*(?:\s#\s(.*))?$")


def settings(example: str) -> Iterator[tuple[str, str, str]]:
    """What the example says: ("table", name, meaning), ("key", "name = default", meaning), ("note", "", text)."""
    for line in example.splitlines():
        if table := _TABLE.match(line):
            yield "table", table[2], table[3] or ""
        elif key := _KEY.match(line):
            yield "key", f"{key[2]} = {key[3]}", key[4] or ""
        elif line.startswith("#"):
            yield "note", "", line.lstrip("# ")


def configuration_page(example: str, version: str) -> str:
    """algate.toml(5)."""
    lines = list(head("algate.toml", 5, "configuration of algate", version))
    lines += [".SH DESCRIPTION", "A TOML file, by default /etc/algate/config.toml. Each key is shown with its default."]
    for kind, what, meaning in settings(example):
        if kind == "table":
            lines += [f".SH {quoted(what)}", *([escaped(meaning)] if meaning else [])]
        elif kind == "key":
            lines += [".TP", f".B {quoted(what)}", escaped(meaning)] if meaning else [".TP", f".B {quoted(what)}"]
        else:
            lines += [".PP", escaped(meaning)]
    lines += [".SH SEE ALSO", ".BR algate (8)"]
    return "\n".join(lines) + "\n"


def scripts() -> dict[str, str]:
    """The completion scripts by their path below deploy/completion."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # as in completion

    made = {
        path: get_completion_script(prog_name="algate", complete_var=VARIABLE, shell=path.partition("/")[0])
        for path in (BASH, ZSH, FISH)
    }
    return {path: text.strip() + "\n" for path, text in made.items()}


def main(folder: Path) -> None:
    """Write everything below `folder`, which holds config.example.toml."""
    from importlib.metadata import version

    release = version("algate")
    pages = {
        "man/algate.8": program_page(release),
        "man/algate.toml.5": configuration_page((folder / EXAMPLE).read_text(), release),
    }
    for path, text in (pages | {f"completion/{path}": text for path, text in scripts().items()}).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
