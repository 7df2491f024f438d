"""What an operator sees: the `algate` command, its listings and its live view."""
