"""All views, in the order of their keys.

The law of this file: a list, nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

from algate.cli.top import drops, flows, happenings, hosts, ports
from algate.cli.top.views import TopView

VIEWS: Mapping[str, TopView] = {
    one.name: one for one in (flows.VIEW, hosts.VIEW, ports.VIEW, drops.VIEW, happenings.VIEW)
}
BY_KEY: Mapping[str, str] = {view.key: name for name, view in VIEWS.items()}
