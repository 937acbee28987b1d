"""gRPC around plain servicers: checks of fields, pages, limits, calls to peers, start and stop of a process."""
