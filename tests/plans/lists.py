"""Reads every list with every set of its filters."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import chain, combinations
from typing import Any

from tests.plans.callers import ADA, AT, DEVICE, PLATFORM, SHOP, STORE
from tillmesh.auth.callers import Caller

Ask = Callable[..., Awaitable[Any]]
"""Calls a method as somebody."""


async def read_lists(ask: Ask) -> None:
    """Every list with every set of its filters: the first page and the page after it."""
    payer = {"identity_id": ADA}
    checkouts = (await ask(DEVICE, "CheckoutService.ListCheckouts", payer=payer)).checkouts
    checkout_id, payment_id = next(
        (each.checkout_id, each.paid_by_payment_id) for each in checkouts if each.paid_by_payment_id
    )
    of_store = {"store_id": STORE, "payer": payer}
    pending = ["STATE_OPEN", "STATE_LOCKED"]
    for method, filters in (
        ("OrderService.ListOrders", of_store | {"states": pending}),
        ("OrderService.ListOrders", of_store | {"states": ["STATE_PAID"]}),
        ("OrderService.ListOrders", of_store | {"states": ["STATE_LOCKED"]}),
        ("PaymentService.ListPayments", of_store | {"order_id": checkout_id, "states": ["STATE_CAPTURED"]}),
        ("PaymentService.ListPayments", {"identity_id": ADA, "payer": payer, "states": ["STATE_AWAITING_PAYER"]}),
        ("RefundService.ListRefunds", of_store | {"payment_id": payment_id}),
        ("CheckoutService.ListCheckouts", AT | {"payer": payer, "states": ["STATE_PAID"]}),
        ("CheckoutService.ListCheckouts", AT | {"payer": payer, "states": ["STATE_BASKET", "STATE_PAYING"]}),
        ("CheckoutService.ListCheckouts", AT | {"payer": payer, "parked": True}),
        ("TillRefundService.ListTillRefunds", {"payer": payer, "checkout_id": checkout_id}),
        ("AccountService.ListAccounts", {}),
        ("AccountService.ListTrialBalances", {}),
        ("IdentityService.ListIdentities", {}),
        ("StoreService.ListStores", {}),
        ("CatalogueService.ListCatalogueItems", {}),
    ):
        for chosen in _subsets(filters):
            await _pages(ask, PLATFORM, method, {name: filters[name] for name in chosen})
    await _pages(ask, SHOP, "RefundService.ListRefunds", of_store)
    for method, of_one in (
        ("PhoneService.ListPhones", payer),
        ("WalletService.ListWallets", payer),
        ("AccountService.ListAccountEntries", {"account_id": f"wallet/{ADA}/GBP"}),
        ("AccountService.ListAccountEntries", {"account_id": f"sales/{STORE}/GBP"}),
        ("AccountService.GetAccount", {"account_id": f"wallet/{ADA}/GBP"}),
        ("AccountService.GetAccount", {"account_id": f"sales/{STORE}/GBP"}),
        ("OrderService.ListOrderEvents", {"order_id": checkout_id}),
        ("PaymentService.ListPaymentEvents", {"payment_id": payment_id}),
        ("CheckoutService.ListCheckoutEvents", {"checkout_id": checkout_id}),
    ):
        await _pages(ask, PLATFORM, method, of_one)


async def _pages(ask: Ask, who: Caller, method: str, filters: Mapping[str, Any]) -> None:
    """The first page, and the one after it if there is one."""
    if not method.endswith(".GetAccount"):
        filters = {**filters, "page_size": 1}
    first = await ask(who, method, **filters)
    assert not isinstance(first, str), (method, filters, first)
    if token := getattr(first, "next_page_token", ""):
        await ask(who, method, **filters, page_token=token)


def _subsets(names: Sequence[str] | Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    return chain.from_iterable(combinations(names, size) for size in range(len(names) + 1))
