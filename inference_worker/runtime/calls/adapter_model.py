"""The body of a request for the engine, which knows an adapter by a name of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from inference_worker.protocol.messages import TOKENIZER_OPERATIONS, Submit
from inference_worker.runtime.calls.engine import Engine

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


@asynccontextmanager
async def engine_body(engine: Engine, submit: Submit) -> AsyncIterator[bytes]:
    """Return the body with the engine's name of the model. Its adapter stays loaded until the context ends.

    Raises AdapterUnavailableError.
    """
    if submit.adapter is None:
        yield submit.body
    elif submit.operation in TOKENIZER_OPERATIONS:  # adapters change neither tokenizer nor chat template
        yield _with_model(submit.body, submit.adapter.base_model)
    else:
        async with engine.adapter_model(submit.adapter, submit.budget_s) as model:
            yield _with_model(submit.body, model)


def _with_model(body: bytes, model: str) -> bytes:
    fields = _fields.decode(body)
    return msgspec.json.encode({**fields, "model": msgspec.Raw(msgspec.json.encode(model))})
