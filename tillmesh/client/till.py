"""The client for makers of till software: what it asks is written down first, and followed to its end."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Self

from tillmesh.api.order.v1.order_pb2 import Order
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.terminal.v1 import receipt_service_pb2 as receipt_api
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as refund_api
from tillmesh.api.terminal.v1.receipt_pb2 import Receipt
from tillmesh.api.type.v1.payer_pb2 import Payer
from tillmesh.auth.callers import Role
from tillmesh.auth.tls import TlsFiles
from tillmesh.client.asking import CALL_S, Asker
from tillmesh.client.connections import DeviceConnections, Server, ignore
from tillmesh.client.desk import Desk
from tillmesh.client.failures import Failure
from tillmesh.client.journal import Entry, Journal
from tillmesh.client.refund import Item, Refund, made, refund_of
from tillmesh.client.sale import Line, Sale
from tillmesh.client.verdicts import Repaid, Undone
from tillmesh.rpc.messages import to_money
from tillmesh.runtime.ids import SYSTEM_RNG, new_request_id, new_transaction_number
from tillmesh.runtime.money import Money


class Till:
    """A till's connection to its store terminal. `connect` makes one.

    Every request has an id that is chosen here. One that begins, pays or ends a sale, or gives money back, is written
    to the journal first, and is repeated under the same id until it is answered. After a crash `resume` goes on with
    all of them: nothing is charged twice, and no paid sale is forgotten.

    A terminal's no is a `Refusal`, with `reason`, `domain`, `metadata` and `violations`; it is never repeated. A
    `Failure` is a sentence for the operator: the journal cannot be written, the certificate is not accepted.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        address: str,
        *,
        certificates: Path | str | None,
        journal: Path | str,
        patience_s: float | None = None,
        timeout_s: float = CALL_S,
        on_unanswered: Callable[[Failure], None] = ignore,
    ) -> AsyncIterator[Self]:
        """A till at the terminal at `address`, HOST:PORT, for the length of a block.

        `certificates` is the folder of the device's `ca.pem`, `cert.pem` and `key.pem`, which are read again when
        they are renewed; None without TLS. `journal` is a file on the till's own disk, for one process and one
        terminal: what one terminal was asked is never asked of another. It knows the terminal by its `address`, so
        use a host name where the number may change.

        A call has `timeout_s` to be answered, and is repeated for `patience_s`, or without an end. `on_unanswered`
        hears of each try that had no answer, to show that the terminal is away.
        """
        with closing(Journal(Path(journal), address)) as notes:
            try:
                tls = TlsFiles.of(Path(certificates)) if certificates else None
                server = Server("store terminal", address, Role.TERMINAL, tls)
            except OSError as error:
                raise Failure(f"The certificates cannot be read: {error}") from error
            async with DeviceConnections(server) as connections:
                asker = Asker(connections, timeout_s=timeout_s, patience_s=patience_s, on_unanswered=on_unanswered)
                yield cls(Desk(connections, asker, notes))

    @classmethod
    @asynccontextmanager
    async def over(
        cls, connections: DeviceConnections, *, patience_s: float | None = None, timeout_s: float = CALL_S
    ) -> AsyncIterator[Self]:
        """A till over connections that are there, with a journal in memory: for a program that nobody resumes."""
        with closing(Journal(None, "")) as notes:
            yield cls(Desk(connections, Asker(connections, timeout_s=timeout_s, patience_s=patience_s), notes))

    async def resume(self) -> list[Sale | Refund]:
        """Everything that is written down and not final, oldest first; also what others in this process follow now.

        Follow each sale (`Sale.follow`), and wait for each refund (`Refund.ended`): that repeats what was not
        answered. Do so side by side: a sale whose outcome is not known can take minutes, and so can money for goods
        that was asked for with a pay code. Each may end in a `Refusal`, after which nothing of it will be done. A sale
        that nobody pays, such as a basket that was left, stays until it is canceled. A pay code is written nowhere:
        where the terminal had not got it yet, the sale ends with the refusal PAY_CODE_LOST, or asks for another
        payment.
        """
        return [self._resumed(subject) for subject in self._desk.journal.subjects()]

    async def sell(
        self,
        lines: Sequence[Line],
        *,
        amount: Money,
        payer: str = "",
        pay_code: str = "",
        checkout_id: str = "",
        prices_include_tax: bool | None = None,
        labels: Mapping[str, str] | None = None,
        lane: str = "",
        cashier_id: str = "",
        exchanged_refund_id: str = "",
    ) -> Sale:
        """Sells and pays in one call. Follow the sale then: its verdict decides.

        `payer` is an online identity, whose yes is waited for; with a `pay_code` it may be empty. `amount` is what
        the shopper was shown. Refused, nothing was sold, and nothing will be; but ORDER_EXISTS may mean the caller's
        own order, sold at another terminal. After a `Failure`, or where the task was canceled, it may be sold:
        `resume`, and sell it under no other number before.
        """
        request = api.SellRequest(
            checkout_id=checkout_id or new_transaction_number(SYSTEM_RNG),
            payment_id=new_request_id(),
            lines=lines,
            amount=to_money(amount),
            identity_id=payer,
            pay_code=pay_code,
            prices_include_tax=prices_include_tax,
            labels=labels,
            lane=lane,
            cashier_id=cashier_id,
            exchanged_refund_id=exchanged_refund_id,
        )
        return await self._opened(Entry(request.checkout_id, request.checkout_id, request))

    async def open(
        self,
        lines: Sequence[Line] = (),
        *,
        payer: str = "",
        currency: str = "",
        prices_include_tax: bool | None = None,
        labels: Mapping[str, str] | None = None,
        lane: str = "",
        cashier_id: str = "",
        exchanged_refund_id: str = "",
    ) -> Sale:
        """Opens a basket, under an online identity or for whoever will show a pay code."""
        request = api.CreateCheckoutRequest(
            request_id=new_request_id(),
            identity_id=payer,
            currency_code=currency,
            lines=lines,
            prices_include_tax=prices_include_tax,
            labels=labels,
            lane=lane,
            cashier_id=cashier_id,
            exchanged_refund_id=exchanged_refund_id,
        )
        return await self._opened(Entry(request.request_id, request.request_id, request))

    async def find(self, checkout_id: str) -> Sale:
        """A checkout of this terminal, by its number."""
        request = api.GetCheckoutRequest(checkout_id=checkout_id)
        return await self._found(Entry(f"find {checkout_id}", checkout_id, request))

    async def take_up(self, order: str) -> Sale:
        """An order of this store that was raised elsewhere, by its number or the text of a receipt's QR code."""
        request = api.ResumeCheckoutRequest(request_id=new_request_id(), order_id=order)
        return await self._found(Entry(request.request_id, request.request_id, request))

    async def void(self, order: str, *, note: str = "", refund_id: str = "") -> Undone:
        """Undoes a sale of the store however far it is, by its number or the text of a receipt's QR code."""
        return await Sale(self._desk, order).void(note=note, refund_id=refund_id)

    async def refund(
        self,
        order: str,
        amount: Money | None = None,
        *,
        lines: Mapping[int, int] | None = None,
        note: str = "",
        refund_id: str = "",
    ) -> Repaid:
        """Gives back an amount of a paid order of the store, quantities by line number, or all that is left.

        `take_up` an order of another terminal first, if lines of it come back: here they have other numbers.
        """
        return await refund_of(self._desk, order, amount=amount, lines=lines, note=note, refund_id=refund_id)

    async def take_back(
        self,
        goods: Sequence[Item],
        *,
        payee: str = "",
        pay_code: str = "",
        currency: str = "",
        note: str = "",
        refund_id: str = "",
    ) -> Repaid:
        """Gives money for goods whose sale this terminal does not have, to an identity or whoever shows a pay code."""
        request = refund_api.ReturnGoodsRequest(
            refund_id=refund_id or new_request_id(), currency_code=currency, lines=goods, note=note
        )
        if pay_code:
            request.pay_code = pay_code
        else:
            request.identity_id = payee
        return await made(self._desk, request)

    async def receipt(
        self,
        checkout_id: str = "",
        *,
        refund_id: str = "",
        kind: "Receipt.Kind.ValueType" = Receipt.KIND_UNSPECIFIED,
        shown_as: "Receipt.Format.ValueType" = Receipt.FORMAT_TEXT,
        columns: int = 0,
        language: str = "",
        code_page: str = "",
        reprint: bool = False,
    ) -> Receipt:
        """What to print of a sale, or of a refund: `text`, or `printer_bytes` where it is shown as ESC/POS."""
        request = receipt_api.GetReceiptRequest(
            kind=kind,
            format=shown_as,
            columns=columns,
            language=language,
            code_page=code_page,
            reprint=reprint,
        )
        connections, asker = self._desk.connections, self._desk.asker
        if refund_id:
            request.refund_id = refund_id
        else:
            request.checkout_id = checkout_id
            look = api.GetCheckoutRequest(checkout_id=checkout_id)
            await asker.ask(connections.till.GetCheckout, look)  # a phone may have paid it: only the order tells
        return await asker.ask(connections.receipts.GetReceipt, request)

    async def pending_orders(self, payer: str) -> list[Order]:
        """The pending transactions of an online identity in this store, newest first: `take_up` the one to be paid."""
        connections = self._desk.connections
        request = api.ListPendingOrdersRequest(payer=Payer(identity_id=payer))
        orders = connections.listed(connections.till.ListPendingOrders, request, lambda page: page.orders)
        return [order async for order in orders]

    async def _opened(self, entry: Entry) -> Sale:
        await self._desk.journal.write(entry)
        sale = Sale(self._desk, entry.subject)
        await sale.begin(entry)
        return sale

    async def _found(self, entry: Entry) -> Sale:
        """A sale that was made before; one that is over needs no entry."""
        sale = await self._opened(entry)
        if sale.said.is_final:
            await self._desk.journal.strike(entry)
        return sale

    def _resumed(self, subject: str) -> Sale | Refund:
        entries = self._desk.journal.entries(subject)
        refunds = (refund_api.RefundCheckoutRequest, refund_api.ReturnGoodsRequest)
        return Refund(self._desk, subject) if isinstance(entries[0].request, refunds) else Sale(self._desk, subject)
