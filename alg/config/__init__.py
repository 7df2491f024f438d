"""The file, its sections and its contradictions."""
