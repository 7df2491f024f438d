"""Between the kernel and the engine: punts in from the ring, the engine's effects out to maps and TAP.

This folder packs, unpacks, sends and reads back what crosses the border, in the order that the engine asked for. It
must judge no line (the engine does), and has no loop, timer or device except the TAP (the daemon has them).
"""
