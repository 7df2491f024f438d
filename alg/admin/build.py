"""Which build of algate runs: the modules as they are written, or compiled by mypyc (setup.py).

The law of this file: it looks at what was imported; it doesn't matter what is installed elsewhere.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Literal

from algate.alg.engine import engine


def build(modules: Iterable[ModuleType] = (engine,)) -> Literal["pure", "compiled", "mixed"]:
    """`mixed`: some of the modules are compiled and some aren't, which no installation brings about."""
    said = {not (one.__file__ or "").endswith(".py") for one in modules}
    return "mixed" if len(said) > 1 else "compiled" if True in said else "pure"


def loaded() -> list[ModuleType]:
    """The modules of `algate` that were imported so far."""
    return [module for name, module in sorted(sys.modules.items()) if name.startswith("algate.")]
