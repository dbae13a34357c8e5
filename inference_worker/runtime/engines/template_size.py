"""Size of the chat template in tokens, which gateways add to their bound of a prompt."""

from __future__ import annotations

import json

from inference_worker.protocol.messages import Operation
from inference_worker.runtime.calls.asgi_call import call_engine
from inference_worker.runtime.calls.engine import AsgiApplication


async def template_tokens(app: AsgiApplication, model: str) -> int | None:
    """Return the tokens of a conversation with one short message; None if the engine can't count them."""
    body = {"model": model, "messages": [{"role": "user", "content": "1"}]}
    status, response = await call_engine(app, Operation.TOKENIZE, body, "template-size")
    count = json.loads(response).get("count") if status == 200 else None
    return count if isinstance(count, int) else None
