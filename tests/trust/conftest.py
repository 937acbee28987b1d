"""One mesh of two stores with certificates for all tests of trust; what a test breaks it starts for itself."""

from collections.abc import Iterator

import pytest

from tests.trust.certified import Shops, running_shops


@pytest.fixture(scope="session")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shops]:
    with running_shops(tmp_path_factory.mktemp("shops")) as shops:
        yield shops
