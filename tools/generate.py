"""Writes what is generated: the API from protos/, and the marked parts of the documents.

`proto` writes tillmesh/api; `docs` writes what stands between `<!-- generated: NAME -->` and
`<!-- end generated -->`; `--check` writes nothing and names each file that is out of date.
"""

import argparse
import importlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from pathlib import Path

from pydantic.fields import FieldInfo

from tillmesh.auth.callers import Role
from tillmesh.cli.reconcile.differences import Difference
from tillmesh.local.processes import CERTIFIED, ServerName
from tillmesh.rpc.settings import ServerSettings
from tillmesh.runtime.errors import CommonReason, ErrorReason
from tillmesh.runtime.metrics import REGISTRY
from tillmesh.sandbox.payers import PAYERS, By, SimulatedPayer

ROOT = Path(__file__).resolve().parent.parent
API = Path("tillmesh/api")
SERVICES = {
    "order_service": ("order_service.lifecycle", "ORDER"),
    "thirdparty_server": ("thirdparty_server.payments.lifecycle", "PAYMENT"),
    "store_terminal": ("store_terminal.checkouts.lifecycle", "CHECKOUT"),
}
"""Module and name of the transition table of each service."""
MARKED = re.compile(r"(<!-- generated: ([^>]+) -->\n).*?(<!-- end generated -->)", re.DOTALL)


def generate_api(folder: Path) -> None:
    """Generates the Python of all protos into `folder`/tillmesh/api."""
    protos = sorted(path.relative_to(ROOT / "protos") for path in (ROOT / "protos").rglob("*.proto"))
    services = [path for path in protos if path.stem.endswith("_service")]
    _protoc(folder, ["--python_out", "--mypy_out"], protos)
    _protoc(folder, ["--grpc_python_out", "--mypy_grpc_out"], services)


def _protoc(folder: Path, outputs: list[str], protos: Iterable[Path]) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", "protos", *(f"{output}={folder}" for output in outputs)]
    plugins = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = os.environ | {"PATH": plugins}
    done = subprocess.run([*command, *map(str, protos)], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"protoc failed:\n{done.stderr}")


def api_files(folder: Path) -> dict[Path, str]:
    """The generated files in `folder`, by their path within it."""
    files = chain((folder / API).rglob("*_pb2*.py"), (folder / API).rglob("*_pb2*.pyi"))
    return {path.relative_to(folder): path.read_text() for path in files}


def fresh_api() -> dict[Path, str]:
    """The API as it should be."""
    with tempfile.TemporaryDirectory() as folder:
        generate_api(Path(folder))
        return api_files(Path(folder))


def write_api() -> None:
    """Brings tillmesh/api up to date, and removes what no proto makes any more."""
    fresh, old = fresh_api(), api_files(ROOT)
    for path in old.keys() - fresh.keys():
        (ROOT / path).unlink()
    _write({path: text for path, text in fresh.items() if old.get(path) != text})
    print(f"{API}: {len(fresh)} files are up to date")


def lifecycle(service: str) -> str:
    """State diagram and transition table of a service."""
    module, name = SERVICES[service]
    table = getattr(importlib.import_module(module), name)
    return f"```mermaid\n{table.mermaid()}\n```\n\n{table.markdown()}\n"


def errors(service: str) -> str:
    """Every reason that a service gives."""
    return reasons(importlib.import_module(f"{service}.errors").Reason)


def reasons(catalogue: type[ErrorReason]) -> str:
    """A catalogue of reasons as a Markdown table."""
    rows = [f"| `{reason.name}` | {reason.code.name} | {reason.text} |" for reason in catalogue]
    return "\n".join(["| reason | status | text |", "| --- | --- | --- |", *sorted(rows)]) + "\n"


def access(service: str) -> str:
    """The table of roles that may call each method of a service."""
    rows = [
        f"| `{name.rpartition('.')[2]}.{method}` | {' | '.join('yes' if role in roles else '' for role in Role)} |"
        for name, methods in importlib.import_module(f"{service}.access").ACCESS.items()
        for method, roles in methods.items()
    ]
    return "\n".join([f"| method | {' | '.join(Role)} |", f"| --- |{' --- |' * len(Role)}", *rows]) + "\n"


NAMES = ("proto package", "role in certificates", "error domain", "environment", "port", "calls")


def names() -> str:
    """What each server is called, wherever it has a name."""
    rows = [f"| [`{server}`]({server}/README.md) | {' | '.join(names_of(server))} |" for server in ServerName]
    return "\n".join([f"| folder | {' | '.join(NAMES)} |", f"| --- |{' --- |' * len(NAMES)}", *rows]) + "\n"


def names_of(server: ServerName) -> list[str]:
    """A server's cells, in the order of NAMES."""
    part, settings = partial(importlib.import_module, package=server), settings_of(server)
    services, domain = part(".access").ACCESS, part(".errors").DOMAIN
    (package,) = {service.rpartition(".")[0] for service in services}
    port = settings.model_fields["listen"].default.rpartition(":")[2]
    calls = [f"`{other}`" for other in ServerName if CERTIFIED[other] in settings.model_fields]
    prefix = settings.model_config["env_prefix"]
    return [f"`{package}`", f"`{CERTIFIED[server]}`", f"`{domain}`", f"`{prefix}*`", port, " ".join(calls)]


