"""What an operator may ask of a running gateway, and the socket that carries the requests.

This folder holds the verbs, both ends of the control socket, doctor and check, which need no daemon, and run.py, which
joins verbs and daemon. It decides nothing about traffic, and leaves columns and colours to cli/.
"""
