"""Application layer: what stands around the kernel's translation and understands protocols.

One floor upon the other, each a folder with one thought: plugin, protocols, config, engine, audit, gateway, helper,
daemon, admin. An import leads down, never up (tests/unit/test_floors.py). Here itself lies only what every floor may
use, errors and the rows that leave the house, and testing.py, for the tests of plug-ins.
"""
