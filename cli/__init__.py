"""What an operator sees: the `algate` command, its listings and its live view.

app.py has the table of verbs and imports the one that is used, so that --help is quick and needs neither root nor bcc.
Here itself lies what verbs share: options, output, and view.py, which turns rows into text. It must not reach into a
running gateway but through the control socket.
"""
