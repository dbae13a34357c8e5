"""An adapter that is registered while a worker runs is served by it, and gone when it is deleted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.stack.adapters.test_static_adapters import PROMPT, first_token, model_names, reference_logprob
from tests.stack.conftest import OwnedStack
from tests.stack.records import settled_usage
from tests.stacks import wait_until
from tests.tuned import save_adapter

NAME = "ft:tiny:demo:late:1"


@pytest.fixture
def client(ready_stack: OwnedStack) -> Iterator[httpx.Client]:
    with ready_stack.client() as client:
        yield client


@pytest.mark.criterion("1.5")
def test_an_adapter_is_served_by_a_worker_that_was_started_without_it(
    ready_stack: OwnedStack, client: httpx.Client, tiny_model: Path, tmp_path: Path
) -> None:
    stack, folder = ready_stack, save_adapter(tiny_model, tmp_path / "adapter", seed=3)
    base = first_token(client, "tiny")["choices"][0]["logprobs"]["token_logprobs"][0]
    add = ("adapters", "add", NAME, str(folder), "--base", "tiny", "--tenant", "demo")
    row = json.loads(stack.manage(*add, "--base-folder", str(tiny_model), "--json"))
    wait_until(lambda: NAME in model_names(client), "the adapter is listed")
    assert client.get(f"/v1/models/{NAME}").json()["root"] == "tiny"

    document = first_token(client, NAME)
    assert document["model"] == NAME
    (logprob,) = document["choices"][0]["logprobs"]["token_logprobs"]
    assert logprob == pytest.approx(reference_logprob(tiny_model, folder), abs=1e-3)
    assert abs(logprob - base) > 0.01
    assert settled_usage(stack, "req_" + document["id"].removeprefix("cmpl-"))["model"] == NAME
    assert stack.state_dir.joinpath("files/artifacts", row["sha256"]).stat().st_size == row["size_bytes"]

    chat = {"model": NAME, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 4}
    with client.stream("POST", "/v1/chat/completions", json={**chat, "stream": True}) as response:
        events = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: {")]
    assert {event["model"] for event in events} == {NAME}

    stack.manage("adapters", "delete", NAME)
    wait_until(lambda: NAME not in model_names(client), "the adapter is not listed any more")
    answer = client.post("/v1/chat/completions", json=chat)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert not stack.state_dir.joinpath("files/artifacts", row["sha256"]).exists()
    cache = stack.state_dir / "adapters" / row["sha256"]
    wait_until(lambda: not cache.exists(), "the worker has deleted its copy")
