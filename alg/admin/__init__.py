"""What an operator may ask of a running gateway, and the socket it comes through."""
