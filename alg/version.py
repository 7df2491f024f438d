"""Which version of algate this process runs.

The law of this file: read once, at import. An upgrade changes what is installed under a daemon that runs on, and that
one is still what it was when it started.
"""

from __future__ import annotations

from importlib import metadata

VERSION = metadata.version("algate")
