"""Configuration of a server: flags, then TILLMESH_* environment variables, then defaults."""

import sys
from typing import Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict, SettingsError


class ServerSettings(BaseSettings):
    """What every server is told."""

    model_config = SettingsConfigDict(
        env_prefix="TILLMESH_",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
        extra="forbid",
    )

    listen: str = Field("127.0.0.1:0", description="address to serve on; port 0 takes a free one")
    database_url: str = Field(description="this server's own database, as sqlite:///FILE")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="what goes to standard error")
    grace_s: float = Field(5.0, gt=0, description="how long a stop waits for calls under way")


Settings = TypeVar("Settings", bound=ServerSettings)


def load_settings(settings: type[Settings], argv: list[str]) -> Settings:
    """Reads the configuration, or ends the process with a line for each thing that is wrong."""
    prog = settings.model_config["cli_prog_name"]
    try:
        return CliApp.run(settings, cli_args=argv)
    except ValidationError as error:
        for problem in error.errors():
            name = "--" + ".".join(str(part) for part in problem["loc"]).replace("_", "-")
            print(f"{prog}: {name}: {problem['msg']}, was {problem['input']!r}; see --help", file=sys.stderr)
    except SettingsError as error:
        print(f"{prog}: {error}; see --help", file=sys.stderr)
    raise SystemExit(2)
