"""The `tillmesh` command line."""

import os
import signal


def main() -> None:
    """Runs one command."""
    # Said outright, as a shell starts what runs in its background with SIGINT ignored. Until the commands are loaded,
    # which takes a second, Ctrl-C simply ends the process: there is nothing to stop.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what gRPC says of a failure is in the failure itself
    from tillmesh.cli.app import run

    run()


__all__ = ["main"]
