"""Scans: protobuf to model and back, nothing else."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from store_terminal.checkouts import moves
from store_terminal.checkouts.calls import CheckoutCalls, checked
from store_terminal.outbox.queries import find_exchange
from store_terminal.scanning import codes, messages, operations, queries
from store_terminal.scanning.model import ArticleScan, PayCodeScan, ReceiptScan, Scanned, ScanRules
from tillmesh.api.terminal.v1 import scan_rules_pb2
from tillmesh.api.terminal.v1 import scan_service_pb2 as api
from tillmesh.rpc.fields import Fields
from tillmesh.runtime.money import MINOR_UNITS_MAX
from tillmesh.storage.requests import IdempotencyKey, answer_once
from tillmesh.storage.statements import Transaction

SCANNED_LENGTH_MAX = 512


@dataclass(frozen=True)
class ScanServicer(CheckoutCalls):
    """tillmesh.api.terminal.v1.ScanService."""

    async def ScanItem(self, request: api.ScanItemRequest) -> api.ScanItemResponse:
        """Adds what a scanner read."""
        with checked(request) as fields:
            length, quantity = len(request.scanned), request.quantity
            in_bounds = 1 <= length <= SCANNED_LENGTH_MAX
            fields.require(in_bounds, "scanned", f"must have 1 to {SCANNED_LENGTH_MAX} characters, had {length}")
            fields.require(0 <= quantity <= MINOR_UNITS_MAX, "quantity", f"must be 0 to {MINOR_UNITS_MAX}", quantity)
            decided = messages.decided(fields, request.decided)
        year = datetime.fromtimestamp(self.clock.now_ms() / 1000, UTC).year
        match codes.read(request.scanned, year):
            case PayCodeScan():
                told = api.ScanItemResponse(outcome=api.ScanItemResponse.OUTCOME_PAY_CODE)
            case ReceiptScan(order_id):
                told = api.ScanItemResponse(outcome=api.ScanItemResponse.OUTCOME_RECEIPT, order_id=order_id)
            case ArticleScan() as scan:
                effect = partial(
                    operations.scan_item,
                    checkout_id=request.checkout_id,
                    basket_version=request.basket_version,
                    scan=scan,
                    quantity=quantity,
                    decided=decided,
                )
                return await self._add(request, effect)
        told.checkout.CopyFrom(self._message(await self._get(request.checkout_id)))  # nothing is written
        return told

    async def GetScanRules(self, _request: api.GetScanRulesRequest) -> scan_rules_pb2.ScanRules:
        """Reads the rules."""
        return messages.to_rules(await self.database.run(queries.find_rules))

    async def ReplaceScanRules(self, request: api.ReplaceScanRulesRequest) -> scan_rules_pb2.ScanRules:
        """Replaces the rules."""
        told = request.rules
        with Fields() as fields:
            fields.identifier("request_id", request.request_id)
            fields.require(told.version >= 0, "rules.version", "must not be below 0", told.version)
            read = messages.in_store_code_rules(fields, told.rules)
        rules = ScanRules(read, told.add_to_line, told.version, self.clock.now_ms())
        replaced = await self._once(
            request,
            request.request_id,
            "scan-rules",
            lambda transaction, _id: queries.find_rules(transaction),
            operations.replace_rules,
            rules,
        )
        return messages.to_rules(replaced)

    async def _add(self, request: api.ScanItemRequest, effect: Callable[..., Scanned]) -> api.ScanItemResponse:
        """Adds an article once for its request id; waits for the order service if it is asked."""

        def read(transaction: Transaction, known: str) -> Scanned:
            line_number, _, checkout_id = known.partition("/")
            exchange = find_exchange(transaction, request.request_id)
            return Scanned(exchange or moves.get_checkout(transaction, checkout_id), int(line_number))

        def added(scanned: Scanned) -> str | None:
            return f"{scanned.line_number}/{request.checkout_id}" if not scanned.missing else None

        key = self._article_key(request)
        async with self.outbox.writing(key) as call:
            scanned = await answer_once(self.database, key, added, read, effect, call)
        outcome = "DECISION_REQUIRED" if scanned.missing else "ADDED"
        return api.ScanItemResponse(
            outcome=api.ScanItemResponse.Outcome.Value(f"OUTCOME_{outcome}"),
            checkout=await self._settled(request.request_id, scanned.outcome),
            line_number=scanned.line_number,
            decisions=map(messages.to_decision, scanned.missing),
        )

    def _article_key(self, request: api.ScanItemRequest) -> IdempotencyKey:
        """What makes a repeat known: the text as well, now that it is known to be no pay code."""
        key = self._key(request, request.request_id)
        content = hashlib.sha256(key.content_hash + request.scanned.encode()).digest()
        return replace(key, content_hash=content)
