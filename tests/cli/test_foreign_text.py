"""What others typed cannot forge, move or hide anything that a command prints.

The servers are made up: each answer of theirs is full of texts that were typed to do harm, in every field.
"""

import io
import random
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, patch

import pytest
import typer
from google.protobuf import message_factory
from google.protobuf.message import Message
from grpc import StatusCode
from rich.progress import ProgressColumn

from tests.cli.command_line import Done, Person, found, row, tillmesh, write_invoices
from tests.cli.test_json import commands
from tests.cli.test_phone import code, enrolled
from tests.foreign import fill, foreign, hidden_in
from tests.trust.secrets import PIN
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.auth.callers import Role
from tillmesh.cli.app import app
from tillmesh.cli.display import progress_bars
from tillmesh.cli.phone.device import Phone, SavedPhones
from tillmesh.cli.prompts import ask_yes
from tillmesh.cli.records import show_checkout
from tillmesh.cli.replay.invoices import read_invoices
from tillmesh.cli.replay.play import warn_of_rejected
from tillmesh.cli.replay.reconcile import Check
from tillmesh.cli.replay.report import show_checks
from tillmesh.client.connections import Connections
from tillmesh.client.failures import Failure, Unreachable
from tillmesh.local.authority import Authority
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.secret import Secret

TEXTS = 10_000
COMMANDS = typer.main.get_command(app)
"""Made once: that takes longer than most commands."""
NAME = "NAME"
"""Stands for an argument that somebody typed."""
ASKING = {
    **{name: [] for name in ("orders", "checkouts", "payments", "balances", "store list", "scan-rules show")},
    **{name: [] for name in ("watch orders", "watch checkouts", "watch payments", "catalogue list", "sandbox payers")},
    **{name: [] for name in ("phone pending", "phone payments", "phone watch", "sandbox reset", "phone new-key")},
    **{name: [] for name in ("phone sign-in", "phone sign-out", "phone code", "reconcile")},
    **{name: [NAME] for name in ("void", "explain", "identity", "pay", "present", "sticker", "park")},
    **{name: [NAME] for name in ("recall", "receipt", "void-sale", "refund", "enter-pin", "confirm", "cancel")},
    **{name: [NAME] for name in ("line show", "wallet show", "store create")},
    **{name: [NAME] for name in ("store show", "phone list", "phone release", "phone pay", "phone confirm")},
    **{name: [NAME] for name in ("phone cancel", "phone claim", "catalogue show", "catalogue delete", "sandbox code")},
    **{name: ["--currency", "GBP"] for name in ("phone statement", "phone limits")},
    **{name: [NAME, "--currency", "GBP"] for name in ("statement", "wallet open", "wallet limits")},
    "deposit": [NAME, "5"],
    "sell": [NAME, "A@1", "--pay"],
    "scan": [NAME, NAME, "--yes-age"],
    "return-goods": [NAME, "A@1"],
    "line add": [NAME, "A@1"],
    "line set": [NAME, "1", "--quantity", "2"],
    "line remove": [NAME, "1"],
    "line discount": [NAME, "1"],
    "line tip": [NAME, "1"],
    "store update": [NAME, "--suspend"],
    "phone enroll": ["ada", "--phone", "new"],
    "sandbox clock": ["1"],
    "sandbox restart": ["order_service"],
}
"""Every command that asks a server, with its arguments."""
WITH_FILES = {
    **{name: [NAME] for name in ("replay", "baskets", "catalogue import", "scan-rules import", "audit verify")},
    **{name: ["--data-dir", NAME] for name in ("db upgrade", "db check", "db status", "db restamp")},
    "db prune": ["--older-than", "9", "--data-dir", NAME],
    "cert init": ["--dir", NAME],
    "cert issue": ["terminal", NAME, NAME, "--dir", NAME],
    "cert deny": [NAME, "--dir", NAME],
}
OF_A_MESH = {"demo", "up"}


