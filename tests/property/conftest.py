"""Property tests don't depend on a clock's speed: no deadline."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("algate", deadline=None)
settings.load_profile("algate")
