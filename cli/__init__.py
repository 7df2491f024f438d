"""What an operator sees: the `algate` command, its listings and its live view.

app.py has the table of verbs and imports only the one in use, so that --help is quick and needs neither root nor bcc.
This folder itself holds what verbs share: options, output, and view.py, which turns rows into text. It must not reach
into a running gateway except through the control socket.
"""
