"""The story that `tillmesh demo` plays: it checks itself, so here it is only played and read."""

from pathlib import Path

import pytest

from tillmesh.cli.demo import FLAGS
from tillmesh.cli.mesh import Mesh
from tillmesh.cli.options import run_async
from tillmesh.cli.story import play


def test_the_story_is_true(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Mesh(tmp_path, flags=FLAGS) as mesh:
        run_async(play(mesh))
    told = capsys.readouterr().out
    for turn in (
        "is locked by payment",
        "the lease ran out",
        "she cancels on her phone",
        "now version 2, 24.30 GBP",
        "HAND OVER GOODS",
        "waits for nobody's confirmation",
        "Three payments, one charge",
        "balanced",
    ):
        assert turn in told
