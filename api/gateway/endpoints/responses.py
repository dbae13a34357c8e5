"""``POST /v1/responses``: a chat with an engine, told as a response; also one that outlives its client."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from api.gateway.endpoints.generate import Generation
from api.gateway.http.answer import Answer
from api.gateway.http.disconnect import Receive, cancel_on_disconnect
from api.gateway.http.exchange import Exchange
from api.gateway.state.stored_responses import History, ResponseStore
from api.gateway.streams.detached import DetachedRequest
from api.gateway.streams.event_log import Kind
from api.gateway.streams.log_writer import LogWriter
from api.gateway.streams.response_events import Keep, LiveResponse, ResponseTranslator, WholeResponse
from api.openai.errors.base import ApiError
from api.openai.errors.parameters import InvalidRequest
from api.openai.responses.assembly import ResponseAssembly
from api.openai.responses.requests import check_response_body
from api.openai.responses.response_fields import new_id
from api.openai.responses.response_request import CheckedResponse
from api.openai.validation.json_body import parse_body
from inference_worker.client.interface import Call
from inference_worker.protocol.messages import Operation

REPEATED = "what the events of a response repeat of its request"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for a response, checked: what the engine is asked, and what is made of its answer."""

    checked: CheckedResponse
    call: Call
    response_id: str
    translator: ResponseTranslator


@contextlib.contextmanager
def _in_terms_of(checked: CheckedResponse) -> Iterator[None]:
    """Errors of the chat that the engine is asked for are told in terms of the response that is wanted."""
    try:
        yield
    except ApiError as error:
        raise checked.renamed(error) from None


@dataclass(frozen=True, slots=True)
class Responses:
    """Makes responses."""

    generation: Generation
    store: ResponseStore

    async def create(self, exchange: Exchange, receive: Receive, answer: Answer) -> None:
        """Answer one request. Raises ApiError, Disconnected."""
        body = await self.generation.body_of(exchange, receive)
        exchange.held.enter_context(self.generation.places.take(exchange.caller))
        checked = check_response_body(parse_body(body))
        exchange.streamed = checked.streamed
        asked = await self._asked(checked, exchange, len(body))
        if checked.background or checked.continues:
            self._check_size(asked)
            await self._outliving(asked, exchange, receive, answer)
        else:
            kind = LiveResponse if checked.streamed else WholeResponse
            live = kind(asked.translator, answer)
            with _in_terms_of(checked):
                await cancel_on_disconnect(receive, self.generation.run(asked.call, live, exchange))

    async def _asked(self, checked: CheckedResponse, exchange: Exchange, body_bytes: int) -> Asked:
        history = History()
        if checked.previous_response_id is not None:
            history = await self.store.history(checked.previous_response_id, exchange.caller)
        chat = checked.chat(history.items)
        size = body_bytes + history.size
        with _in_terms_of(checked):
            call = await self.generation.call(exchange, chat, Operation.CHAT_COMPLETIONS, size)
        response_id = new_id("resp")
        assembly = ResponseAssembly(
            checked,
            response_id=response_id,
            created_at=int(exchange.started_at),
            model=exchange.model or "",
        )
        translator = ResponseTranslator(assembly, self._keeping(checked, exchange))
        return Asked(checked, call, response_id, translator)

    def _keeping(self, checked: CheckedResponse, exchange: Exchange) -> Keep | None:
        """How the response is stored at its end; one in the background has been before."""
        if checked.background:
            return self.store.update
        if checked.stored:
            return lambda body: self.store.create(checked, exchange, body)
        return None

    async def _outliving(self, asked: Asked, exchange: Exchange, receive: Receive, answer: Answer) -> None:
        readers = self.generation.followers.places
        with readers.take(exchange.caller) if asked.checked.streamed else contextlib.nullcontext():
            if asked.checked.background:
                await self._in_background(asked, exchange, receive, answer)
            else:
                sink = await self._begin(asked, exchange)
                await self.generation.followers.first(self._job(asked, sink), receive, answer)

    async def _in_background(
        self, asked: Asked, exchange: Exchange, receive: Receive, answer: Answer
    ) -> None:
        queued = asked.translator.snapshot
        # Before the engine is asked: what nobody could find again is not made.
        await self.store.create(asked.checked, exchange, queued)
        try:
            job = self._job(asked, await self._begin(asked, exchange))
            # Who has the id has a request that is recorded, whatever becomes of this process.
            await asyncio.shield(job.sink.begun)
        except ApiError:
            for delete in (self.store.delete, self.generation.followers.logs.delete):
                # The client is told at once; nobody else knows the id, and the sweep finds what stays.
                with contextlib.suppress(ApiError):
                    await delete(asked.response_id, exchange.caller)
            raise
        if asked.checked.streamed:
            await self.generation.followers.first(job, receive, answer)
        else:
            await answer.json(json.dumps(queued).encode())

    async def _begin(self, asked: Asked, exchange: Exchange) -> LogWriter:
        detached = self.generation.detached
        return await detached.begin(asked.response_id, Kind.RESPONSE, asked.translator, exchange)

    def _check_size(self, asked: Asked) -> None:
        # A log keeps its last event whatever its size, and that holds what is repeated here.
        most = self.generation.limits.stream_log_bytes
        repeated = json.dumps(asked.translator.snapshot, ensure_ascii=False)
        if len(repeated.encode(errors="replace")) > most:
            raise InvalidRequest(reason=f"{REPEATED} has more than {most} bytes, and is not kept")

    def _job(self, asked: Asked, sink: LogWriter) -> DetachedRequest:
        async def work() -> None:
            if asked.checked.background:
                await self.generation.recorder.started(sink.exchange)
                await sink.write(asked.translator.begin())
                # Whether it is seen to be in progress: its end is stored all the same.
                with contextlib.suppress(ApiError):
                    await self.store.update(asked.translator.snapshot)
            with _in_terms_of(asked.checked):
                await self.generation.run(asked.call, sink, sink.exchange)

        return self.generation.detached.run(sink, work)
