"""Sizes of the chat template in tokens, which gateways add to their bound of a prompt."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from inference_worker.protocol.messages import Operation
from inference_worker.runtime.calls.asgi_call import call_engine
from inference_worker.runtime.calls.engine import AsgiApplication
from inference_worker.runtime.engines.chat_templates import template_texts


async def template_tokens(app: AsgiApplication, model: str) -> int | None:
    """Return the tokens of a conversation with one short message; None if the engine can't count them."""
    body = {"model": model, "messages": [{"role": "user", "content": "1"}]}
    status, response = await call_engine(app, Operation.TOKENIZE, body, "template-size")
    count = json.loads(response).get("count") if status == 200 else None
    return count if isinstance(count, int) else None


def template_option_tokens(tokenizer: Any, templates: Iterable[str]) -> int | None:
    """Return the tokens of all texts in the templates, which bound what tools and other options add.

    None if the texts are unknown.
    """
    texts = template_texts(templates)
    if texts is None:
        return None
    return sum(len(tokenizer.encode(text, add_special_tokens=False)) for text in texts)
