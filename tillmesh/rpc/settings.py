"""Configuration of a server: flags, then TILLMESH_* environment variables, then defaults."""

import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict, SettingsError

from tillmesh.auth.callers import MESH, SANDBOX, DenyList, Gate, Role
from tillmesh.auth.tls import TlsFiles
from tillmesh.rpc.limits import CALL_S_MAX, CALLS_MAX, CALLS_PER_S, SHARES, Limits
from tillmesh.runtime.clock import Clock, SystemClock
from tillmesh.runtime.ids import IDENTIFIER
from tillmesh.sandbox.clock import SandboxClock


class ServerSettings(BaseSettings):
    """The settings of every server."""

    model_config = SettingsConfigDict(
        env_prefix="TILLMESH_",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
        extra="forbid",
    )

    listen: str = Field("127.0.0.1:0", description="address to serve on; port 0 takes a free one")
    database_url: str = Field(description="this server's own database: sqlite:///FILE or postgresql://USER@HOST/NAME")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="what goes to standard error")
    tls_dir: Path | None = Field(None, description="folder with ca.pem, cert.pem and key.pem")
    insecure: bool = Field(False, description="go without certificates, on this machine only")
    mesh: str = Field(MESH, pattern=f"^{IDENTIFIER.pattern}$", description="name of the mesh, as its certificates say")
    denied: Path | None = Field(None, description="file of revoked certificate URIs, one a line, re-read as it changes")
    grace_s: float = Field(5.0, gt=0, description="how long a stop waits for calls under way")
    calls_max: int = Field(CALLS_MAX, ge=SHARES, description="calls in progress at a time; of one till a quarter")
    calls_per_s: int = Field(CALLS_PER_S, ge=1, description="calls a second that a till or device may make")
    call_s_max: float = Field(CALL_S_MAX, gt=0, description="how long a call may take, whatever its deadline")
    connections_max: int = Field(1_000, ge=1, description="connections open at a time")
    end_with_stdin: bool = Field(False, description="stop once standard input ends, as when its starter was killed")
    health_listen: str | None = Field(
        None, description="address of this machine for health alone, without certificates, as a probe asks; port 0 too"
    )
    metrics_listen: str | None = Field(
        None, description="address of this machine for metrics, as Prometheus scrapes them; port 0 too"
    )
    otlp_endpoint: str | None = Field(
        None, description="collector of OpenTelemetry for traces, as https://HOST:PORT; http for this machine alone"
    )
    handshake_s: float = Field(20.0, ge=0.001, le=600, description="how long a client may take to connect, with TLS")
    unguarded_transport: bool = Field(
        False, description="serve with gRPC's own server, which one broken frame can end; for other versions of grpcio"
    )

    sandbox: Path | None = Field(
        None, description="folder of a sandbox, with simulated payers and a clock that tests move; needs --mesh sandbox"
    )

    @model_validator(mode="after")
    def _is_no_sandbox(self) -> Self:
        if (self.sandbox is not None) != (self.mesh == SANDBOX):
            raise ValueError(
                f"--sandbox FOLDER and --mesh {SANDBOX} belong together: no certificate of a sandbox opens another mesh"
            )
        return self

    @model_validator(mode="after")
    def _is_secure(self) -> Self:
        if self.insecure == (self.tls_dir is not None):
            either = "give --tls-dir FOLDER, or --insecure to go without certificates on this machine"
            raise ValueError(f"{either}, not both" if self.insecure else either)
        here = "127.0.0.1, [::1] and localhost"
        far = [address for address in self.addresses() if not _is_loopback(address)]
        if self.insecure and far:
            raise ValueError(f"--insecure is for {here} only, not {', '.join(far)}; give --tls-dir FOLDER instead")
        for flag, address in ("--health-listen", self.health_listen), ("--metrics-listen", self.metrics_listen):
            if address and not _is_loopback(address):
                raise ValueError(f"{flag} is for {here} only, not {address}: nothing there is encrypted")
        return self

    @model_validator(mode="after")
    def _keeps_traces_private(self) -> Self:
        if self.otlp_endpoint and not self.otlp_endpoint.startswith("https://"):
            plain = self.otlp_endpoint.startswith("http://")
            if not plain or not _is_loopback(self.otlp_endpoint.removeprefix("http://").partition("/")[0]):
                raise ValueError(
                    f"--otlp-endpoint must be https://HOST:PORT, or http:// on this machine, was {self.otlp_endpoint}"
                )
        return self

    def addresses(self) -> list[str]:
        """Every address that is served on or called."""
        return [self.listen]

    def tls(self) -> TlsFiles | None:
        """The certificate files; None without TLS."""
        return TlsFiles(self.tls_dir, self.mesh) if self.tls_dir else None

    def clock(self) -> Clock:
        """The time that the server goes by."""
        return SandboxClock(self.sandbox) if self.sandbox else SystemClock()

    def gate(self) -> Gate | None:
        """Admits callers by their certificate. None without TLS: everybody gets in."""
        return Gate(self.mesh, DenyList(self.denied)) if self.tls_dir else None

    def own_uri(self, role: Role) -> str:
        """In whose name the server acts by itself; without TLS its role says it."""
        tls = self.tls()
        return tls.own_uri() if tls else f"spiffe://{self.mesh}/{role}"

    def limits(self) -> Limits:
        """The limits of callers."""
        return Limits(self.calls_max, self.calls_per_s, self.call_s_max)


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Settings = TypeVar("Settings", bound=ServerSettings)


def load_settings(settings: type[Settings], argv: list[str]) -> Settings:
    """Reads the configuration, or ends the process with a line for each thing that is wrong."""
    prog = settings.model_config["cli_prog_name"]
    try:
        return CliApp.run(settings, cli_args=argv)
    except ValidationError as error:
        for problem in error.errors():
            print(f"{prog}: {_sentence(problem)}; see --help", file=sys.stderr)
    except SettingsError as error:
        print(f"{prog}: {error}; see --help", file=sys.stderr)
    raise SystemExit(2)


def _sentence(problem: ErrorDetails) -> str:
    said = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return said
    name = ".".join(str(part) for part in problem["loc"]).replace("_", "-")
    return f"--{name}: {said}, was {problem['input']!r}"
