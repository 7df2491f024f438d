"""The thin Python that knows BPF: finds headers, compiles, loads, pins, reads and writes maps. Knows no protocol."""
