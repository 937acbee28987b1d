"""Real processes, real kills: what `make chaos` runs, and a slice of it `make test`."""
