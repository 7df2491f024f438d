"""What is told to whom: events as they happen, the journal, transfers, metrics.

Whatever is told about a session is made here once, for the log, `follow`, `explain` and Prometheus. It must not change
the gateway: it hears what others decided and reads what others count.
"""
