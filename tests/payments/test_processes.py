"""kill -9 at every step of a payment: it goes on by itself, nothing is charged twice, the books balance."""

import json
import os
import secrets
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from tests.links import Link
from tests.payments.side import INSTANT, STORE, asked, gbp, line, named, state_and_reason
from tests.processes import DEADLINE_S, Server, patient, running, start_server, wait_until
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1.account_service_pb2_grpc import AccountServiceStub
from tillmesh.api.payment.v1.identity_service_pb2_grpc import IdentityServiceStub
from tillmesh.api.payment.v1.payment_service_pb2_grpc import PaymentServiceStub
from tillmesh.runtime.ids import new_request_id

FUNDS, PRICE = 100_000, 1000
FLAGS = ("--payer-window-s", "500", "--instant-lease-s", "500", "--lock-patience-s", "500")
"""Long enough that on a slow machine nothing runs out before the test has looked."""


class Mesh:
    """A payment server that is killed and started again, a cable, and an order service at its other end."""

    def __init__(self, folder: Path, orders: Server) -> None:
        self._folder = folder
        self.link = Link(orders.address)
        self.orders_server = orders
        self.orders = OrderServiceStub(patient(grpc.insecure_channel(orders.address)))
        self.start()

    def start(self) -> None:
        self.server = start_server("thirdparty_server", self._folder, "--orders", self.link.address, *FLAGS)
        self._channel = patient(grpc.insecure_channel(self.server.address))
        self.payments = PaymentServiceStub(self._channel)
        self.identities = IdentityServiceStub(self._channel)
        self.accounts = AccountServiceStub(self._channel)

    def kill(self) -> None:
        """kill -9."""
        self.server.kill()
        self._channel.close()

    def restart(self) -> None:
        self.kill()
        self.link.heal()
        self.start()

    def shopper(self, threshold: int = INSTANT) -> str:
        identity = self.identities.CreateIdentity(
            identities_api.CreateIdentityRequest(
                identity_id=f"shopper-{new_request_id()}",
                currency_code="GBP",
                confirmation_threshold=gbp(threshold),
            )
        )
        self.accounts.CreateDeposit(
            accounts_api.CreateDepositRequest(
                deposit_id=new_request_id(), identity_id=identity.identity_id, amount=gbp(FUNDS)
            )
        )
        return identity.identity_id

    def order(self, payer_id: str) -> order_pb2.Order:
        return self.orders.CreateOrder(
            orders_api.CreateOrderRequest(
                request_id=new_request_id(),
                store_id=STORE,
                payer=named(payer_id),
                currency_code="GBP",
                lines=[line(PRICE)],
            )
        )

    def warm_up(self) -> None:
        """Pays an order, so that the servers are connected before a way is cut."""
        assert self.payments.CreatePayment(asked(self.order(self.shopper()))).reason == ""

    def waiting(self) -> tuple[order_pb2.Order, payment_pb2.Payment]:
        """A payment that waits for its payer."""
        order = self.order(self.shopper(threshold=0))
        payment = self.payments.CreatePayment(asked(order))
        assert state_and_reason(payment) == ("AWAITING_PAYER", "")
        return order, payment

    def wallet(self, payer_id: str) -> tuple[int, int]:
        account = self.accounts.GetAccount(accounts_api.GetAccountRequest(account_id=f"wallet/{payer_id}/GBP"))
        return account.posted.minor_units, account.held.minor_units

    def until_payment(self, payment_id: str, state: str) -> None:
        wait_until(lambda: state_and_reason(self._payment(payment_id))[0] == state)

    def until_order(self, order: order_pb2.Order, state: "order_pb2.Order.State.ValueType") -> None:
        wait_until(lambda: self.order_now(order).state == state)

    def order_now(self, order: order_pb2.Order) -> order_pb2.Order:
        return self.orders.GetOrder(orders_api.GetOrderRequest(order_id=order.order_id))

    def check(self, order: order_pb2.Order, payment_id: str, *, captured: bool) -> None:
        """Payment, order, wallet and books tell the same story, and it happened once."""
        self.until_payment(payment_id, "CAPTURED" if captured else "VOIDED")
        now = self.order_now(order)
        assert now.epoch == 1
        assert (now.state, now.payment_id) == (
            (order_pb2.Order.STATE_PAID, payment_id) if captured else (order_pb2.Order.STATE_OPEN, "")
        )
        assert self.wallet(order.payer.identity_id) == (FUNDS - PRICE * captured, 0)
        self.check_books()

    def check_books(self) -> None:
        (balance,) = self.accounts.ListTrialBalances(accounts_api.ListTrialBalancesRequest()).trial_balances
        assert (balance.sum, balance.held) == (gbp(0), gbp(0))
        assert not balance.differing_account_ids

    def _payment(self, payment_id: str) -> payment_pb2.Payment:
        try:
            return self.payments.GetPayment(payments_api.GetPaymentRequest(payment_id=payment_id))
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return payment_pb2.Payment()  # the call that makes it is still on its way


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("processes")
    with running("order_service", folder) as orders:
        mesh = Mesh(folder, orders)
        with mesh.link:
            yield mesh
        mesh.kill()


