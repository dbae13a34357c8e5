"""Short prompts are rendered in the event loop, long ones and prompts with media in vLLM's threads."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from inference_worker.protocol.messages import Operation, Submit
from inference_worker.runtime.calls.engine_call import EngineCall, current_call
from inference_worker.runtime.engines.vllm_patches.short_prompts import (
    SHORT_BODY_BYTES,
    render_short_prompts_inline,
)


class Renderer:
    """Stands in for vLLM's BaseRenderer: returns the place and its arguments."""

    def __init__(self, *, is_multimodal: bool = False) -> None:
        self.model_config = SimpleNamespace(is_multimodal_model=is_multimodal)

    def render_chat(self, *arguments: Any, **options: Any) -> Any:
        return "loop", arguments, options

    def render_cmpl(self, *arguments: Any, **options: Any) -> Any:
        return "loop", arguments, options

    async def render_chat_async(self, *arguments: Any, **options: Any) -> Any:
        return "thread", arguments, options

    async def render_cmpl_async(self, *arguments: Any, **options: Any) -> Any:
        return "thread", arguments, options


@pytest.fixture
def body_bytes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make a call with a body of this size the current one."""
    engine: Any = SimpleNamespace(fast_paths={})
    submit = Submit(
        request_id="r",
        attempt=1,
        reply_to="g",
        operation=Operation.CHAT_COMPLETIONS,
        model="m",
        streamed=False,
        body=b" " * request.param,
        correlation_id="c",
        budget_s=1,
    )
    token = current_call.set(EngineCall(submit, engine, lambda _: None))
    yield
    current_call.reset(token)


async def _places(renderer: Any) -> list[Any]:
    render_short_prompts_inline(renderer)
    return [
        await render([1], tok_params=2) for render in (renderer.render_chat_async, renderer.render_cmpl_async)
    ]


@pytest.mark.usefixtures("body_bytes")
@pytest.mark.parametrize(
    ("body_bytes", "place"),
    [(SHORT_BODY_BYTES, "loop"), (SHORT_BODY_BYTES + 1, "thread")],
    indirect=["body_bytes"],
)
async def test_the_size_of_the_body_decides(place: str) -> None:
    assert await _places(Renderer()) == [(place, ([1],), {"tok_params": 2})] * 2


@pytest.mark.usefixtures("body_bytes")
@pytest.mark.parametrize("body_bytes", [10], indirect=True)
async def test_prompts_that_may_contain_media_are_rendered_in_threads() -> None:
    assert await _places(Renderer(is_multimodal=True)) == [("thread", ([1],), {"tok_params": 2})] * 2


async def test_requests_of_the_worker_itself_are_rendered_in_threads() -> None:
    assert await _places(Renderer()) == [("thread", ([1],), {"tok_params": 2})] * 2
