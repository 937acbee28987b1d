"""Who connects slowly is served, who never ends connecting is put out."""

import socket
from pathlib import Path

import pytest

from tests.processes import DEADLINE_S
from tests.trust.fort import LIST_ORDERS, PLATFORM, Fort, running_fort
from tests.trust.frames import encrypted, message
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.auth.callers import Role
from tillmesh.rpc.settings import ServerSettings

OK = 0
LIST = api.ListOrdersRequest(page_size=1)
HALF_A_HANDSHAKE = b"\x16\x03\x01\x02"


def raw(fort: Fort) -> socket.socket:
    """A TCP connection and nothing more."""
    host, _, port = fort.server.address.rpartition(":")
    return socket.create_connection((host, int(port)), DEADLINE_S)


def wait_for_the_end(connection: socket.socket) -> None:
    """Returns once the server has closed a connection; raises TimeoutError if it does not."""
    while True:
        try:
            if not connection.recv(65_536):
                return
        except ConnectionError:
            return


@pytest.mark.process
def test_a_handshake_within_the_limit_may_be_slow_and_a_longer_one_is_cut(tmp_path: Path) -> None:
    for name in ("hasty", "patient"):
        (tmp_path / name).mkdir()
    with (
        running_fort(tmp_path / "hasty", "--handshake-s", "1") as hasty,
        running_fort(tmp_path / "patient", "--handshake-s", "600") as patient,
        raw(patient) as slow,
        raw(hasty) as cut,
    ):
        cut.sendall(HALF_A_HANDSHAKE)
        wait_for_the_end(cut)
        with encrypted(slow, Role.ORDERS, patient.files(PLATFORM)) as wire:
            stream = wire.open(LIST_ORDERS)
            wire.data(stream, message(LIST.SerializeToString()))
            assert wire.status(stream) == OK


def test_a_client_has_longer_than_grpc_s_slow_pollers_take() -> None:
    assert ServerSettings.model_fields["handshake_s"].default == 20
