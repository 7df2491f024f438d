"""The rung's gateways start with what earlier ones loaded."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.spare import lending


@pytest.fixture(scope="session", autouse=True)
def _spares() -> Iterator[None]:
    with lending():
        yield
