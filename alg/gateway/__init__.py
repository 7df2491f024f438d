"""The gateway as devices, tables and settings: what the kernel needs to translate, helper or not.

This folder attaches programs to devices, writes the configuration into maps, keeps forwards, sweeps and lists the
tables, and holds the state that outlives a daemon. It must know nothing of what a control session says, and has no
loop.
"""
