"""The file that an operator writes: its sections, their keys and defaults, and its contradictions.

Text in, a whole valid Config out, or everything wrong with it at once. It must know no device, address or clock:
whether this host has what the file names is a question for the floors above.
"""