@pytest.fixture
def mesh(processes: Mesh) -> Mesh:
    """The same processes for each test, with the cable whole."""
    processes.link.heal()
    return processes


def yes(payment: payment_pb2.Payment) -> payments_api.ConfirmPaymentRequest:
    return payments_api.ConfirmPaymentRequest(
        request_id=new_request_id(), payment_id=payment.payment_id, store_id=STORE, amount=payment.amount
    )


def test_killed_before_the_order_heard_of_it(mesh: Mesh) -> None:
    mesh.warm_up()
    order = mesh.order(mesh.shopper())
    mesh.link.lose_requests()
    call = mesh.payments.CreatePayment.future(request := asked(order))
    mesh.until_payment(request.payment_id, "PENDING")
    mesh.restart()
    assert call.exception(DEADLINE_S) is not None
    mesh.check(order, request.payment_id, captured=True)


def test_killed_after_the_order_was_locked_and_before_the_answer_came(mesh: Mesh) -> None:
    mesh.warm_up()
    order = mesh.order(mesh.shopper())
    mesh.link.lose_answers()
    call = mesh.payments.CreatePayment.future(request := asked(order))
    mesh.until_order(order, order_pb2.Order.STATE_LOCKED)
    mesh.restart()
    assert call.exception(DEADLINE_S) is not None
    mesh.check(order, request.payment_id, captured=True)


def test_killed_while_the_lock_request_lies_at_an_order_service_that_stands_still(mesh: Mesh) -> None:
    """The request is answered when its sender is dead, and the sender's successor asks for the same lock."""
    mesh.warm_up()
    order = mesh.order(mesh.shopper())
    os.kill(mesh.orders_server.process.pid, signal.SIGSTOP)
    try:
        call = mesh.payments.CreatePayment.future(request := asked(order))
        mesh.until_payment(request.payment_id, "PENDING")
        mesh.kill()
    finally:
        os.kill(mesh.orders_server.process.pid, signal.SIGCONT)
    mesh.start()
    assert call.exception(DEADLINE_S) is not None
    mesh.check(order, request.payment_id, captured=True)


def test_killed_while_the_payer_is_asked(mesh: Mesh) -> None:
    order, payment = mesh.waiting()
    mesh.restart()
    assert state_and_reason(mesh.payments.ConfirmPayment(yes(payment))) == ("CAPTURED", "")
    mesh.check(order, payment.payment_id, captured=True)


def test_killed_with_the_money_held_before_the_order_was_asked(mesh: Mesh) -> None:
    order, payment = mesh.waiting()
    mesh.link.lose_requests()
    call = mesh.payments.ConfirmPayment.future(yes(payment))
    mesh.until_payment(payment.payment_id, "AUTHORIZED")
    mesh.kill()
    mesh.start()
    assert call.exception(DEADLINE_S) is not None
    assert mesh.wallet(order.payer.identity_id) == (FUNDS, PRICE)
    assert mesh.order_now(order).state == order_pb2.Order.STATE_LOCKED
    mesh.link.heal()
    mesh.check(order, payment.payment_id, captured=True)


def test_killed_after_the_order_was_paid_and_before_the_answer_came(mesh: Mesh) -> None:
    order, payment = mesh.waiting()
    mesh.link.lose_answers()
    call = mesh.payments.ConfirmPayment.future(yes(payment))
    mesh.until_order(order, order_pb2.Order.STATE_PAID)
    assert mesh.wallet(order.payer.identity_id) == (FUNDS, PRICE)
    mesh.restart()
    assert call.exception(DEADLINE_S) is not None
    mesh.check(order, payment.payment_id, captured=True)


