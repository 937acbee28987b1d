"""Compares 32 tills of one store with one till of each of 32 stores.

They ask the order service and the payment server directly, each with a certificate and a connection of its own,
as 32 store terminals do: as many terminal processes would measure how two cores are shared.
"""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from bench.load import TIMEOUT_S, Sample, closed_loop, connect, timed
from bench.machine import Processes
from bench.report import Cell, Findings, Ratio, Section, shown
from bench.run import Run
from bench.servers import ORDERS, PAYMENTS, SERVERS, Stack, Target
from bench.shoppers import AMOUNT, CURRENCY, LINES, Phone, payer
from bench.summary import cells, columns
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1.payment_service_pb2_grpc import PaymentServiceStub
from tillmesh.auth.callers import Role
from tillmesh.client.failures import Failure
from tillmesh.runtime.ids import new_request_id

PART = "hot"
TILLS = 32
STORES = {"of one store": 1, "of 32 stores": TILLS}


@dataclass(frozen=True)
class Till:
    """A store terminal, as the two central servers know it."""

    store_id: str
    orders: Target
    payments: Target


def measure(run: Run) -> Findings:
    """One store, many stores; every other repeat the other way round."""
    run.expect("hot store", run.scale.repeat * len(STORES))
    found: dict[str, list[Sample]] = {name: [] for name in STORES}
    with run.warm_stack(PART) as stack:
        callers = {name: tills(stack, stores) for name, stores in STORES.items()}
        for repeat in range(run.scale.repeat):
            for name in STORES if repeat % 2 == 0 else reversed(STORES):
                phones, processes = run.phones(stack, run.scale.checkouts), run.processes(stack)
                sample = run.measure(f"{PART}: {name}", repeat, pay_orders, callers[name], phones, processes)
                found[name].append(sample)
    return Findings([_section(found)])


def tills(stack: Stack, stores: int) -> list[Till]:
    """Spread over the stores and over the replicas of the servers."""
    spread = []
    for number in range(TILLS):
        store_id = f"store-{number % stores + 1}"
        owner = (Role.TERMINAL, store_id, f"till-{number + 1}")
        orders, payments = stack.targets(ORDERS, *owner), stack.targets(PAYMENTS, *owner)
        spread.append(Till(store_id, orders[number % len(orders)], payments[number % len(payments)]))
    return spread


async def pay_orders(tills: Sequence[Till], phones: Sequence[Phone], processes: Processes) -> Sample:
    """An order for each phone, created and paid, one at a time at each till; a part before, to warm up."""
    async with AsyncExitStack() as stack:
        stubs = []
        for till in tills:
            orders, payments = await connect(till.orders), await connect(till.payments)
            stack.push_async_callback(orders.close)
            stack.push_async_callback(payments.close)
            stubs.append((till.store_id, OrderServiceStub(orders), PaymentServiceStub(payments)))
        free = list(stubs)

        async def pay(number: int) -> None:
            store_id, orders, payments = till = free.pop()
            phone = phones[number]
            create = orders_api.CreateOrderRequest(
                request_id=new_request_id(),
                store_id=store_id,
                payer=payer(phone.identity_id),
                currency_code=CURRENCY,
                lines=LINES,
            )
            order = await orders.CreateOrder(create, timeout=TIMEOUT_S)
            request = payments_api.CreatePaymentRequest(
                payment_id=new_request_id(),
                order_id=order.order_id,
                order_version=order.version,
                payer=order.payer,
                amount=AMOUNT,
                pay_code=phone.code(),
            )
            payment = await payments.CreatePayment(request, timeout=TIMEOUT_S)
            if payment.state != payment_pb2.Payment.STATE_CAPTURED:
                raise Failure(f"Payment {payment.payment_id} was not captured: {payment.reason}")
            free.append(till)

        warm = min(len(tills), len(phones) // 2)
        await closed_loop(pay, range(warm), len(tills))
        return await timed(processes, lambda: closed_loop(pay, range(warm, len(phones)), len(tills)))


def _section(found: Mapping[str, Sequence[Sample]]) -> Section:
    one, many = found.values()
    pairs = list(zip(one, many, strict=True))
    rates = Ratio.of([hot.per_s / spread.per_s for hot, spread in pairs])
    costs = Ratio.of([hot.cpu_ms(*SERVERS) / spread.cpu_ms(*SERVERS) for hot, spread in pairs])
    rows: list[list[Cell]] = [[f"{TILLS} tills {name}", *cells(samples)] for name, samples in found.items()]
    return Section(
        "Orders that are created and paid without a terminal, each till one at a time",
        ["", *columns(one[0])],
        rows,
        (
            f"One store as a multiple of {TILLS} stores: orders a second {shown(rates.median)} ({rates.spread()}), CPU "
            f"{shown(costs.median)} ({costs.spread()}). Near 1, the tills of a store do not get into each other's way.",
        ),
    )
