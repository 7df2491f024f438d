"""The bench: what the gateway costs, beside the kernel's NAT and bare forwarding, in one run.

Here live the measurements, what they run in (on the lab), their record with its spread, and the targets that it is
held to. It must measure algate's programs as they are shipped.
"""
