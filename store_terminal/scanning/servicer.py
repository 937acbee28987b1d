"""Scans: protobuf to model and back, nothing else."""

from dataclasses import dataclass

from store_terminal.checkouts.calls import CheckoutCalls
from tillmesh.api.terminal.v1 import scan_rules_pb2
from tillmesh.api.terminal.v1 import scan_service_pb2 as api


@dataclass(frozen=True)
class ScanServicer(CheckoutCalls):
    """tillmesh.api.terminal.v1.ScanService."""

    async def ScanItem(self, request: api.ScanItemRequest) -> api.ScanItemResponse:
        """Adds what a scanner read."""
        raise NotImplementedError

    async def GetScanRules(self, _request: api.GetScanRulesRequest) -> scan_rules_pb2.ScanRules:
        """Reads the rules."""
        raise NotImplementedError

    async def ReplaceScanRules(self, request: api.ReplaceScanRulesRequest) -> scan_rules_pb2.ScanRules:
        """Replaces the rules."""
        raise NotImplementedError
