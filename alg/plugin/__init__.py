"""The words between the engine and plug-ins."""
