"""A gateway under mixed traffic and random faults for as long as one likes: `deploy/dev.sh soak --minutes N`."""
