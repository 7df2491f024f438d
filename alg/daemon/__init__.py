"""The only loop: it brings a gateway up, keeps it, and takes it down, whatever happens meanwhile.

Here live the order of a start and of an end, and when each duty is due; what a duty does lies below. It must know no
verb and no socket of operators: admin/ calls it, and it calls nobody above.
"""