class Servers:
    """Servers whose answers have `text()` in each field; the same seed gives the same answers but for the texts."""

    def __init__(self, text: Callable[[], str], seed: int) -> None:
        self.texts = 0
        self._text = text
        self._payment_id = text()
        self._rng = random.Random(seed)

    def answer(self, request: Message) -> Message:
        """The answer to a request."""
        services = request.DESCRIPTOR.file.services_by_name.values()
        of: Any
        (of,) = [each for service in services for each in service.methods if each.input_type is request.DESCRIPTOR]
        answer: Message = message_factory.GetMessageClass(of.output_type)()
        fill(answer, self.text, self._rng)
        return answer

    def text(self, field: str = "") -> str:
        """One more text; all is about one payment."""
        self.texts += 1
        return self._payment_id if field == "payment_id" else self._text()

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Every call of the block is answered by these servers."""

        async def call(_self: Connections, _method: Any, request: Message, **_options: Any) -> Message:
            return self.answer(request)

        async def watch(
            _self: Connections, _method: Any, request: Message, *_arguments: Any
        ) -> AsyncGenerator[Message]:
            yield self.answer(request)
            raise Unreachable(f"{self.text()} failed: {self.text()}")

        with patch.object(Connections, "call", call), patch.object(Connections, "watch", watch):
            yield


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates for all who ask."""
    folder = tmp_path_factory.mktemp("foreign") / "tls"
    authority = Authority(folder, "tillmesh")
    authority.create()
    for role, names in ((Role.PLATFORM, ["cli"]), (Role.DEVICE, ["store-1", "cli"]), (Role.PHONE, ["ada"])):
        authority.issue(role, *names)
    return folder


def typed(arguments: list[str], text: str) -> list[str]:
    return [text if each == NAME else each for each in arguments]


def asked(tls: Path, servers: Servers, command: str, *options: str) -> Done:
    """A command that these servers answer, with a phone that is signed in."""
    SavedPhones(tls.parent / "phones").keep(Phone("ada", "ada", "1" * 8, Secret(b"k" * 32), Secret(b"token")))
    with servers.asked(), patch("typer.main.get_command", return_value=COMMANDS):
        phone = ["--phone", "ada"] if command.startswith("phone ") and NAME not in options else []
        own = [] if command in ("phone list", "phone enroll") else phone
        return tillmesh("--tls-dir", tls, *command.split(), *own, *options, types=f"{PIN}\n")


def at_the_margin(text: str) -> int:
    """The lines that begin as a line of ours does; what goes on in a cell of a table is indented."""
    return sum(not line.startswith(" ") for line in text.splitlines())


def require_harmless(done: Done) -> None:
    assert hidden_in(done.stdout) == []
    assert hidden_in(done.stderr) == []
    assert "Traceback" not in done.stderr


def test_every_command_is_tried() -> None:
    assert set(ASKING) | set(WITH_FILES) | OF_A_MESH == set(dict(commands(typer.main.get_group(app))))


def test_no_answer_of_a_server_forges_a_line_or_hides_a_character(tls: Path) -> None:
    rng, texts, seed = random.Random(2026), 0, 0
    while texts < TEXTS:
        for command, arguments in ASKING.items():
            seed += 1
            servers = Servers(lambda: foreign(rng), seed)
            done = asked(tls, servers, command, *typed(arguments, "ada"))
            plain = asked(tls, Servers(lambda: "Ada", seed), command, *typed(arguments, "ada"))
            require_harmless(done)
            texts += servers.texts
            if command == "reconcile":  # what differs depends on which names are the same
                continue
            assert done.returncode == plain.returncode, (command, done, plain)
            if command == "receipt":  # the terminal decides where a line of paper ends
                continue
            for said, meant in ((done.stdout, plain.stdout), (done.stderr, plain.stderr)):
                assert at_the_margin(said) == at_the_margin(meant), f"{command}:\n{said}\n{meant}"


@pytest.mark.parametrize("command", [*ASKING, *WITH_FILES])
def test_no_argument_forges_a_line_or_hides_a_character(tls: Path, tmp_path: Path, command: str) -> None:
    rng = random.Random(command)
    arguments = ASKING.get(command) or WITH_FILES.get(command) or [NAME]
    for _ in range(3):
        shown = foreign(rng, lone=command in WITH_FILES).replace("\0", "").replace("/", "")[:50]
        path = str(tmp_path / shown) if command in WITH_FILES else shown
        if command.startswith("db "):
            Path(path).mkdir(exist_ok=True)
        require_harmless(asked(tls, Servers(lambda: foreign(rng), 1), command, *typed(arguments, path)))


@pytest.mark.parametrize("command", sorted({*ASKING} - {"receipt"}))
def test_json_is_ascii(tls: Path, command: str) -> None:
    if "--json" not in dict(commands(typer.main.get_group(app)))[command]:
        return
    rng = random.Random(command)
    done = asked(tls, Servers(lambda: foreign(rng), 1), command, *typed(ASKING[command], "ada"), "--json")
    assert all(line.isascii() and line.isprintable() for line in done.stdout.splitlines())


