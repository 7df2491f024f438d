"""Application layer: protocol plug-ins, the engine that runs them, configuration, and the daemon around both."""
