"""The live view: sessions, hosts, ports, drops and events, as the daemon's snapshots come in.

history.py keeps snapshots; flows, hosts, ports, drops and happenings are a view each, listed in all.py; keys.py and
details.py make the next choices, screen.py a frame, painter.py its bytes. Only terminal.py has the terminal, only
feed.py the daemon; top.py joins them.
"""
