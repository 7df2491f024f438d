"""The bench: what the gateway costs, beside the kernel's NAT and bare forwarding, in one run."""
