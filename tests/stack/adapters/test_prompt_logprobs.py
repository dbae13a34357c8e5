"""Log-probabilities of prompts on an engine with adapters: exact, and no batch of them ends the engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from inference_worker.client.interface import Call
from inference_worker.protocol.messages import AdapterRef
from tests.stack.adapters.conftest import AdapterWorker
from tests.stack.adapters.test_many_adapters import at_once, call_for
from tests.tuned import save_adapter


@dataclass
class Served:
    """A model of the worker; without an adapter, its base model."""

    ref: AdapterRef | None
    folder: Path | None


@pytest.fixture(scope="module")
def served_models(
    adapter_worker: AdapterWorker, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[Served]:
    """The base model, and as many adapters as the worker keeps; the last changes the output layer too."""
    folder = tmp_path_factory.mktemp("prompts")
    modules = (["q_proj", "v_proj"], ["gate_proj", "down_proj"], ["q_proj", "lm_head"])
    models = [Served(None, None)]
    for seed, target_modules in enumerate(modules, 70):
        path = save_adapter(tiny_model, folder / str(seed), seed=seed, target_modules=target_modules)
        models.append(Served(adapter_worker.publish(path, f"ft:tiny:acme::{seed}"), path))
    return models


def prompt_of(length: int, start: int) -> list[int]:
    return [(start * 131 + 7 * position) % 4000 + 300 for position in range(length)]


def echo_call(ref: AdapterRef | None, prompt: Sequence[int]) -> Call:
    call = call_for(ref, prompt)
    body = {**json.loads(call.body), "echo": True, "max_tokens": 2}
    return replace(call, body=json.dumps(body).encode())


def prompt_logprobs(model: Path, adapter: Path | None, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
    """Compute the log-probs of all tokens but the first with transformers and peft."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    if adapter is not None:
        network = PeftModel.from_pretrained(network, adapter)
    result = []
    for prompt in prompts:
        ids = torch.tensor([list(prompt)])
        with torch.no_grad():
            scores = torch.log_softmax(network(ids).logits[0, :-1], -1)
        result.append(scores.gather(1, ids[0, 1:, None])[:, 0].tolist())
    return result


@pytest.mark.criterion("2.9")
@pytest.mark.case("training.21")
def test_prompts_are_scored_in_batches_of_all_models_and_plain_requests_go_on(
    adapter_worker: AdapterWorker, tiny_model: Path, served_models: Sequence[Served]
) -> None:
    # As long as the batch has sequences, shorter, and longer.
    prompts = [prompt_of(length, number) for number, length in enumerate((2, 3, 9, 16, 17, 40, 200))]
    expected = {
        index: prompt_logprobs(tiny_model, model.folder, prompts) for index, model in enumerate(served_models)
    }
    order = [(index, number) for number in range(len(prompts)) for index in range(len(served_models))]
    calls = [echo_call(served_models[index].ref, prompts[number]) for index, number in order]
    plain = [call_for(model.ref) for model in served_models]
    alone = [asyncio.run(at_once(adapter_worker, [call]))[0] for call in plain]
    for _ in range(2):
        adapter_calls = [call_for(model.ref) for model in served_models]
        ends = asyncio.run(at_once(adapter_worker, [*adapter_calls[:2], *calls, *adapter_calls[2:]]))
        for (index, number), end in zip(order, ends[2:-2], strict=True):
            (choice,) = json.loads(end.data)["choices"]
            scores = choice["logprobs"]["token_logprobs"][: len(prompts[number])]
            assert scores[0] is None
            assert scores[1:] == pytest.approx(expected[index][number], abs=1e-3), (index, number)
        for end, before in zip([*ends[:2], *ends[-2:]], alone, strict=True):
            assert token_ids(end.data) == token_ids(before.data)
        calls = [replace(call, request_id=call.request_id + "-again") for call in calls]
    assert adapter_worker.is_ready()


def token_ids(data: bytes) -> list[int]:
    (choice,) = json.loads(data)["choices"]
    ids: list[int] = choice["token_ids"]
    return ids
