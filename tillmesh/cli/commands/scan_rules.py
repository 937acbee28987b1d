"""`tillmesh scan-rules`: how the terminal reads the codes that the store prints itself."""

from pathlib import Path
from typing import Annotated

import typer

from tillmesh.api.terminal.v1 import scan_service_pb2 as api
from tillmesh.api.terminal.v1.scan_rules_pb2 import InStoreCodeRule, ScanRules
from tillmesh.cli.csv_rows import refuse_rows
from tillmesh.cli.display import date_time, say, show_json, show_table
from tillmesh.cli.options import DEFAULT, Json, Terminal, run_async
from tillmesh.cli.scan_rules_file import ScanRulesFile
from tillmesh.client.connections import Addresses, Client
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id

scan_rules = typer.Typer(
    help="How the terminal reads codes that the store prints itself.", no_args_is_help=True, rich_markup_mode="markdown"
)


@scan_rules.command(epilog="**Examples**\n\ntillmesh scan-rules show")
def show(terminal: Terminal = DEFAULT.terminal, json: Json = False) -> None:
    """Show the rules."""

    async def look() -> ScanRules:
        async with Client(Addresses(terminal=terminal)) as client:
            return await client.call(client.scans.GetScanRules, api.GetScanRulesRequest())

    rules = run_async(look())
    if show_json([rules]):
        return
    rows = [
        (
            rule.prefix,
            f"{rule.code_length}",
            InStoreCodeRule.Value.Name(rule.value).removeprefix("VALUE_").lower(),
            _span(rule.article_start, rule.article_digits),
            _span(rule.value_start, rule.value_digits)
            + (f" x 10^{rule.value_exponent}" if rule.value_exponent else ""),
            f"{rule.price_check_position or ''}",
        )
        for rule in rules.rules
    ]
    columns = ["prefix", "digits", "says", "article at", "value at", "price check at"]
    show_table("Rules for in-store codes", columns, rows, right=["digits"])
    adds = "adds to its line" if rules.add_to_line else "is a line of its own"
    since = (
        f"Version {rules.version}, set {date_time(rules.update_time)}" if rules.version else "No rules were ever set"
    )
    say(f"{since}. An article that the checkout has {adds}.")


@scan_rules.command(
    "import",
    epilog="**Columns**\n\nprefix,value (whole_code, quantity, amount), and where wanted code_length (13, 8), "
    "article_start, article_digits, value_start, value_digits, value_exponent, price_check_position"
    "\n\n**Examples**\n\ntillmesh scan-rules import rules.csv\n\ntillmesh scan-rules import rules.csv --add-to-line",
)
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV with a header.")],
    add_to_line: Annotated[
        bool | None,
        typer.Option(
            "--add-to-line/--new-line",
            help="What becomes of an article that the checkout has. [default: as it is set]",
            show_default=False,
        ),
    ] = None,
    terminal: Terminal = DEFAULT.terminal,
) -> None:
    """Replace all rules by those of a file, or by none of them if one is wrong."""
    source = ScanRulesFile(file)
    refuse_rows("scan-rules", file, source.wrong)

    async def act() -> ScanRules:
        async with Client(Addresses(terminal=terminal)) as client:
            known = await client.call(client.scans.GetScanRules, api.GetScanRulesRequest())
            adds = known.add_to_line if add_to_line is None else add_to_line
            rules = ScanRules(rules=source.rules, add_to_line=adds, version=known.version)
            request = api.ReplaceScanRulesRequest(request_id=new_request_id(), rules=rules)
            return await client.call(client.scans.ReplaceScanRules, request)

    try:
        rules = run_async(act())
    except Refusal as refusal:
        refuse_rows("scan-rules", file, source.refused_rows(refusal))
        raise
    count = len(rules.rules)
    say(f"The terminal has {count} rule{'' if count == 1 else 's'}, version {rules.version}.")


def _span(start: int, digits: int) -> str:
    return f"{start} to {start + digits - 1}" if digits else ""
