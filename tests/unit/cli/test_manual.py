"""Manual pages and completion scripts: those in deploy/ are what the program would write, and nothing is left out."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from algate.cli import app as command
from algate.cli import manual

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
RELEASE = version("algate")


def plain(page: str) -> str:
    """A page's text without roff's marks."""
    return page.replace("\\-", "-").replace("\\(aq", "'").replace("\\(dq", '"').replace("\\&", "").replace("\\e", "\\")


def test_deploy_holds_what_would_be_written() -> None:
    """If not: python -m algate.cli.manual deploy."""
    example = (DEPLOY / manual.EXAMPLE).read_text()
    assert (DEPLOY / "man/algate.8").read_text() == manual.program_page(RELEASE)
    assert (DEPLOY / "man/algate.toml.5").read_text() == manual.configuration_page(example, RELEASE)
    for path, text in manual.scripts().items():
        assert (DEPLOY / "completion" / path).read_text() == text


def test_each_option_of_each_verb_is_in_the_page() -> None:
    page = plain(manual.program_page(RELEASE))
    for verb in command.VERBS:
        built = command.build(verb)
        for name, one in getattr(built, "commands", {verb: built}).items():
            title = f"algate {verb}" if name == verb else f"algate {verb} {name}"
            section = page.split(f'.SS "{title} ')[1].split(".SS ")[0]
            for parameter in one.params:
                if not getattr(parameter, "hidden", False) and parameter.param_type_name == "option":
                    assert max(parameter.opts, key=len) in section, (title, parameter.opts)


def test_each_key_is_in_the_page() -> None:
    example = (DEPLOY / manual.EXAMPLE).read_text()
    page = plain(manual.configuration_page(example, RELEASE))
    enabled = re.sub(r"^# (?=\w+ = |\[)", "", example, flags=re.M)

    def keys(table: object) -> set[str]:
        if isinstance(table, list):
            return set().union(*map(keys, table)) if table and isinstance(table[0], dict) else set()
        if not isinstance(table, dict):
            return set()
        return set(table) | set().union(*map(keys, table.values()))

    for key in keys(tomllib.loads(enabled)):
        assert re.search(rf"\b{re.escape(key)}\b", page), key


@pytest.mark.parametrize(
    ("text", "roff"),
    [
        ("--all", "\\-\\-all"),
        (".profile", "\\&.profile"),
        ("a\\b", "a\\eb"),
        ("'quoted' `both`", "\\(aqquoted\\(aq \\(aqboth\\(aq"),
    ],
)
def test_text_never_becomes_a_request(text: str, roff: str) -> None:
    assert manual.escaped(text) == roff


def test_an_argument_of_a_macro_stays_one() -> None:
    assert manual.quoted('listen = "127.0.0.1:1025"') == '"listen = \\(dq127.0.0.1:1025\\(dq"'


def test_comments_tables_and_keys_are_told_apart() -> None:
    text = '# A note.\n[nat]   # what\n# lan = ["eth1"]  # inside\nx = 3\n\n# [[forward]]\n'
    assert list(manual.settings(text)) == [
        ("note", "", "A note."),
        ("table", "[nat]", "what"),
        ("key", 'lan = ["eth1"]', "inside"),
        ("key", "x = 3", ""),
        ("table", "[[forward]]", ""),
    ]
