"""What the tests of the command line share."""

from collections.abc import Iterator

import pytest

from tests.cli.command_line import Person
from tillmesh.local.mesh import Mesh


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Three real processes that no test stops."""
    with Mesh(tmp_path_factory.mktemp("mesh")) as mesh:
        yield mesh


@pytest.fixture
def person(mesh: Mesh) -> Person:
    """Somebody who tries that mesh by hand."""
    return Person(mesh)
