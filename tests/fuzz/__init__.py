"""Coverage-guided fuzzing of everything that takes bytes from strangers. `python -m tests.fuzz --help`."""
