"""``/v1/fine_tuning/jobs``: fine-tuning jobs, their events and their checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from api.gateway.capacity.process_capacity import Capacity
from api.gateway.http.disconnect import Receive
from api.gateway.http.exchange import Exchange
from api.gateway.http.query_parameters import Query
from api.gateway.http.response_sender import ResponseSender
from api.gateway.http.url_table import Endpoint, QueryParameters
from api.gateway.settings import Limits
from api.gateway.stages.body.read import read_request
from api.gateway.stages.models.catalogue import ReadCatalogue
from api.gateway.stages.quota.reserve import Quota
from api.gateway.state.fine_tuning import FineTuningStore, Page
from api.gateway.streams.event_logs.log_readers import STARTING_AFTER, STARTING_AFTER_QUERY, starting_point
from api.gateway.streams.job_events.job_readers import JobEventReaders
from api.openai.errors.parameters import InvalidValue
from api.openai.validation.fine_tuning import validate_fine_tuning_body
from inference_worker.client.interface import EngineClient

MAX_PAGE_SIZE = 100
DEFAULT_PAGE_SIZE, DEFAULT_CHECKPOINT_PAGE_SIZE = 20, 10
METADATA = "metadata"
PAGING = ("after", "limit")


def _page_query(default_size: int) -> QueryParameters:
    return {
        "after": {"type": "string"},
        "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": default_size},
    }


JOBS_QUERY: QueryParameters = {
    **_page_query(DEFAULT_PAGE_SIZE),
    METADATA: {"type": ["object", "null"], "additionalProperties": {"type": "string"}},
}
EVENTS_QUERY: QueryParameters = {
    **_page_query(DEFAULT_PAGE_SIZE),
    "stream": {"type": "boolean"},
    **STARTING_AFTER_QUERY,
}
CHECKPOINTS_QUERY = _page_query(DEFAULT_CHECKPOINT_PAGE_SIZE)


@dataclass(frozen=True, slots=True)
class FineTuningEndpoints:
    """Endpoints of fine-tuning jobs; each tenant finds only its own."""

    store: FineTuningStore
    readers: JobEventReaders
    client: EngineClient
    read_catalogue: ReadCatalogue
    limits: Limits
    capacity: Capacity
    quota: Quota

    async def create(self, exchange: Exchange, receive: Receive, sender: ResponseSender) -> None:
        """``POST``: validate the request against files, model and workers, and queue the job."""
        await self.quota.count(exchange)
        request, _ = await read_request(
            exchange, receive, self.limits, self.capacity, validate_fine_tuning_body
        )
        catalogue, principal = await self.read_catalogue(), exchange.caller
        entry = catalogue.resolve(request.base_model, principal)
        exchange.model = entry.name
        usable_models = [model.name for model in catalogue.visible(principal)]
        request = replace(request, base_model=entry.name)
        job = await self.store.create(
            request, self.client.workers(), usable_models, principal, exchange.correlation_id
        )
        await self._send(job, exchange, sender)

    async def list(self, exchange: Exchange, _: Receive, sender: ResponseSender) -> None:
        """``GET``: a page of the tenant's jobs."""
        page = _page(exchange.query, exchange.query[METADATA])
        await self._send(await self.store.jobs(page, exchange.caller), exchange, sender)

    async def retrieve(self, exchange: Exchange, _: Receive, sender: ResponseSender) -> None:
        """``GET …/{id}``: one job."""
        job = await self.store.find(exchange.path_values["id"], exchange.caller)
        await self._send(job, exchange, sender)

    def action(self, name: str) -> Endpoint:
        """Return the endpoint of ``POST …/{id}/cancel``, ``pause`` or ``resume``."""
        return partial(self._act, name)

    async def _act(self, action: str, exchange: Exchange, _: Receive, sender: ResponseSender) -> None:
        job = await self.store.act(action, exchange.path_values["id"], exchange.caller)
        await self._send(job, exchange, sender)

    async def events(self, exchange: Exchange, receive: Receive, sender: ResponseSender) -> None:
        """``GET …/{id}/events``: a page of events or, with ``stream=true``, all events from any number on."""
        job_id, principal, query = exchange.path_values["id"], exchange.caller, exchange.query
        if query["stream"]:
            for name in PAGING:
                if name in query:
                    reason = f"it can't be combined with 'stream=true'; use '{STARTING_AFTER}'"
                    raise InvalidValue(param=name, reason=reason)
            head = await self.store.tenant_head(job_id, principal)
            exchange.is_streamed = True
            after = starting_point(exchange, head.last_number + 1)
            await self.readers.read(job_id, after, exchange, receive, sender)
            return
        if STARTING_AFTER in query:
            raise InvalidValue(param=STARTING_AFTER, reason="it is only allowed with 'stream=true'")
        page = _page(query)
        await self._send(await self.store.events(job_id, page, principal), exchange, sender)

    async def checkpoints(self, exchange: Exchange, _: Receive, sender: ResponseSender) -> None:
        """``GET …/{id}/checkpoints``: a page of checkpoints."""
        page = _page(exchange.query)
        body = await self.store.checkpoints(exchange.path_values["id"], page, exchange.caller)
        await self._send(body, exchange, sender)

    async def publish(self, exchange: Exchange, _: Receive, sender: ResponseSender) -> None:
        """``POST …/{id}/checkpoints/{checkpoint}/publish``: the job that makes a checkpoint a model."""
        values, principal = exchange.path_values, exchange.caller
        source = await self.store.find(values["id"], principal)
        # The key may use fewer models than its tenant.
        exchange.model = (await self.read_catalogue()).resolve(source["model"], principal).name
        job = await self.store.publish(values["id"], values["checkpoint"], principal, exchange.correlation_id)
        await self._send(job, exchange, sender)

    async def _send(self, value: Mapping[str, Any], exchange: Exchange, sender: ResponseSender) -> None:
        """Send a document, accounted for until the client has received it. Raises Overloaded."""
        body = json.dumps(value).encode()
        with self.capacity.bodies.hold(exchange.tenant_id, len(body)):
            await sender.json(body)


def _page(query: Query, metadata: Mapping[str, str] | None = None) -> Page:
    return Page(query["limit"], query["after"], metadata)
