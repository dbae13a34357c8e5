"""Texts of clients and models appear in no log line and no fact, however the request ends."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import redis

from api.gateway.app import Gateway
from api.gateway.settings import Limits
from inference_worker.protocol.messages import FailureKind
from inference_worker.protocol.names import FACTS_STREAM
from inference_worker.telemetry.log_formatters import JsonFormatter, TextFormatter
from tests.gateway.conftest import SHORT_LIMITS, Keys
from tests.gateway.harness.calls import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, post, start_post
from tests.gateway.harness.records import settled_records
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import (
    Script,
    accepted,
    chat_script,
    delta,
    failed,
    finished,
    raw_delta,
    response_script,
)

pytestmark = pytest.mark.criterion("6.7")

CANARY = "zebra-canary canary.person@mail.example 4111 1111 1111 1111"
TRACES = ("zebra-canary", "canary.person", "4111 1111")
PROMPTS: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": CANARY}], "user": CANARY, "metadata": {"a": CANARY}},
    COMPLETIONS: {"prompt": CANARY, "suffix": CANARY},
    EMBEDDINGS: {"input": [CANARY], "user": CANARY},
    RESPONSES: {"input": CANARY, "instructions": CANARY, "metadata": {"a": CANARY}},
}
SCRIPTS: dict[str, Script] = {
    "an answer": chat_script(),
    "a response": response_script(),
    "text, then a fault": [
        accepted(),
        delta(CANARY),
        failed(FailureKind.ENGINE, detail=CANARY),
    ],
    "a refusal by the engine": [accepted(), failed(FailureKind.REQUEST, status=400, detail=CANARY)],
    "no protocol": [accepted(), raw_delta(CANARY.encode()), finished(CANARY.encode())],
    "nothing": [],
}


@pytest.fixture
def limits() -> Limits:
    """Short timeouts: some of the scripts have no end."""
    return SHORT_LIMITS


@pytest.mark.parametrize("path", PROMPTS)
async def test_no_prompt_or_answer_is_logged_or_recorded(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    redis_client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    path: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    for script in SCRIPTS.values():
        for stream in (False, True):
            client.scripts = [script] * 3
            # Without validation, because an engine that breaks the protocol causes an invalid stream.
            await start_post(gateway, keys.acme, path, **PROMPTS[path], stream=stream).task
    client.submit_error = ValueError(CANARY)
    await post(gateway, keys.acme, path, **PROMPTS[path])
    records = await settled_records(gateway, redis_client)
    assert len(records) > len(SCRIPTS)
    forms = (TextFormatter(), JsonFormatter())
    text = "\n".join(form.format(entry) for entry in caplog.records for form in forms)
    assert text.count("cyllm.request") > len(SCRIPTS)
    text += str(redis_client.xrange(FACTS_STREAM))
    assert [trace for trace in TRACES if trace in text] == []
