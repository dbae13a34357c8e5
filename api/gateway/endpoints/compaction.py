"""``POST /v1/responses/compact``: replaces a conversation by its messages to the model and a summary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from api.gateway.endpoints.response_requests import PreparedResponseRequest, stored_conversation
from api.gateway.http.disconnect import Receive, cancel_on_disconnect
from api.gateway.http.exchange import Exchange
from api.gateway.http.response_sender import ResponseSender
from api.gateway.stages.admission.pipeline import Admission
from api.gateway.stages.relay.relay import Relay
from api.gateway.state.stored_responses import ResponseStore
from api.gateway.streams.output.document_writer import DocumentWriter
from api.openai.errors.service import EngineError
from api.openai.responses.compaction_items import compacted_items
from api.openai.responses.compaction_plan import PROMPT, validate_compaction_body
from api.openai.responses.response_fields import new_id, response_usage
from api.openai.responses.response_plan import ResponsePlan
from inference_worker.protocol.messages import Operation


@dataclass(frozen=True, slots=True)
class PreparedCompaction(PreparedResponseRequest):
    """The request for a summary, with the stored conversation before its input."""

    history: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class CompactionEndpoint:
    """Compacts conversations. The model itself writes the summary."""

    admission: Admission
    relay: Relay
    store: ResponseStore

    async def compact(self, exchange: Exchange, receive: Receive, sender: ResponseSender) -> None:
        """Serve one request. Raises ApiError, Disconnected."""

        async def prepare(plan: ResponsePlan) -> PreparedCompaction:
            plan, history = await stored_conversation(self.store, plan, exchange.tenant_id)
            added_bytes = history.size_bytes + len(PROMPT.encode())
            return PreparedCompaction(plan, plan.chat(history.items), added_bytes, history.items)

        admitted_call = await self.admission.admit(
            exchange, receive, Operation.CHAT_COMPLETIONS, validate_compaction_body, prepare
        )
        request = admitted_call.request
        items = (*request.history, *request.plan.input[:-1])  # the last item asks for the summary
        writer = _CompactionWriter(sender, items, int(exchange.started_at))
        run = self.relay.run(admitted_call.call, writer, exchange, request.translate_error)
        await cancel_on_disconnect(receive, run)


class _CompactionWriter(DocumentWriter):
    """Sends the compacted conversation once its summary has arrived."""

    def __init__(self, sender: ResponseSender, items: Sequence[Mapping[str, Any]], created_at: int) -> None:
        super().__init__()
        self._sender, self._items, self._created_at = sender, items, created_at

    @override
    async def json(self, body: bytes) -> None:
        try:
            completion = json.loads(body)
            summary = completion["choices"][0]["message"]["content"]
            usage = response_usage(completion["usage"])
        except (ValueError, LookupError, TypeError, AttributeError):
            raise EngineError() from None
        if not (isinstance(summary, str) and summary):
            raise EngineError()  # without a summary, the conversation would be lost
        document = {
            "id": new_id("resp"),
            "object": "response.compaction",
            "created_at": self._created_at,
            "output": compacted_items(self._items, summary),
            "usage": usage,
        }
        await self._sender.json(json.dumps(document).encode())
