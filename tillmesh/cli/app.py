"""All commands."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from tillmesh.cli.commands.audit import audit
from tillmesh.cli.commands.balances import balances
from tillmesh.cli.commands.baskets import baskets
from tillmesh.cli.commands.cancel import cancel
from tillmesh.cli.commands.catalogue import catalogue
from tillmesh.cli.commands.cert import cert
from tillmesh.cli.commands.checkouts import checkouts
from tillmesh.cli.commands.confirm import confirm
from tillmesh.cli.commands.db import db
from tillmesh.cli.commands.demo import demo
from tillmesh.cli.commands.deposit import deposit
from tillmesh.cli.commands.enter_pin import enter_pin
from tillmesh.cli.commands.explain import explain
from tillmesh.cli.commands.identity import identity
from tillmesh.cli.commands.line import line
from tillmesh.cli.commands.orders import orders
from tillmesh.cli.commands.park import park
from tillmesh.cli.commands.pay import pay
from tillmesh.cli.commands.payments import payments
from tillmesh.cli.commands.phone import phone
from tillmesh.cli.commands.present import present
from tillmesh.cli.commands.recall import recall
from tillmesh.cli.commands.receipt import receipt
from tillmesh.cli.commands.reconcile import reconcile
from tillmesh.cli.commands.refund import refund
from tillmesh.cli.commands.replay import replay
from tillmesh.cli.commands.return_goods import return_goods
from tillmesh.cli.commands.sandbox import sandbox
from tillmesh.cli.commands.scan import scan
from tillmesh.cli.commands.scan_rules import scan_rules
from tillmesh.cli.commands.sell import sell
from tillmesh.cli.commands.statement import statement
from tillmesh.cli.commands.sticker import sticker
from tillmesh.cli.commands.store import store
from tillmesh.cli.commands.up import up
from tillmesh.cli.commands.void import void
from tillmesh.cli.commands.void_sale import void_sale
from tillmesh.cli.commands.wallet import wallet
from tillmesh.cli.commands.watch import watch
from tillmesh.cli.telling import require_text, told_plainly
from tillmesh.client.connections import tls_dir
from tillmesh.runtime.foreign_text import visible


class Commands(TyperGroup):
    """All commands; what is wrong with a command line is told in visible characters, whatever was typed."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Reads the options before the command."""
        with _visible_errors():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Reads the rest of the command line, and runs the command."""
        with _visible_errors():
            return super().invoke(ctx)


@contextmanager
def _visible_errors() -> Iterator[None]:
    try:
        yield
    except TyperException as error:
        error.message = visible(error.message)
        raise


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_RUN, _LOOK, _ACT = "Run", "Look around a running mesh", "Try a running mesh by hand"

_COMMANDS: list[tuple[Callable[..., None], str, list[str]]] = [
    (demo, _RUN, ["tillmesh demo"]),
    (
        up,
        _RUN,
        [
            "tillmesh up",
            "tillmesh up --sandbox",
            "tillmesh up --data-dir /var/lib/tillmesh --store-id store-7 --currency EUR",
        ],
    ),
    (
        replay,
        _RUN,
        [
            "tillmesh replay november.csv.gz",
            "tillmesh replay november.csv --currency EUR --concurrency 16",
            "tillmesh replay november.csv --terminal 127.0.0.1:7003",
        ],
    ),
    (
        baskets,
        _RUN,
        ["tillmesh baskets groceries.csv", "tillmesh baskets groceries.csv --by scan --limit 500 --concurrency 4"],
    ),
    (
        reconcile,
        _RUN,
        [
            "tillmesh reconcile",
            "tillmesh reconcile --terminal till-1.example:7003 --terminal till-2.example:7003",
            "tillmesh reconcile --settled-s 3600 --json > differences.jsonl",
        ],
    ),
    (void, _RUN, ["tillmesh void 0d9c3a52-6f1e-4b7c-9a64-2f1f6c1f0a11"]),
    (orders, _LOOK, ["tillmesh orders --payer ada --state open --state locked"]),
    (checkouts, _LOOK, ["tillmesh checkouts --parked", "tillmesh checkouts --lane lane-4 --state submitted"]),
    (
        payments,
        _LOOK,
        ["tillmesh payments --payer ada", "tillmesh payments --state authorized --unchanged-s 600"],
    ),
    (statement, _LOOK, ["tillmesh statement ada", "tillmesh statement sales/store-1/GBP"]),
    (balances, _LOOK, ["tillmesh balances"]),
    (explain, _LOOK, ["tillmesh explain 7K3M-9Q2X-VB4T"]),
    (
        identity,
        _ACT,
        [
            "tillmesh identity ada --name 'Ada L.' --confirm-above 10.00",
            "tillmesh identity bob --confirm-above 10.00 --per-day-max 5",
        ],
    ),
    (deposit, _ACT, ["tillmesh deposit ada 50.00"]),
    (
        sell,
        _ACT,
        [
            "tillmesh sell ada MUG=2@4.50 CARD@1.20",
            "tillmesh sell - MUG",
            "tillmesh sell - CHEESE=432g@12.90",
            "tillmesh phone code | tillmesh sell - MUG=2 --amount 13.00 --pay-code",
        ],
    ),
    (
        scan,
        _ACT,
        [
            "tillmesh scan 7K3M-9Q2X-VB4T 4006381333931 --quantity 2",
            "tillmesh scan 7K3M-9Q2X-VB4T ]C101040063813339313103001250 --yes-age",
            "tillmesh scan 7K3M-9Q2X-VB4T - < codes.txt",
        ],
    ),
    (
        pay,
        _ACT,
        ["tillmesh pay 7K3M-9Q2X-VB4T", "tillmesh phone code | tillmesh pay 7K3M-9Q2X-VB4T --pay-code"],
    ),
    (
        present,
        _ACT,
        ["tillmesh present 7K3M-9Q2X-VB4T --qr", "tillmesh present 7K3M-9Q2X-VB4T | tillmesh phone claim - --pay"],
    ),
    (sticker, _ACT, ["tillmesh sticker lane-4 --renew --qr", "tillmesh sticker lane-4"]),
    (park, _ACT, ["tillmesh park 7K3M-9Q2X-VB4T --label 'table 4' --owner Ada"]),
    (recall, _ACT, ["tillmesh recall 7K3M-9Q2X-VB4T"]),
    (
        receipt,
        _ACT,
        [
            "tillmesh receipt 7K3M-9Q2X-VB4T --columns 32 --language de",
            "tillmesh receipt 7K3M-9Q2X-VB4T --reprint --format escpos --code-page cp858 --out /dev/usb/lp0",
            "tillmesh receipt 7K3M-9Q2X-VB4T --kind bill --format html --out bill.html",
            "tillmesh receipt --refund 0d9c3a52-6f1e-4b7c-9a64-2f1f6c1f0a11 --format json",
        ],
    ),
    (void_sale, _ACT, ["tillmesh void-sale 7K3M-9Q2X-VB4T"]),
    (
        refund,
        _ACT,
        [
            "tillmesh refund 7K3M-9Q2X-VB4T",
            "tillmesh refund 7K3M-9Q2X-VB4T --amount 1.50",
            "tillmesh refund 7K3M-9Q2X-VB4T --line 1=2 --line 3=1",
        ],
    ),
    (
        return_goods,
        _ACT,
        ["tillmesh return-goods ada MUG@4.50", "tillmesh phone code | tillmesh return-goods - MUG@4.50"],
    ),
    (enter_pin, _ACT, ["tillmesh enter-pin 7K3M-9Q2X-VB4T"]),
    (confirm, _ACT, ["tillmesh confirm 0d9c3a52-6f1e-4b7c-9a64-2f1f6c1f0a11"]),
    (cancel, _ACT, ["tillmesh cancel 0d9c3a52-6f1e-4b7c-9a64-2f1f6c1f0a11"]),
]

for command, panel, examples in _COMMANDS:
    epilog = "\n\n".join(("**Examples**", *examples))
    app.command(rich_help_panel=panel, epilog=epilog)(command)
app.add_typer(watch, name="watch", rich_help_panel=_LOOK)
app.add_typer(line, name="line", rich_help_panel=_ACT)
app.add_typer(wallet, name="wallet", rich_help_panel=_ACT)
app.add_typer(store, name="store", rich_help_panel=_ACT)
app.add_typer(phone, name="phone", rich_help_panel=_ACT)
app.add_typer(catalogue, name="catalogue", rich_help_panel=_ACT)
app.add_typer(scan_rules, name="scan-rules", rich_help_panel=_ACT)
app.add_typer(sandbox, name="sandbox", rich_help_panel=_RUN)
app.add_typer(cert, name="cert", rich_help_panel=_RUN)
app.add_typer(audit, name="audit", rich_help_panel=_RUN)
app.add_typer(db, name="db", rich_help_panel=_RUN)


@app.callback()
def choose_certificates(
    certificates: Annotated[
        Path,
        typer.Option("--tls-dir", envvar="TILLMESH_TLS_DIR", help="Folder of the running mesh's CA: DATA_DIR/tls."),
    ] = Path(".tillmesh/tls"),
    insecure: Annotated[bool, typer.Option("--insecure", help="Call servers that run without certificates.")] = False,
) -> None:
    """Pay in a physical store with the account you already hold online."""
    tls_dir.set(None if insecure else certificates)


def run() -> None:
    """Runs one command."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    with told_plainly(_name):
        require_text(sys.argv[1:])
        app(prog_name="tillmesh")


def _interrupt(_number: int, _frame: object) -> None:
    """Being told to end is Ctrl-C: what was started is stopped in order."""
    signal.raise_signal(signal.SIGINT)


def _name() -> str:
    """The command that runs, "tillmesh up"."""
    known = {command.__name__.replace("_", "-") for command, _, _ in _COMMANDS}
    known |= {str(group.name) for group in app.registered_groups}
    return " ".join(["tillmesh", *[argument for argument in sys.argv[1:] if argument in known][:1]])
