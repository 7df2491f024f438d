"""Coverage-guided fuzzing of everything that takes untrusted bytes: see `python -m tests.fuzz --help`."""
