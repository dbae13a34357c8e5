"""Many adapters on one engine: each answers as itself, the base model as before, whatever is loaded when."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inference_worker.client.interface import Call, Stream
from inference_worker.client.relay_client import RelayClient
from inference_worker.protocol.messages import AdapterRef, Failed, Finished, Operation
from inference_worker.transport.subscriber import Subscriber
from tests.stack.adapters.conftest import BASE, CAPACITY, AdapterWorker
from tests.stacks import wait_until
from tests.tuned import save_adapter
from training.publishing.engine_session import EngineCallError, Generation, generation_of

COUNT = 8
PROMPT = [1, 504, 3007, 282, 9, 77]


@pytest.fixture(scope="module")
def adapters(
    adapter_worker: AdapterWorker, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[AdapterRef | None, Path | None]]:
    """The base model, and adapters of different ranks and modules."""
    folder = tmp_path_factory.mktemp("many")
    kinds = (
        {"rank": 4},
        {"rank": 8, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]},
        {"rank": 16, "target_modules": ["gate_proj", "up_proj", "down_proj"]},
        {"rank": 8, "use_rslora": True},
    )
    result: list[tuple[AdapterRef | None, Path | None]] = [(None, None)]
    for number in range(COUNT):
        kind = kinds[number % len(kinds)]
        path = save_adapter(tiny_model, folder / str(number), seed=number, **kind)
        rank = int(str(kind["rank"]))
        result.append((adapter_worker.publish(path, f"ft:tiny:acme::{number}", rank=rank), path))
    return result


@pytest.fixture(scope="module")
def expected(
    tiny_model: Path, adapters: Sequence[tuple[AdapterRef | None, Path | None]]
) -> list[tuple[list[int], list[float]]]:
    """Greedy continuations and log-probs by transformers and peft."""
    return [greedy(tiny_model, path) for _, path in adapters]


def greedy(
    model: Path, adapter: Path | None, tokens: int = 8, prompt: Sequence[int] = PROMPT
) -> tuple[list[int], list[float]]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    if adapter is not None:
        network = PeftModel.from_pretrained(network, adapter)
    ids: list[int] = list(prompt)
    logprobs: list[float] = []
    for _ in range(tokens):
        with torch.no_grad():
            scores = torch.log_softmax(network(torch.tensor([ids])).logits[0, -1], -1)
        ids.append(int(scores.argmax()))
        logprobs.append(float(scores.max()))
    return ids[len(prompt) :], logprobs


def assert_equal(generation: Generation, expected: tuple[list[int], list[float]]) -> None:
    assert list(generation.token_ids) == expected[0]
    assert list(generation.logprobs) == pytest.approx(expected[1], abs=1e-3)


@pytest.mark.criterion("3.6")
@pytest.mark.case("training.21")
@pytest.mark.criterion("2.9")
def test_eight_adapters_and_their_base_model_interleave_and_each_answers_as_itself(
    adapter_worker: AdapterWorker,
    adapters: Sequence[tuple[AdapterRef | None, Path | None]],
    expected: Sequence[tuple[list[int], list[float]]],
) -> None:
    order = [number for number in range(len(adapters)) for _ in range(4)]
    random.Random(0).shuffle(order)
    with ThreadPoolExecutor(6) as threads:  # more than the engine keeps
        results = threads.map(lambda n: adapter_worker.generate(adapters[n][0], [PROMPT])[0], order)
        for number, generation in zip(order, results, strict=True):
            assert_equal(generation, expected[number])
    assert len({tuple(tokens) for tokens, _ in expected}) > COUNT / 2
    assert 0 < len(adapter_worker.loaded()) <= CAPACITY


@pytest.mark.criterion("3.6")
@pytest.mark.case("training.21")
def test_the_base_model_in_a_batch_with_adapters_answers_as_itself(
    adapter_worker: AdapterWorker,
    adapters: Sequence[tuple[AdapterRef | None, Path | None]],
    expected: Sequence[tuple[list[int], list[float]]],
) -> None:
    for _, (ref, _) in zip(range(3), adapters[1:], strict=False):
        adapter_worker.generate(ref, [PROMPT])  # loaded, so that none of the batch waits
    order = (0, 1, 2, 3, 0)
    ends = asyncio.run(at_once(adapter_worker, [call_for(adapters[number][0]) for number in order]))
    for number, end in zip(order, ends, strict=True):
        assert_equal(generation_of(end.data), expected[number])


@pytest.mark.case("serving.13")
def test_cached_prefixes_are_not_shared_between_adapters(
    adapter_worker: AdapterWorker,
    adapters: Sequence[tuple[AdapterRef | None, Path | None]],
    tiny_model: Path,
) -> None:
    prompt = [(7 * position) % 4000 + 300 for position in range(300)]
    for round_number in range(2):
        for ref, folder in adapters[:3]:
            (end,) = asyncio.run(at_once(adapter_worker, [call_for(ref, prompt)]))
            assert_equal(generation_of(end.data), greedy(tiny_model, folder, prompt=prompt))
            assert (end.meter.cached_tokens > 0) == (round_number > 0), "each finds its own prefix only"


async def at_once(worker: AdapterWorker, calls: Sequence[Call]) -> list[Finished]:
    """Submit all calls before the first has ended, and return their ends."""
    subscriber = Subscriber(worker.redis_url)
    client = RelayClient(worker.redis_url, subscriber, "batch")
    await subscriber.start()
    await client.start()
    try:
        streams = [await client.submit(call, attempt=1) for call in calls]
        return [await finished(stream) for stream in streams]
    finally:
        await client.stop()
        await subscriber.stop()


def call_for(ref: AdapterRef | None, prompt: Sequence[int] = PROMPT) -> Call:
    """Return a greedy call without a salt for the prefix cache."""
    model = ref.name if ref else BASE
    fields = {"model": model, "prompt": list(prompt), "max_tokens": 8, "temperature": 0, "logprobs": 1}
    return Call(
        request_id=f"req_{uuid.uuid4().hex}",
        correlation_id="c",
        operation=Operation.COMPLETIONS,
        model=model,
        streamed=False,
        body=json.dumps({**fields, "return_token_ids": True, "ignore_eos": True}).encode(),
        budget_s=60,
        cost_tokens=20,
        adapter=ref,
    )


async def finished(stream: Stream) -> Finished:
    try:
        while True:
            for event in await stream.next_events(60):
                assert not isinstance(event, Failed), event
                if isinstance(event, Finished):
                    return event
    finally:
        stream.close()


@pytest.mark.criterion("3.6")
def test_a_deleted_adapter_is_unloaded_and_cannot_be_loaded_again(
    adapter_worker: AdapterWorker, tiny_model: Path, tmp_path: Path
) -> None:
    ref = adapter_worker.publish(save_adapter(tiny_model, tmp_path / "a", seed=50))
    adapter_worker.generate(ref, [PROMPT])
    wait_until(lambda: ref.sha256 in adapter_worker.loaded(), "the heartbeat has the adapter")
    adapter_worker.delete(ref)
    wait_until(lambda: ref.sha256 not in adapter_worker.loaded(), "the adapter is unloaded")
    with pytest.raises(EngineCallError):
        adapter_worker.generate(ref, [PROMPT])


@pytest.mark.criterion("3.6")
def test_an_adapter_deleted_while_it_answers_is_unloaded_after_the_answer(
    adapter_worker: AdapterWorker, tiny_model: Path, tmp_path: Path
) -> None:
    folder = save_adapter(tiny_model, tmp_path / "a", seed=51)
    ref = adapter_worker.publish(folder)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(adapter_worker.generate, ref, [PROMPT], 300)
        wait_until(lambda: ref.sha256 in adapter_worker.loaded(), "the adapter is loaded")
        adapter_worker.delete(ref)
        (generation,) = answer.result(60)
    assert list(generation.token_ids[:8]) == greedy(tiny_model, folder)[0]
    wait_until(lambda: ref.sha256 not in adapter_worker.loaded(), "the adapter is unloaded")


def test_a_damaged_archive_is_refused_and_the_right_one_loaded_later(
    adapter_worker: AdapterWorker, tiny_model: Path, tmp_path: Path
) -> None:
    folder = save_adapter(tiny_model, tmp_path / "a", seed=52)
    ref = adapter_worker.publish(folder)
    archive = adapter_worker.artifacts / ref.sha256
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    with pytest.raises(EngineCallError, match="digest") as excinfo:
        adapter_worker.generate(ref, [PROMPT])
    assert excinfo.value.is_transient, "a verification is tried again"
    adapter_worker.publish(folder)
    (generation,) = adapter_worker.generate(ref, [PROMPT])
    assert list(generation.token_ids) == greedy(tiny_model, folder)[0]
