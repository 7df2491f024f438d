"""Where each key of the configuration in force comes from, for `status --settings`.

The law of this file: pure; the configuration and the forwards in force in, rows out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from algate.alg.config.lines import lines
from algate.alg.config.sections import Config, Forward
from algate.alg.config.spelling import allowed_key, defaults, forward_key, forward_value, values
from algate.alg.rows import SettingRow


def settings(config: Config, live: Sequence[Forward]) -> list[SettingRow]:
    """Every key, in the file's order, then the forwards that were added live."""
    where, usual = lines(config.text), defaults(config)
    file = str(config.path) if config.path else None
    given = {key for key, value in config.overrides.items() if value is not None}
    places = {forward_key(one): f"forward[{one.number}]" for one in config.forwards}
    places |= {allowed_key(one): f"allow_in[{one.number}]" for one in config.allow_in}
    found = []
    for key, value in values(config).items():
        line = where.get(places.get(key, key))
        if key in given:
            found.append(SettingRow(key, value, "command line"))
        elif line is not None or key in places:
            found.append(SettingRow(key, value, "file", file, line))
        else:
            found.append(SettingRow(key, value, "default" if value == usual.get(key) else "implied"))
    return [*found, *_live(live)]


def _live(forwards: Sequence[Forward]) -> Iterator[SettingRow]:
    for one in forwards:
        yield SettingRow(forward_key(one), forward_value(one), "forward add")
