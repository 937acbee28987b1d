"""`tillmesh cert`: certificates of a private CA, enough for one machine or a pilot."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from tillmesh.auth.callers import MESH, Role
from tillmesh.cli.display import say
from tillmesh.client.failures import Failure
from tillmesh.local.authority import Authority
from tillmesh.runtime.foreign_text import named

cert = typer.Typer(
    help="Certificates of a private CA. In production any CA that writes URI names does: see docs/security.md.",
    no_args_is_help=True,
)
Folder = Annotated[Path, typer.Option("--dir", help="Folder of the CA.")]
Mesh = Annotated[str, typer.Option("--mesh", help="Name of the mesh.")]
DEFAULT_FOLDER = Path(".tillmesh/tls")


@cert.command(epilog="**Example**\n\ntillmesh cert init --dir /etc/tillmesh/tls")
def init(folder: Folder = DEFAULT_FOLDER, mesh: Mesh = MESH) -> None:
    """Make key and certificate of the CA and the payment server's secret, unless they are there."""
    authority = Authority(folder, mesh)
    authority.create()
    say(f"The CA is {named(folder / 'ca.pem')}; keep {named(folder / 'ca.key')} to yourself.")
    say(f"The payment server alone needs --secret-file {named(authority.secret)}; keep a copy of it.")


@cert.command(
    epilog="**Examples**\n\ntillmesh cert issue orders central\n\ntillmesh cert issue terminal store-7 till-1 --days 7"
)
def issue(
    role: Annotated[Role, typer.Argument(help="What the certificate is for.")],
    names: Annotated[list[str], typer.Argument(help="NAME; for terminal and device STORE NAME.")],
    days: Annotated[float, typer.Option(min=0.01, help="How long it is good for.")] = 1,
    folder: Folder = DEFAULT_FOLDER,
    mesh: Mesh = MESH,
) -> None:
    """Make a certificate: a folder with ca.pem, cert.pem and key.pem for --tls-dir."""
    made = Authority(folder, mesh).issue(role, *names, lifetime=timedelta(days=days))
    say(f"spiffe://{mesh}/{role}/{'/'.join(names)} is in {named(made)}")


@cert.command(epilog="**Example**\n\ntillmesh cert deny spiffe://tillmesh/terminal/store-7/till-1")
def deny(
    uri: Annotated[str, typer.Argument(help="The URI of the certificate.")],
    folder: Folder = DEFAULT_FOLDER,
    mesh: Mesh = MESH,
) -> None:
    """Revoke whoever has that URI: servers with --denied FOLDER/denied refuse its next call."""
    if not folder.is_dir():
        raise Failure(f"There is no folder {named(folder)}; name that of the CA with --dir.")
    authority = Authority(folder, mesh)
    authority.deny(uri)
    say(f"{named(uri)} is in {named(authority.denied)}.")
