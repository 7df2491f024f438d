"""The only loop: it brings a gateway up, keeps it, and takes it down."""
