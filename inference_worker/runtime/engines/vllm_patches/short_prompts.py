"""Short prompts are rendered and tokenized in the event loop.

vLLM hands each prompt to a thread twice, which takes longer than the work itself. Long ones stay there: their
tokenizer would keep other requests waiting.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from inference_worker.runtime.calls.engine_call import current_call

SHORT_BODY_BYTES = 2048  # about 0.3 ms


def render_short_prompts_inline(renderer: Any) -> None:
    """Patch a renderer of vLLM (``BaseRenderer``), unless its prompts may contain media."""
    if renderer.model_config.is_multimodal_model:
        return
    renderer.render_chat_async = _inline_if_short(renderer.render_chat, renderer.render_chat_async)
    renderer.render_cmpl_async = _inline_if_short(renderer.render_cmpl, renderer.render_cmpl_async)


def _inline_if_short(
    render: Callable[..., Any], render_in_thread: Callable[..., Awaitable[Any]]
) -> Callable[..., Awaitable[Any]]:
    async def render_prompts(*args: Any, **kwargs: Any) -> Any:
        call = current_call.get()
        if call is not None and len(call.submit.body) <= SHORT_BODY_BYTES:
            return render(*args, **kwargs)
        return await render_in_thread(*args, **kwargs)

    return render_prompts
