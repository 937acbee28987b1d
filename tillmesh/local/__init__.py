"""A mesh on this machine: a certificate authority, and the three servers as processes."""
