"""The bench: what the gateway costs, next to the kernel's NAT and bare forwarding, in one run.

This folder holds the measurements, what they run in (on top of the lab), their record and its spread, and the targets
to reach. It must measure algate's programs as they are shipped.
"""
