"""The namespace lab behind demo, bench and tests."""
