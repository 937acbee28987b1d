from pathlib import Path

import pytest
from pydantic import Field

from tillmesh.auth.callers import Role
from tillmesh.local.authority import Authority
from tillmesh.rpc.settings import ServerSettings, load_settings


class TillSettings(ServerSettings, cli_prog_name="till", env_prefix="TILLMESH_TILL_"):
    """What a till is told."""

    store_id: str = Field(min_length=1, description="the store")
    lease_s: int = Field(60, gt=0, description="seconds")


GOOD = ["--insecure", "--store-id", "s-1", "--database-url", "sqlite:///till.db"]


def load(argv: list[str]) -> TillSettings:
    return load_settings(TillSettings, argv)


@pytest.mark.parametrize(
    ("flags", "lines"),
    [
        ([*GOOD, "--lease-s", "0"], ["till: --lease-s: Input should be greater than 0, was '0'; see --help"]),
        (
            [*GOOD, "--lease-s", "soon", "--log-level", "LOUD"],
            [
                "till: --log-level: Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR', was 'LOUD'; see --help",
                "till: --lease-s: Input should be a valid integer, unable to parse string as an integer, "
                "was 'soon'; see --help",
            ],
        ),
        (
            [*GOOD, "--mesh", "my mesh"],
            ["till: --mesh: String should match pattern '^[A-Za-z0-9._-]{1,64}$', was 'my mesh'; see --help"],
        ),
        (
            [*GOOD, "--health-listen", "0.0.0.0:7101"],
            [
                "till: --health-listen is for 127.0.0.1, [::1] and localhost only, not 0.0.0.0:7101: "
                "nothing there is encrypted; see --help"
            ],
        ),
        ([*GOOD, "--grace-s", "0"], ["till: --grace-s: Input should be greater than 0, was '0'; see --help"]),
    ],
)
def test_each_wrong_setting_is_named_on_a_line_of_its_own(
    flags: list[str], lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        load(flags)
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines() == lines


def test_a_missing_setting_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        load(["--insecure", "--store-id", "s-1"])
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert "--database-url: Field required" in err
    assert len(err.splitlines()) == 1


def test_an_unknown_flag_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        load([*GOOD, "--stroe-id", "s-2"])
    assert ended.value.code == 2
    assert "--stroe-id" in capsys.readouterr().err


def test_a_flag_wins_over_the_environment_and_that_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(GOOD).lease_s == 60
    monkeypatch.setenv("TILLMESH_TILL_LEASE_S", "20")
    assert load(GOOD).lease_s == 20
    assert load([*GOOD, "--lease-s", "30"]).lease_s == 30


def test_help_describes_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        load(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for field in TillSettings.model_fields:
        assert f"--{field.replace('_', '-')}" in text


def test_without_certificates_a_server_acts_in_the_name_of_its_role() -> None:
    assert load(GOOD).own_uri(Role.ORDERS) == "spiffe://tillmesh/orders"
    assert load([*GOOD, "--mesh", "north"]).own_uri(Role.TERMINAL) == "spiffe://north/terminal"


def test_with_certificates_a_server_acts_in_the_name_of_its_own(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.create()
    folder = authority.issue(Role.TERMINAL, "store-7", "till-1")
    settings = load(["--tls-dir", str(folder), *GOOD[1:]])
    assert settings.own_uri(Role.TERMINAL) == "spiffe://tillmesh/terminal/store-7/till-1"
