"""The file that an operator writes: its sections, their keys and defaults, and its contradictions.

Text in, a whole valid Config out, or all that is wrong with it at once. It must know no device, address or clock:
whether this host has what the file names is for those above to ask.
"""
