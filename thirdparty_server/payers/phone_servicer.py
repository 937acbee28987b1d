"""Payers' phones, as the platform binds them: protobuf to model and back, nothing else."""

from dataclasses import dataclass

from thirdparty_server.payers import messages, operations, queries
from thirdparty_server.payers.vault import Vault
from tillmesh.api.payment.v1 import phone_pb2
from tillmesh.api.payment.v1 import phone_service_pb2 as api
from tillmesh.auth.callers import Role, require_payer
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.servicer import Servicer


@dataclass(frozen=True)
class PhoneServicer(Servicer):
    """tillmesh.api.payment.v1.PhoneService."""

    vault: Vault
    mesh: str

    async def BindPhone(self, request: api.BindPhoneRequest) -> phone_pb2.Phone:
        """Binds a phone to an identity; its key is derived again whenever the request is repeated."""
        self.vault.require()
        phone_uri = self._checked_uri(request)
        phone = await self._once(
            request,
            request.request_id,
            phone_uri,
            lambda transaction, uri: operations.get_phone(transaction, uri, request.identity_id),
            operations.bind_phone,
            request.request_id,
            request.identity_id,
            phone_uri,
            self.clock.now_ms(),
        )
        answer = messages.to_phone(phone)
        answer.pay_code_key.CopyFrom(messages.to_key(phone, self.vault))
        return answer

    async def ListPhones(self, request: api.ListPhonesRequest) -> api.ListPhonesResponse:
        """Lists an identity's phones by id."""
        require_payer(request.identity_id)
        shown, token = await self._listed(
            request, queries.list_phones, lambda phone: (phone.phone_uri,), messages.to_phone, request.identity_id
        )
        return api.ListPhonesResponse(phones=shown, next_page_token=token)

    async def UnbindPhone(self, request: api.UnbindPhoneRequest) -> api.UnbindPhoneResponse:
        """Ends what a phone may do."""
        phone_uri = self._checked_uri(request)
        await self._once(request, request.request_id, phone_uri, lambda *_: None, operations.unbind_phone, phone_uri)
        return api.UnbindPhoneResponse()

    def _checked_uri(self, request: api.BindPhoneRequest | api.UnbindPhoneRequest) -> str:
        """The URI of the phone that a request names."""
        with Fields() as fields:
            fields.identifier("request_id", request.request_id)
            fields.identifier("phone_id", request.phone_id)
        return f"spiffe://{self.mesh}/{Role.PHONE}/{request.phone_id}"
