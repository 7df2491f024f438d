"""The gateway as devices, tables and settings: what the kernel needs to translate, helper or not.

Here live attaching to devices, the configuration's way into maps, forwards, the tables' sweep and listings, and the
state that outlives a daemon. It must know nothing of what a control session says, and has no loop.
"""
