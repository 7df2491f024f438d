"""Protocol plug-ins, one package or module each, and the bases that they may share.

A plug-in turns what the two ends say into actions, and is pure: no socket, clock or kernel, so that it can be tried on
any bytes. It must know nothing but plugin/: algate's own plug-ins have no more rights than a third party's.
"""
