"""What is told to whom: events, the journal, transfers, metrics."""
