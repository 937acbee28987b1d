"""A refund stays in the journal until an answer to itself ends it."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from grpc import StatusCode

from tests.client.sales import CUP
from tillmesh.api.terminal.v1 import till_refund_pb2
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as api
from tillmesh.client.asking import Asker
from tillmesh.client.connections import DeviceConnections
from tillmesh.client.desk import TERMINAL_DOMAIN, Desk, NotAllowed
from tillmesh.client.journal import Journal
from tillmesh.client.refund import made
from tillmesh.runtime.errors import Refusal

DENIED = Refusal(StatusCode.PERMISSION_DENIED, "ROLE_DENIED", "no", domain=TERMINAL_DOMAIN)


class Denied(Asker):
    """Gets PENDING for a refund, and may not look it up."""

    async def ask(self, method: Any, request: Any) -> Any:
        if isinstance(request, api.GetTillRefundRequest):
            raise DENIED
        return till_refund_pb2.TillRefund(state=till_refund_pb2.TillRefund.STATE_PENDING)


async def test_a_refund_that_may_not_be_looked_up_is_not_forgotten() -> None:
    service = SimpleNamespace(ReturnGoods=None, GetTillRefund=None)
    connections = cast(DeviceConnections, SimpleNamespace(till=SimpleNamespace(), till_refunds=service))
    journal = Journal(None, "")
    desk = Desk(connections, Denied(connections), journal)
    with pytest.raises(NotAllowed):
        await made(desk, api.ReturnGoodsRequest(refund_id="r-1", lines=[CUP], identity_id="ada"))
    assert journal.subjects() == ["r-1"]
    journal.close()
