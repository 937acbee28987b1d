"""A deterministic simulator: the shipped services on a virtual clock and a hostile network."""
