"""Recording one control session: its packets on both sides of the gateway, and why each was treated as it was.

Packets come from packet sockets on the gateway's own devices, with a filter for the two 5-tuples of the session. So
the session is treated as ever (nothing is punted for the capture's sake, nothing waits for it, no program changes), and
the file shows what really passed each device: what a sender said, whether it was held, what left instead of it, what
the gateway itself said. What was decided and why comes from the daemon (alg/audit/witness.py), joined by the senders'
own sequence numbers. The price: a socket for each device, packets of the session alone; XDP's fast path, which those
sockets don't see, never carries control sessions. Fragments behind the first have no ports, so they aren't recorded.
"""
