"""The order service with a grpcio that it is not made for; `python -m tests.runtime.other_grpcio` starts it."""

import sys

import grpc

from order_service.server import OrderSettings, wire
from tillmesh.rpc.server import run
from tillmesh.rpc.settings import load_settings

NAME = "tests.runtime.other_grpcio"
VERSION = "1.999.0"

if __name__ == "__main__":
    grpc.__version__ = VERSION  # nothing else of it differs
    settings = load_settings(OrderSettings, sys.argv[1:])
    run(NAME, settings, lambda: wire(settings))
