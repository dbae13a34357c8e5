"""Chats and completions by vLLM's own handlers, without the HTTP application around them.

For a short request, that application's routing, middleware, dependency injection and tasks that watch for a
disconnect take more processor time than the handler (docs/decisions/0010-direct-calls.md).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse

from inference_worker.protocol.messages import Operation
from inference_worker.protocol.operations import OPERATION_SPECS
from inference_worker.runtime.calls.engine import AsgiApplication, Message, Receive, Send
from inference_worker.runtime.calls.engine_call import current_call

CreateResponse = Callable[[Any, Any], Awaitable[Any]]


class DirectHandlers:
    """An ASGI application for requests of vLLM's application ``app``, with the same responses.

    Other operations than generations are passed on to ``app``.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._routes = _routes(app.state)
        # As in FastAPI's own stack, exceptions without another handler are raised rather than answered.
        handlers = {
            key: value for key, value in app.exception_handlers.items() if key not in (500, Exception)
        }
        self._handled_generate: AsgiApplication = ExceptionMiddleware(self._generate, handlers)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["path"] not in self._routes:
            await self._app(scope, receive, send)
            return
        if (call := current_call.get()) is not None:
            # A handler reads no disconnect; it ends when it is cancelled.
            call.abort_grace_s = 0.0
        await self._handled_generate({**scope, "app": self._app}, receive, send)

    async def _generate(self, scope: Message, receive: Receive, send: Send) -> None:
        schema, create = self._routes[scope["path"]]
        raw_request = Request(scope, receive)
        result = await create(_validated(schema, await raw_request.json()), raw_request)
        if isinstance(result, AsyncGenerator):
            await _stream(result, send)
            return
        error = getattr(result, "error", None)  # of vLLM's ErrorResponse
        await JSONResponse(result.model_dump(), error.code if error else 200)(scope, receive, send)


def _routes(state: Any) -> Mapping[str, tuple[Any, CreateResponse]]:
    """Return the schema and the handler of each generation by path; empty if the model generates nothing."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.entrypoints.openai.completion.protocol import CompletionRequest

    chats = getattr(state, "openai_serving_chat", None)
    completions = getattr(state, "openai_serving_completion", None)
    routes: dict[str, tuple[Any, CreateResponse]] = {}
    if chats is not None:
        path = OPERATION_SPECS[Operation.CHAT_COMPLETIONS].path
        routes[path] = (ChatCompletionRequest, chats.create_chat_completion)
    if completions is not None:
        path = OPERATION_SPECS[Operation.COMPLETIONS].path
        routes[path] = (CompletionRequest, completions.create_completion)
    return routes


def _validated(schema: Any, body: Any) -> Any:
    """Return the request. Raises FastAPI's RequestValidationError, as its route does."""
    try:
        return schema.model_validate(body)
    except ValidationError as error:
        errors = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors(include_url=False)]
        raise RequestValidationError(errors, body=body) from None


async def _stream(events: AsyncGenerator[str, None], send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    async with aclosing(events):
        async for event in events:
            await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
