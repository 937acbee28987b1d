"""Payers' phones, as the platform binds them: protobuf to model and back, nothing else."""

from thirdparty_server.once import run_once
from thirdparty_server.payers import messages, operations, queries
from thirdparty_server.payers.model import Phone
from thirdparty_server.payers.vault import Vault
from thirdparty_server.schema import REQUESTS
from tillmesh.api.payment.v1 import phone_pb2
from tillmesh.api.payment.v1 import phone_service_pb2 as api
from tillmesh.auth.callers import Role, require_payer
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.paging import Page
from tillmesh.runtime.clock import Clock
from tillmesh.storage.database import Database
from tillmesh.storage.requests import IdempotencyKey
from tillmesh.storage.statements import Transaction


class PhoneServicer:
    """tillmesh.api.payment.v1.PhoneService."""

    def __init__(self, database: Database, clock: Clock, vault: Vault, mesh: str) -> None:
        self._database = database
        self._clock = clock
        self._vault = vault
        self._mesh = mesh

    async def BindPhone(self, request: api.BindPhoneRequest) -> phone_pb2.Phone:
        """Binds a phone to an identity; its key is derived again whenever the request is repeated."""
        self._vault.require()
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.identifier("phone_id", request.phone_id)
        fields.check()
        now_ms = self._clock.now_ms()
        phone_uri, identity_id = self._uri_of(request.phone_id), request.identity_id
        phone = await run_once(
            self._database,
            IdempotencyKey.of(request, request.request_id, now_ms),
            phone_uri,
            effect=lambda transaction: operations.bind_phone(
                transaction,
                request_id=request.request_id,
                identity_id=identity_id,
                phone_uri=phone_uri,
                now_ms=now_ms,
            ),
            read=lambda transaction: operations.get_phone(transaction, phone_uri=phone_uri, identity_id=identity_id),
        )
        answer = messages.to_phone(phone)
        answer.pay_code_key.CopyFrom(messages.to_key(phone, self._vault))
        return answer

    async def ListPhones(self, request: api.ListPhonesRequest) -> api.ListPhonesResponse:
        """Lists an identity's phones by id."""
        identity_id = request.identity_id
        require_payer(identity_id)
        filters = ["ListPhones", identity_id]
        page = Page[Phone](self._database.seal, request.page_size, request.page_token, filters)
        after = page.after[0] if page.after else ""
        rows = await self._database.run(
            lambda transaction: queries.list_phones(transaction, identity_id, after, page.at_most)
        )
        shown, token = page.cut(rows, lambda phone: [phone.phone_uri], messages.to_phone)
        return api.ListPhonesResponse(phones=shown, next_page_token=token)

    async def UnbindPhone(self, request: api.UnbindPhoneRequest) -> api.UnbindPhoneResponse:
        """Ends what a phone may do."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.identifier("phone_id", request.phone_id)
        fields.check()
        phone_uri = self._uri_of(request.phone_id)
        key = IdempotencyKey.of(request, request.request_id, self._clock.now_ms())

        def unbind(transaction: Transaction) -> None:
            if REQUESTS.claim(transaction, key, phone_uri):
                operations.unbind_phone(transaction, phone_uri=phone_uri)

        await REQUESTS.run(self._database, key, unbind)
        return api.UnbindPhoneResponse()

    def _uri_of(self, phone_id: str) -> str:
        return f"spiffe://{self._mesh}/{Role.PHONE}/{phone_id}"