def settings_of(server: str) -> type[ServerSettings]:
    """The settings of a server."""
    module = importlib.import_module(f"{server}.server").__name__
    (settings,) = (kind for kind in ServerSettings.__subclasses__() if kind.__module__ == module)
    return settings


def flags(server: str = "") -> str:
    """The flags of a server that others do not have, or those of all servers."""
    common = ServerSettings.model_fields
    settings = settings_of(server) if server else ServerSettings
    rows = [
        f"| `--{name.replace('_', '-')}` | {_default(field)} | {field.description} |"
        for name, field in settings.model_fields.items()
        if not server or name not in common or _default(field) != _default(common[name])
    ]
    return "\n".join(["| flag | default | meaning |", "| --- | --- | --- |", *rows]) + "\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default in (None, ""):
        return ""
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def payers() -> str:
    """The simulated payers of a sandbox: how a till finds each, and what it sees."""
    head = ["payer", "named by", "what happens", "the till sees", *(f"reason by {by}" for by in By)]
    rows = [f"| {' | '.join(_cells_of(payer))} |" for payer in PAYERS]
    return "\n".join([f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *rows]) + "\n"


def differences() -> str:
    """Every difference that `tillmesh reconcile` finds."""
    rows = [f"| `{each.name}` | {each.meaning} | {each.next_step} |" for each in Difference]
    return "\n".join(["| name | meaning | next step |", "| --- | --- | --- |", *rows]) + "\n"


def _cells_of(payer: SimulatedPayer) -> list[str]:
    seen = ", then ".join(f"`{verdict}`" for verdict in (payer.meanwhile, payer.verdict) if verdict)
    reasons = {By.ID: payer.reason, By.CODE: payer.by_code or payer.reason}
    told = [f"`{reason}`" if by in payer.by and reason else "" for by, reason in reasons.items()]
    return [f"`{payer.identity_id}`", ", ".join(payer.by), payer.story, seen, *told]


def metrics() -> str:
    """All metrics of a server."""
    rows = [
        f"| `{metric.name}{'_total' if metric.type == 'counter' else ''}` | {metric.type} "
        f"| {', '.join(f'`{label}`' for label in labels_of(metric.name))} | {metric.documentation} |"
        for metric in REGISTRY.collect()
    ]
    return "\n".join(["| metric | kind | labels | what it says |", "| --- | --- | --- | --- |", *rows]) + "\n"


def labels_of(metric: str) -> tuple[str, ...]:
    """The labels of a metric, in their order."""
    named = REGISTRY._names_to_collectors[metric]
    return tuple(getattr(named, "_labelnames", ()))


PARTS: dict[str, Callable[[], str]] = {
    "flags of every server": flags,
    **{f"flags of {service}": partial(flags, service) for service in SERVICES},
    **{f"access of {service}": partial(access, service) for service in SERVICES},
    "errors of every server": partial(reasons, CommonReason),
    **{f"errors of {service}": partial(errors, service) for service in SERVICES},
    **{f"lifecycle of {service}": partial(lifecycle, service) for service in SERVICES},
    "names of the servers": names,
    "simulated payers": payers,
    "metrics": metrics,
    "differences": differences,
}


def documents() -> dict[Path, str]:
    """The documents of the project as they are."""
    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / name / "README.md" for name in SERVICES)]
    return {path.relative_to(ROOT): path.read_text() for path in paths if path.exists()}


def fresh_documents() -> dict[Path, str]:
    """The documents with their marked parts as they should be."""
    return {path: fill(path, text) for path, text in documents().items()}


def fill(path: Path, text: str) -> str:
    """A document with its marked parts written anew."""

    def part(match: re.Match[str]) -> str:
        begin, name, end = match.groups()
        if name not in PARTS:
            raise SystemExit(f"{path}: nothing generates {name!r}; there are: {', '.join(PARTS)}")
        return f"{begin}\n{PARTS[name]()}\n{end}"

    return MARKED.sub(part, text)


def write_documents() -> None:
    """Brings the marked parts of all documents up to date."""
    old = documents()
    _write({path: text for path, text in fresh_documents().items() if old[path] != text})
    print(f"{len(old)} documents are up to date")


def _write(files: dict[Path, str]) -> None:
    for path, text in sorted(files.items()):
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text)
        print(f"wrote {path}")


def out_of_date() -> list[str]:
    """A line for each generated file that is not as it should be."""
    return [
        *_differing(api_files(ROOT), fresh_api(), "make proto"),
        *_differing(documents(), fresh_documents(), "make docs"),
    ]


def _differing(actual: dict[Path, str], wanted: dict[Path, str], remedy: str) -> list[str]:
    paths = sorted(actual.keys() | wanted.keys())
    return [f"{path} is out of date: run {remedy}" for path in paths if actual.get(path) != wanted.get(path)]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Writes what is generated, or checks it.")
    parser.add_argument("what", nargs="?", choices=["proto", "docs"])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if anything is out of date")
    options = parser.parse_args()
    if options.check == bool(options.what):
        parser.error("say what to write, proto or docs, or else --check")
    if options.check:
        lines = out_of_date()
        sys.exit("\n".join(lines) or 0)
    write_api() if options.what == "proto" else write_documents()


if __name__ == "__main__":
    main()
