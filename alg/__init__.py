"""Application layer: what stands around the kernel's translation and understands protocols.

Each folder is a floor with one thought, from the lowest up: plugin, protocols, config, engine, audit, gateway, helper,
daemon, admin. Imports lead down, never up (tests/unit/test_floors.py). The folder itself holds only what every floor
may use (errors, and the rows that listings show) and testing.py, for the tests of plug-ins.
"""
