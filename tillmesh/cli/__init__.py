"""The `tillmesh` command line."""

from tillmesh.cli.app import main

__all__ = ["main"]
