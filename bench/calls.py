"""Single calls: requests that are made ready before the clock runs, and what a good answer is."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration
from grpc import aio

from bench import floor
from bench.load import TIMEOUT_S, Sample, closed_loop, connect, timed
from bench.machine import Processes
from bench.servers import STORE, Target
from bench.shoppers import AMOUNT, CURRENCY, LINES, Phone, payer
from tillmesh.api.order.v1 import order_payment_pb2, order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import phone_service_pb2 as phone_api
from tillmesh.client.failures import Failure
from tillmesh.runtime.ids import new_request_id

LEASE = Duration(seconds=600)  # no lock ends while it waits for its turn


@dataclass(frozen=True)
class Method:
    """A method, and whether an answer of it is the one that was hoped for."""

    path: str
    is_good: Callable[[bytes], bool]


def _is_empty(answer: bytes) -> bool:
    return not answer


def _is_open(answer: bytes) -> bool:
    return order_pb2.Order.FromString(answer).state == order_pb2.Order.STATE_OPEN


def _is_granted(answer: bytes) -> bool:
    return order_payment_pb2.OrderPayment.FromString(answer).state == order_payment_pb2.OrderPayment.STATE_GRANTED


def _is_paid(answer: bytes) -> bool:
    return order_payment_pb2.OrderPayment.FromString(answer).state == order_payment_pb2.OrderPayment.STATE_PAID


def _is_captured(answer: bytes) -> bool:
    return payment_pb2.Payment.FromString(answer).state == payment_pb2.Payment.STATE_CAPTURED


EMPTY = Method(floor.METHOD, _is_empty)
CREATE_ORDER = Method("/tillmesh.api.order.v1.OrderService/CreateOrder", _is_open)
LOCK_ORDER = Method("/tillmesh.api.order.v1.OrderService/LockOrder", _is_granted)
COMPLETE = Method("/tillmesh.api.order.v1.OrderService/CompleteOrderPayment", _is_paid)
CREATE_PAYMENT = Method("/tillmesh.api.payment.v1.PaymentService/CreatePayment", _is_captured)


def empty(count: int) -> list[bytes]:
    """Requests to the floor."""
    return [phone_api.UnbindPhoneRequest().SerializeToString()] * count


def create_orders(identities: Iterable[str]) -> list[bytes]:
    """Requests for orders of three lines, one for each of these identities."""
    return [
        orders_api.CreateOrderRequest(
            request_id=new_request_id(),
            store_id=STORE,
            payer=payer(identity_id),
            currency_code=CURRENCY,
            lines=LINES,
        ).SerializeToString()
        for identity_id in identities
    ]


def lock_orders(orders: Iterable[bytes]) -> list[bytes]:
    """Requests to lock these orders, as CreateOrder answered them."""
    return [
        orders_api.LockOrderRequest(
            payment_id=new_request_id(),
            order_id=order.order_id,
            payer=order.payer,
            order_version=order.version,
            amount=order.amount,
            lease=LEASE,
            store_id=order.store_id,
        ).SerializeToString()
        for order in map(order_pb2.Order.FromString, orders)
    ]


def complete_payments(locks: Iterable[bytes]) -> list[bytes]:
    """Requests that make locked orders paid, as LockOrder answered."""
    return [
        orders_api.CompleteOrderPaymentRequest(
            payment_id=lock.payment_id, order_id=lock.order_id, epoch=lock.epoch
        ).SerializeToString()
        for lock in map(order_payment_pb2.OrderPayment.FromString, locks)
    ]


def create_payments(orders: Iterable[bytes], phones: Iterable[Phone]) -> list[bytes]:
    """Requests that pay these orders by pay codes, which count for half a minute from now at least."""
    return [_payment(order, phone.code()) for order, phone in zip(orders, phones, strict=True)]


def ask_payments(orders: Iterable[bytes]) -> list[bytes]:
    """Requests of the platform that pay these orders: its wallets' owners have told it to, so it needs no code."""
    return [_payment(order) for order in orders]


def _payment(raised: bytes, pay_code: str = "") -> bytes:
    order = order_pb2.Order.FromString(raised)
    return payments_api.CreatePaymentRequest(
        payment_id=new_request_id(),
        order_id=order.order_id,
        order_version=order.version,
        payer=order.payer,
        amount=AMOUNT,
        pay_code=pay_code,
    ).SerializeToString()


async def send(target: Target, method: Method, requests: Sequence[bytes], at_a_time: int) -> list[bytes]:
    """Sends the requests and returns the answers; for what has to be there before something is timed."""
    answers, _ = await _answers(target, method, requests, 0, at_a_time, {})
    return answers


async def make_calls(
    target: Target, method: Method, requests: Sequence[bytes], at_a_time: int, processes: Processes
) -> Sample:
    """Times the requests; a tenth of them goes first, to warm up, and does not count."""
    _, sample = await _answers(target, method, requests, len(requests) // 10, at_a_time, processes)
    return sample


async def _answers(
    target: Target, method: Method, requests: Sequence[bytes], warm: int, at_a_time: int, processes: Processes
) -> tuple[list[bytes], Sample]:
    channel = await connect(target)
    # Bytes as they are: the generator costs as little as it can.
    call: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method.path)
    answers = [b""] * len(requests)

    async def answer(number: int) -> None:
        answers[number] = await call(requests[number], timeout=TIMEOUT_S)

    try:
        await closed_loop(answer, range(warm), at_a_time)
        sample = await timed(processes, lambda: closed_loop(answer, range(warm, len(requests)), at_a_time))
    finally:
        await channel.close()
    if bad := sum(not method.is_good(one) for one in answers):
        raise Failure(f"{bad} of {len(answers)} calls of {method.path} were not answered as they should be.")
    return answers, sample
