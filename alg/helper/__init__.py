"""Between the kernel and the engine: punts in from the ring, the engine's effects out to maps and TAP.

Here what crosses the border is packed, unpacked, sent and read back, in the order that the engine asked for. It must
judge no line (the engine does), and has no loop, timer or device but the TAP (the daemon has them).
"""
