"""The compliance run: every requirement of RFC 4787, 5382, 5508, 7857, 6888 against algate and the kernel's own NAT."""
