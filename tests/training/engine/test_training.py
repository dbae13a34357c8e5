"""Training on conversations: adapters and whole models that have learned, in the form that others load."""

from __future__ import annotations

import json
import math
from pathlib import Path

import msgspec
import pytest

from tests.training.engine.runs import Outcome, make_spec, run_here
from training.datasets.report import RunFigures
from training.datasets.tokens.preparation import check_dataset
from training.datasets.tokens.sample_lines import unpack_differences
from training.datasets.tokens.tokenizer import load_tokenizer
from training.engine import events
from training.engine.checkpoints.manifest import verify_folder
from training.engine.scoring import score
from training.engine.spec import ScoringSpec, TokenSequence, TrainingOptions
from training.requests.memory_estimates import TrainingDevice, with_memory

ADAPTERS = ("lora", "dora", "full")


def _trained(folder: Path, model: Path, adapter: str) -> Outcome:
    rate = 1e-3 if adapter == "full" else 1e-2
    spec = make_spec(
        folder,
        model,
        epochs=3,
        learning_rate=rate,
        options={"adapter": adapter, "checkpoint_steps": 4, "target_modules": ["all-linear"]},
    )
    return run_here(spec)


@pytest.fixture(scope="module", params=ADAPTERS)
def training_run(
    request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Outcome]:
    return request.param, _trained(tmp_path_factory.mktemp(request.param), tiny_model, request.param)


@pytest.mark.criterion("2.2", "2.9")
def test_the_loss_falls_and_the_result_is_better_than_the_base(training_run: tuple[str, Outcome]) -> None:
    _, outcome = training_run
    losses = list(outcome.losses.values())
    last_event = outcome.one(events.Finished)

    assert len(losses) == 9
    assert losses[-1] < losses[0] - 0.2
    assert last_event.base.step == 0
    assert last_event.evaluated_on == "training"
    assert not outcome.of(events.Evaluation), "a loss on training examples is reported as a validation loss"
    assert last_event.result.loss < last_event.base.loss - 0.2
    assert last_event.result.perplexity == pytest.approx(math.exp(last_event.result.loss))
    assert last_event.base.loss == pytest.approx(math.log(49_152), abs=0.5)  # random weights


def test_the_memory_that_a_run_plans_with_is_the_estimate_for_its_device(
    training_run: tuple[str, Outcome], tiny_model: Path
) -> None:
    adapter, outcome = training_run
    choices = {choice.subject: choice for choice in outcome.of(events.Choice)}
    figures = choices["gradient_checkpointing"].figures
    device = TrainingDevice(bool(figures["is_cpu"]), figures["available_bytes"], choices["precision"].value)
    options = msgspec.convert({"adapter": adapter, "target_modules": ["all-linear"]}, TrainingOptions)
    path = Path(outcome.one(events.Finished).result_dir).parents[1] / "training.jsonl"
    report = check_dataset(path, load_tokenizer(tiny_model), run=RunFigures(epochs=3, batch_size=4))
    estimate = with_memory(report, options, tiny_model, device).estimate
    assert estimate is not None
    assert estimate.memory_bytes == figures["peak_bytes"] > 0


@pytest.mark.criterion("2.2", "5.9")
def test_progress_tells_rates_memory_and_the_time_left(training_run: tuple[str, Outcome]) -> None:
    _, outcome = training_run
    preparation, progress = outcome.one(events.Prepared), outcome.of(events.Progress)

    assert [event.step for event in progress] == list(range(1, 10))
    assert progress[-1].epoch == 3
    assert unpack_differences(preparation.sample_lines).tolist() == [1] * preparation.examples
    assert progress[-1].trained_tokens == 3 * preparation.trained_tokens
    assert progress[-1].eta_s == 0
    assert progress[-1].learning_rate == pytest.approx(progress[0].learning_rate / 9)
    for event in progress:
        assert event.samples_per_s * event.elapsed_s == pytest.approx(event.epoch * preparation.examples)
    assert progress[-1].tokens_per_s * progress[-1].elapsed_s == pytest.approx(3 * preparation.tokens)
    assert all(event.memory_bytes > 100 << 20 and event.eta_s >= 0 for event in progress)
    assert progress[3].eta_s == pytest.approx(progress[3].elapsed_s / 4 * 5)


@pytest.mark.criterion("2.9")
def test_the_result_is_complete_and_differs_from_the_base(
    training_run: tuple[str, Outcome], tiny_model: Path
) -> None:
    kind, outcome = training_run
    last_event = outcome.one(events.Finished)
    result = Path(last_event.result_dir)
    manifest = verify_folder(result)
    prompt = last_event.probe_prompts[0]
    sequence = TokenSequence(prompt=prompt, completion=(504, 3575, 2))

    scores = score(
        ScoringSpec(base_model=str(tiny_model), adapter_dir=str(result), sequences=(sequence,), threads=1)
    )

    assert len(scores.base[0]) == len(scores.adapter[0]) == 3
    assert all(math.isfinite(value) and value < 0 for value in scores.base[0] + scores.adapter[0])
    assert max(abs(a - b) for a, b in zip(scores.base[0], scores.adapter[0], strict=True)) > 0.05
    if kind == "full":
        assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(manifest.files)
        return
    config = json.loads((result / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["use_dora"]) == (8, 16, kind == "dora")
    assert str(tiny_model) not in (result / "adapter_config.json").read_text()


def test_probes_end_where_the_last_answer_begins(training_run: tuple[str, Outcome], tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    prompts = training_run[1].one(events.Finished).probe_prompts

    assert len(prompts) == 8
    for number, prompt in enumerate(prompts):
        text = tokenizer.decode(prompt)
        assert f"Question {number}:" in text
        assert text.endswith("<|im_start|>assistant\n")


@pytest.mark.criterion("2.4")
@pytest.mark.parametrize("kind", ADAPTERS)
def test_each_kind_of_training_resumes_from_its_checkpoint(
    kind: str, tiny_model: Path, tmp_path: Path
) -> None:
    from training.engine.control import ManualControl
    from training.engine.events import Stop

    control = ManualControl()

    def stop(event: events.TrainerEvent) -> None:
        if isinstance(event, events.Progress) and event.step == 3:
            control.request_stop(Stop(is_saved=True))

    whole = run_here(make_spec(tmp_path / "whole", tiny_model, options={"adapter": kind}))
    spec = make_spec(tmp_path / "parts", tiny_model, options={"adapter": kind})
    stopped_run = run_here(spec, stop, control)
    rest = run_here(spec)

    assert stopped_run.one(events.Stopped).checkpoint_step == stopped_run.one(events.Stopped).step == 4
    assert not stopped_run.of(events.Finished)
    assert rest.one(events.Prepared).start_step == 4
    assert stopped_run.losses | rest.losses == whole.losses
    assert rest.one(events.Finished).result == whole.one(events.Finished).result
