"""The gateway as devices, tables and settings."""
