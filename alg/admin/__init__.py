"""What an operator may ask of a running gateway, and the socket it comes through.

Here live the verbs, both ends of the control socket, doctor and check, which need no daemon, and run.py, which joins
verbs and daemon. It must decide nothing about traffic, and leaves columns and colours to cli/.
"""
