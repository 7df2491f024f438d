"""Between the kernel and the engine: punts in, the engine's effects out to maps and TAP."""