def test_no_refusal_and_no_failure_has_a_line_of_its_own(tls: Path) -> None:
    rng = random.Random(7)
    for _ in range(20):
        for error in (Refusal(StatusCode.ABORTED, "X", foreign(rng)), Failure(foreign(rng))):
            with patch.object(Connections, "call", AsyncMock(side_effect=error)):
                done = tillmesh("--tls-dir", tls, "orders")
            assert len(done.stderr.splitlines()) == 1
            require_harmless(done)


@pytest.mark.parametrize("verdict", [number for number in checkout_pb2.Verdict.values() if number])
def test_a_verdict_stands_before_all_that_others_typed(verdict: Any, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"x: HAND OVER GOODS.{' ' * 100}\u202e”. HAND OVER GOODS"
    checkout = checkout_pb2.Checkout(checkout_id="7K3M", verdict=verdict, payer_display_name=name)
    show_checkout(checkout)
    first, second, *_ = capsys.readouterr().out.splitlines()
    said = checkout_pb2.Verdict.Name(verdict).removeprefix("VERDICT_").replace("_", " ")
    assert first == f'{said}: order 7K3M, , “x: HAND OVER GOODS. \\u202e". HAND OVER GOODS”.'
    assert second


def test_servers_keep_such_texts_and_the_commands_show_them_harmless(person: Person) -> None:
    name = f"Ada: HAND OVER GOODS.{' ' * 90}\u202e\u2066x"
    enrolled(person, "forger", "--confirm-above", "5", "--name", name)
    order = found(r"Order (\S+):", person.does("sell", "-", "MUG@6.50"))
    said = [
        person.does("pay", order, "--pay-code", types=code(person, "forger")),
        person.does("explain", order),
        person.does("receipt", order),
    ]
    assert said[0].startswith(f"ASK PAYER: order {order}, 6.50 GBP, “Ada: HAND OVER GOODS. \\u202e\\u2066x”.\n")
    parked = found(r"Order (\S+):", person.does("sell", "-", "MUG@6.50"))
    said += [
        person.does("park", parked, "--label", f"Ada{' ' * 50}x\u202e\u3164"),
        person.does("checkouts", "--parked"),
        person.fails("sticker", "\u202elane"),
        person.fails("explain", "\u202e"),
    ]
    assert r"Parked: “Ada x\u202e\u3164” until" in said[3]
    assert hidden_in("".join(said)) == []
    (kept,) = person.does("recall", parked, "--json").splitlines()
    assert kept.isascii()


def test_a_name_of_blanks_or_of_nothing_visible_shows_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    for name, shown in ((" " * 128, "“”"), ("\u3164\u3164", r"“\u3164\u3164”"), ("\u2800\u00a0", "“”")):
        show_checkout(checkout_pb2.Checkout(verdict=checkout_pb2.VERDICT_WAIT, payer_display_name=name))
        assert shown in capsys.readouterr().out


def test_markup_in_a_path_is_text(tmp_path: Path) -> None:
    folder = tmp_path / "[bold]tls[/nothing]"
    done = tillmesh("cert", "init", "--dir", folder)
    assert done.returncode == 0
    assert f"The CA is “{folder}/ca.pem”" in done.stdout


def test_an_invoice_number_writes_no_line_and_no_escape_sequence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    number = "5\x1b[2J\u202e6\nHAND OVER GOODS"
    file = write_invoices(tmp_path, row(f'"{number}"', price="nothing"), row("536365", price="nothing"))
    warn_of_rejected(file, read_invoices(file, "GBP").rejected)
    first, second = capsys.readouterr().err.splitlines()
    assert r"line 2: invoice “5\x1b[2J\u202e6\nHAND OVER GOODS” is rejected: " in first
    assert "line 4: invoice 536365 is rejected: " in second


def test_the_checks_of_a_replay_repeat_an_invoice_number_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_checks([Check("all is as it should be", [f"invoice {foreign(random.Random(seed))}" for seed in range(5)])])
    said = capsys.readouterr().out
    assert len(said.splitlines()) == 6
    assert hidden_in(said) == []


def test_a_progress_bar_and_a_question_are_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with progress_bars() as progress:
        progress.add_task("Reading a\nb\u202e[red]", total=1)
        (description, *_) = progress.columns
        assert isinstance(description, ProgressColumn)
        assert str(description.render(progress.tasks[0])) == r"Reading a\nb\u202e[red]"
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    ask_yes("Pay 1.00 GBP to a\nb\u202e?")
    assert capsys.readouterr().err == r"Pay 1.00 GBP to a\nb\u202e? [y/N]:"
