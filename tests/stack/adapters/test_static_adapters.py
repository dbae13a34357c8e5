"""LoRA adapters are served as models of their own, to tenants with a grant, while a worker has them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stack.adapters.conftest import BASE, STATIC, AdapterWorker
from tests.stack.conftest import OwnedStack
from tests.stack.records import settled_usage
from tests.stacks import wait_until

UNSERVED = f"ft:{BASE}:demo:gone:2"
ALIAS = "support-bot"
PROMPT = "The quick brown fox"


@pytest.fixture(scope="module")
def adapter_client(stack: OwnedStack, adapter_worker: AdapterWorker) -> Iterator[httpx.Client]:
    """A client of the tenant with the grant, once a worker serves the adapter."""
    del adapter_worker  # it only has to run
    stack.manage("models", "add", BASE)
    for name in (STATIC, UNSERVED):
        stack.manage("models", "add", name, "--visibility", "restricted", "--grant", "demo")
    stack.manage("models", "update", STATIC, "--alias", ALIAS)
    with stack.client() as client:
        wait_until(lambda: STATIC in model_names(client), "the adapter is listed")
        yield client


def model_names(client: httpx.Client) -> set[str]:
    return {model["id"] for model in client.get("/v1/models").json()["data"]}


def first_token(client: httpx.Client, model: str) -> dict[str, Any]:
    body = {"model": model, "prompt": PROMPT, "max_tokens": 1, "temperature": 0, "logprobs": 5}
    answer = client.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def reference_logprob(tiny_model: Path, adapter: Path | None) -> float:
    """Return the log probability of the likeliest next token, by transformers and peft."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    ids = AutoTokenizer.from_pretrained(tiny_model)(PROMPT, return_tensors="pt").input_ids
    with torch.no_grad():
        return float(torch.log_softmax(model(ids).logits[0, -1], -1).max())


@pytest.mark.criterion("1.5")
def test_base_and_adapter_share_an_engine_and_keep_their_weights(
    adapter_client: httpx.Client, adapter_worker: AdapterWorker, tiny_model: Path
) -> None:
    adapter = adapter_worker.static
    for _ in range(2):  # alternately: neither affects the other
        for model, weights in ((BASE, None), (STATIC, adapter)):
            document = first_token(adapter_client, model)
            assert document["model"] == model
            (logprob,) = document["choices"][0]["logprobs"]["token_logprobs"]
            assert logprob == pytest.approx(reference_logprob(tiny_model, weights), abs=1e-3)
    assert abs(reference_logprob(tiny_model, adapter) - reference_logprob(tiny_model, None)) > 0.01


@pytest.mark.criterion("1.5")
def test_a_request_for_an_alias_is_recorded_under_the_adapter(
    stack: OwnedStack, adapter_client: httpx.Client
) -> None:
    body = {"model": ALIAS, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
    answer = adapter_client.post("/v1/chat/completions", json=body, headers={"x-request-id": "by-alias"})
    assert answer.json()["model"] == STATIC
    request_id = "req_" + answer.json()["id"].removeprefix("chatcmpl-")
    assert settled_usage(stack, request_id)["model"] == STATIC


@pytest.mark.criterion("1.5")
@pytest.mark.criterion("1.10")
def test_an_adapter_is_visible_to_its_tenant_while_a_worker_serves_it(
    stack: OwnedStack, adapter_client: httpx.Client
) -> None:
    assert {BASE, STATIC} <= model_names(adapter_client)
    assert UNSERVED not in model_names(adapter_client)
    assert adapter_client.get(f"/v1/models/{STATIC}").json()["id"] == STATIC
    assert adapter_client.get(f"/v1/models/{ALIAS}").json()["id"] == STATIC
    assert adapter_client.get(f"/v1/models/{UNSERVED}").status_code == 404

    stack.manage("tenants", "create", "stranger", "--name", "Stranger")
    key = json.loads(stack.manage("keys", "create", "--tenant", "stranger", "--name", "k", "--json"))
    with httpx.Client(base_url=stack.base_url, headers=stack.headers(key["secret"])) as stranger:
        assert STATIC not in model_names(stranger)
        for name in (STATIC, ALIAS, "ft:no:such:model:0"):
            answers = [
                stranger.get(f"/v1/models/{name}"),
                stranger.post("/v1/completions", json={"model": name, "prompt": "x"}),
            ]
            for answer in answers:
                assert answer.status_code == 404
                assert answer.json()["error"]["code"] == "model_not_found"
                message = answer.json()["error"]["message"]
                assert message.replace(name, "…") == (
                    "The model '…' does not exist or you do not have access to it."
                )
