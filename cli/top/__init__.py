"""The live view: rates, sessions, drops and events, as the daemon's snapshots come in.

flows.py computes, keys.py handles keys, screen.py draws; only top.py has the terminal and the socket. It must
ask the daemon for nothing but its stream of snapshots.
"""
