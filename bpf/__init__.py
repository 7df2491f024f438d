"""The C that translates, and the thin Python that knows BPF: finds headers, compiles, loads, pins, reads and writes.

include/abi.h is the only definition of what both languages see, and abi.py derives from it. The Python must know no
protocol, no configuration, and nothing of algate above it; errors and their exit codes start here.
"""
