"""The only loop: it brings a gateway up, keeps it, and takes it down, whatever happens meanwhile.

This folder holds the order of starting and stopping, and when each duty is due; what a duty does is below. It must know
no verb and no operator's socket: admin/ calls it, and it calls nothing above itself.
"""
