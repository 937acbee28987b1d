"""A payer's own terminal on the command line: for meshes on one machine, and as an example of a phone."""
