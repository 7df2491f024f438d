"""One module per verb: its options, its help, and what it prints.

A verb declares its options for typer, asks alg/admin/ (or the lab, or the bench), and shows the answer. It must hold
no logic that a script using the socket would miss, and imports what is slow to load inside its function.
"""