def test_killed_while_it_gives_up(mesh: Mesh) -> None:
    order, payment = mesh.waiting()
    mesh.link.lose_requests()
    cancel = payments_api.CancelPaymentRequest(request_id=new_request_id(), payment_id=payment.payment_id)
    call = mesh.payments.CancelPayment.future(cancel)
    mesh.until_payment(payment.payment_id, "VOIDING")
    mesh.restart()
    assert call.exception(DEADLINE_S) is not None
    mesh.check(order, payment.payment_id, captured=False)
    assert mesh.payments.CancelPayment(cancel).reason == "PAYMENT_CANCELED"


def test_killed_after_the_answer(mesh: Mesh) -> None:
    order = mesh.order(mesh.shopper())
    first = mesh.payments.CreatePayment(request := asked(order))
    mesh.restart()
    assert mesh.payments.CreatePayment(request) == first
    mesh.check(order, request.payment_id, captured=True)


def test_killed_amidst_many_payments_and_each_ends_as_its_order_says(mesh: Mesh) -> None:
    orders = [mesh.order(mesh.shopper()) for _ in range(30)]
    requests = [asked(order) for order in orders]
    calls = [mesh.payments.CreatePayment.future(request) for request in requests]
    calls[0].result()
    mesh.kill()
    mesh.start()
    with ThreadPoolExecutor(10) as tills:  # each till asks again with the id that it had stored
        list(tills.map(mesh.payments.CreatePayment, requests))
    for order, request in zip(orders, requests, strict=True):
        mesh.check(order, request.payment_id, captured=True)


@pytest.mark.parametrize("same_id", [True, False], ids=["double-click", "many-devices"])
def test_many_calls_at_once_over_the_wire_charge_once(mesh: Mesh, same_id: bool) -> None:
    order = mesh.order(mesh.shopper())
    request_id = new_request_id()
    requests = [asked(order, request_id if same_id else "") for _ in range(20)]
    with ThreadPoolExecutor(20) as tills:
        payments = list(tills.map(mesh.payments.CreatePayment, requests))
    captured = {payment.payment_id for payment in payments if payment.state == payment_pb2.Payment.STATE_CAPTURED}
    assert len(captured) == 1
    assert same_id == all(payment.payment_id in captured for payment in payments)
    mesh.check(order, captured.pop(), captured=True)


def traces(log: Path, since: int = 0) -> list[str]:
    """Trace ids in the log of a server, from a byte on."""
    lines = log.read_bytes()[since:].rpartition(b"\n")[0].decode().splitlines()
    return [json.loads(text).get("trace_id", "") for text in lines if text.startswith("{")]


def test_one_trace_id_follows_a_payment_through_both_servers_also_after_a_restart(mesh: Mesh) -> None:
    mesh.warm_up()
    order = mesh.order(mesh.shopper())
    trace_id = secrets.token_hex(16)
    metadata = (("traceparent", f"00-{trace_id}-{secrets.token_hex(8)}-01"),)
    mesh.link.lose_requests()
    call = mesh.payments.CreatePayment.future(request := asked(order), metadata=metadata)
    mesh.until_payment(request.payment_id, "PENDING")
    mesh.kill()
    logged = mesh.server.log.stat().st_size
    mesh.link.heal()
    mesh.start()
    assert call.exception(DEADLINE_S) is not None
    mesh.check(order, request.payment_id, captured=True)
    wait_until(lambda: trace_id in traces(mesh.server.log, since=logged))
    wait_until(lambda: trace_id in traces(mesh.orders_server.log))
    events = mesh.payments.ListPaymentEvents(
        payments_api.ListPaymentEventsRequest(payment_id=request.payment_id)
    ).events
    assert [(payment_pb2.PaymentEvent.Type.Name(event.type), event.trace_id) for event in events] == [
        ("TYPE_CREATED", trace_id),
        ("TYPE_FUNDS_HELD", trace_id),
        ("TYPE_ORDER_PAID", trace_id),
    ]
    history = mesh.orders.ListOrderEvents(orders_api.ListOrderEventsRequest(order_id=order.order_id)).events
    assert [(order_pb2.OrderEvent.Type.Name(event.type), event.trace_id) for event in history[1:]] == [
        ("TYPE_LOCKED", trace_id),
        ("TYPE_PAID", trace_id),
    ]


def test_every_call_is_logged_under_its_trace(mesh: Mesh) -> None:
    trace_id = secrets.token_hex(16)
    metadata = (("traceparent", f"00-{trace_id}-{secrets.token_hex(8)}-01"),)
    mesh.payments.CreatePayment(asked(mesh.order(mesh.shopper())), metadata=metadata)
    wait_until(lambda: trace_id in traces(mesh.server.log))
    wait_until(lambda: trace_id in traces(mesh.orders_server.log))
