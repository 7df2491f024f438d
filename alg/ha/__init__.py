"""Two gateways: what one holds is written down at the other, before anybody can have relied on it.

The law of this room: a store keeps logs and one key that moves by compare-and-set; all else is here. It knows the
engine's effects and the tables' raw entries, no loop of the daemon's and no verb.
"""
