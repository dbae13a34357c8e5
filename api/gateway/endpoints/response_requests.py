"""Requests for responses as the endpoints prepare them: with the stored items that they refer to."""

from __future__ import annotations

from dataclasses import dataclass, replace

from typing_extensions import override

from api.gateway.stages.admission.pipeline import PreparedRequest
from api.gateway.state.stored_responses import History, ResponseStore
from api.openai.errors.base import ApiError
from api.openai.responses.response_plan import ResponsePlan
from api.openai.validation.engine_request import EngineRequest


@dataclass(frozen=True, slots=True)
class PreparedResponseRequest(PreparedRequest):
    """A validated request for a response, with the request for an engine that serves it."""

    plan: ResponsePlan
    engine_request: EngineRequest
    history_bytes: int

    @override
    def translate_error(self, error: ApiError) -> ApiError:
        return self.plan.translate_error(error)


async def stored_conversation(
    store: ResponseStore, plan: ResponsePlan, tenant_id: str
) -> tuple[ResponsePlan, History]:
    """Return the plan with the stored items that it refers to, and the conversation that it continues.

    The size of the conversation includes that of the items. Raises ApiError.
    """
    history = History()
    if plan.previous_response_id is not None:
        history = await store.history(plan.previous_response_id, tenant_id)
    plan, items_bytes = await store.with_items(plan, tenant_id)
    return plan, replace(history, size_bytes=history.size_bytes + items_bytes)
