"""The rows of listings: names and order are a contract that scripts rely on (DESIGN section 6)."""

from __future__ import annotations

import json

import pytest

from algate.alg import findings, rows
from tests.fake_daemon import EVENTS, EXPECTATIONS, FORWARDS, MAPPINGS, SESSIONS


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (
            rows.SessionRow,
            "id proto state inside outside mapped packets_out packets_in bytes_out bytes_in age expires_in alg "
            "related_to",
        ),
        (rows.MappingRow, "proto inside public sessions age expires_in static"),
        (rows.ExpectationRow, "id state proto from public to expires_in control alg"),
        (rows.ForwardRow, "proto wan_port to from alg origin hits"),
        (rows.EventRow, "time event control alg detail reason fields"),
        (findings.CheckRow, "check ok detail fix"),
    ],
)
def test_names_and_their_order(kind: type[rows.Row], names: str) -> None:
    assert " ".join(kind.names()) == names


@pytest.mark.parametrize("row", [*SESSIONS, *MAPPINGS, *EXPECTATIONS, *FORWARDS, *EVENTS])
def test_a_row_survives_json(row: rows.Row) -> None:
    sent = json.loads(json.dumps(row.as_dict()))
    assert tuple(sent) == row.names()
    assert type(row).read(sent) == row


def test_a_row_of_another_version_is_read_as_far_as_it_goes() -> None:
    row = rows.ForwardRow.read({"proto": "tcp", "wan_port": "21", "to": "x", "from": ["a"], "new": 1})
    assert row == rows.ForwardRow("tcp", "21", "x", ("a",), None, "config", 0)


def test_ids_are_inverse() -> None:
    for number in (0, 1, 0xA1, (1 << 64) - 1):
        assert rows.parse_id(rows.format_id(number)) == number
        assert len(rows.format_id(number)) == 16
    for text in ("", "x", "-1", "1" + "0" * 16):
        with pytest.raises(ValueError, match=r"is not an id|invalid literal"):
            rows.parse_id(text)


def test_the_states_are_the_kernels() -> None:
    from algate.bpf import abi

    kernel = {state.name.lower().replace("_", "-") for state in abi.SessionState} - {"dead"}
    assert set(rows.SESSION_STATES) == kernel
    kernel = {state.name.lower() for state in abi.ExpectationState}
    assert kernel | {"expired", "withdrawn"} == set(rows.EXPECTATION_STATES), "the last two end a row"
