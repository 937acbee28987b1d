"""The story that `tillmesh demo` plays: it checks itself, so here it is only played and read."""

from pathlib import Path

import pytest

from tillmesh.cli.demo import FLAGS
from tillmesh.cli.mesh import Mesh
from tillmesh.cli.options import run_async
from tillmesh.cli.story.lock import play


def test_the_story_is_true(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Mesh(tmp_path, flags=FLAGS) as mesh:
        run_async(play(mesh))
    told = capsys.readouterr().out
    for turn in (
        "2.40 GBP paid at once",
        "PAY_CODE_USED",
        "It says CLOSED",
        "is locked by payment",
        "the lease ran out",
        "she cancels on her phone",
        "now version 2, 24.30 GBP",
        "The PIN is wrong; tries left: 4",
        "HAND OVER GOODS",
        "waits for nobody's confirmation",
        "Three payments, one charge",
        "balanced",
    ):
        assert turn in told
