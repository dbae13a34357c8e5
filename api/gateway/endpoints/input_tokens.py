"""``POST /v1/responses/input_tokens``: the tokens of the prompt that a request for a response would have."""

from __future__ import annotations

import json
from dataclasses import dataclass

from typing_extensions import override

from api.gateway.endpoints.response_requests import PreparedResponseRequest, stored_conversation
from api.gateway.http.disconnect import Receive, cancel_on_disconnect
from api.gateway.http.exchange import Exchange
from api.gateway.http.response_sender import ResponseSender
from api.gateway.stages.admission.pipeline import Admission
from api.gateway.stages.relay.relay import Relay
from api.gateway.state.stored_responses import ResponseStore
from api.gateway.streams.output.document_writer import DocumentWriter
from api.openai.errors.base import ApiError
from api.openai.errors.service import EngineError
from api.openai.responses.requests import validate_response_body
from api.openai.responses.response_plan import ResponsePlan
from api.openai.validation.requests import tokenize_request
from inference_worker.protocol.messages import Operation


@dataclass(frozen=True, slots=True)
class InputTokenEndpoint:
    """Counts input tokens with the tokenizer and the chat template of a worker."""

    admission: Admission
    relay: Relay
    store: ResponseStore

    async def count(self, exchange: Exchange, receive: Receive, sender: ResponseSender) -> None:
        """Serve one request. Raises ApiError, Disconnected."""

        async def prepare(plan: ResponsePlan) -> PreparedResponseRequest:
            plan, history = await stored_conversation(self.store, plan, exchange.tenant_id)
            try:
                request = tokenize_request(plan.chat(history.items))
            except ApiError as error:
                raise plan.translate_error(error) from None
            return PreparedResponseRequest(plan, request, history.size_bytes)

        admitted_call = await self.admission.admit(
            exchange, receive, Operation.TOKENIZE, validate_response_body, prepare
        )
        translate_error = admitted_call.request.translate_error
        run = self.relay.run(admitted_call.call, _CountWriter(sender), exchange, translate_error)
        await cancel_on_disconnect(receive, run)


class _CountWriter(DocumentWriter):
    """Sends the number of tokens, without the tokens."""

    def __init__(self, sender: ResponseSender) -> None:
        super().__init__()
        self._sender = sender

    @override
    async def json(self, body: bytes) -> None:
        try:
            count = json.loads(body)["count"]
        except (ValueError, LookupError, TypeError):
            raise EngineError() from None
        document = {"object": "response.input_tokens", "input_tokens": count}
        await self._sender.json(json.dumps(document).encode())
