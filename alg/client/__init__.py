"""A running gateway, for programs: `from algate.client import Client`.

The law of this package: it asks, and types what it hears; it shows nothing and touches neither kernel nor files. What
it gives (rows.py, answers.py) and its errors are a contract, as the JSON of the command is; the command itself and
`algate top` go by it. The folder is alg/client, the package algate.client.
"""

from __future__ import annotations

from algate.alg.admin.control import ControlError, SilentError
from algate.alg.answers import SCHEMA, ExplainAnswer, ReloadAnswer, SilentAnswer, StatusAnswer
from algate.alg.errors import AlgateError
from algate.alg.rows import (
    EventRow,
    ExpectationRow,
    ForwardRow,
    GroupRow,
    HostRow,
    MappingRow,
    PortRow,
    SessionRow,
    SettingRow,
)
from algate.client.client import Client
from algate.client.shipped import schema

__all__ = [
    "SCHEMA",
    "AlgateError",
    "Client",
    "ControlError",
    "EventRow",
    "ExpectationRow",
    "ExplainAnswer",
    "ForwardRow",
    "GroupRow",
    "HostRow",
    "MappingRow",
    "PortRow",
    "ReloadAnswer",
    "SessionRow",
    "SettingRow",
    "SilentAnswer",
    "SilentError",
    "StatusAnswer",
    "schema",
]  # fmt: skip
