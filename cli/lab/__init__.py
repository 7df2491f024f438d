"""The namespace lab behind demo, bench and tests: clients, a gateway and servers on one host.

Real FTP programs talk through algate, or through the kernel's NAT for comparison, while both sides are captured and
judged. It must use algate as an operator does, through its command and its socket, and touch no namespace but its own.
"""
