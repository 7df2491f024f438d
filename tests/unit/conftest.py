"""Tests by hypothesis don't depend on a clock's speed: no deadline, as in the rung property."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("algate", deadline=None)
settings.load_profile("algate")
