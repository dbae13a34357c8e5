"""DPO: the loss by its formula, from ln 2 downwards, and references that outlive an attempt."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.training.engine.runs import AttemptServer, Outcome, adapter_bytes, make_spec, run_here
from training.datasets.tokens.preparation import prepare
from training.datasets.tokens.tokenizer import load_tokenizer
from training.engine import events
from training.engine.objectives import preference
from training.engine.objectives.batching import Batching
from training.engine.objectives.dataset import CachedPairs
from training.engine.objectives.preference import Pair, read_references
from training.engine.spec import TrainingSpec

BETA = 0.5


def _write_pairs(path: Path, count: int) -> None:
    with path.open("w") as file:
        for number in range(count):
            question = f"Question {number}: " + "why " * (3, 9, 20)[number % 3]
            pair = {
                "input": {"messages": [{"role": "user", "content": question}]},
                "preferred_output": [{"role": "assistant", "content": "zebra " * (1 + number % 4)}],
                "non_preferred_output": [{"role": "assistant", "content": "stone " * (1 + number % 3)}],
            }
            file.write(json.dumps(pair) + "\n")


def _spec(folder: Path, model: Path, **changes: Any) -> TrainingSpec:
    folder.mkdir(parents=True, exist_ok=True)
    _write_pairs(folder / "training.jsonl", 12)
    settings = {"method": "dpo", "dpo_beta": BETA, "learning_rate": 1e-2}
    return make_spec(folder, model, **{**settings, **changes})


def _losses(outcome: Outcome) -> list[float]:
    return list(outcome.losses.values())


@pytest.mark.parametrize("packing", ["on", "off"])
def test_the_loss_starts_at_ln_2_and_falls_while_preferred_answers_gain(
    packing: str, tiny_model: Path, tmp_path: Path
) -> None:
    outcome = run_here(_spec(tmp_path, tiny_model, epochs=4, options={"packing": packing}))
    progress = outcome.of(events.Progress)
    last_event = outcome.one(events.Finished)

    assert progress[0].loss == pytest.approx(math.log(2), abs=1e-5)
    assert last_event.base.loss == pytest.approx(math.log(2), abs=1e-5)
    assert last_event.result.loss < 0.6
    assert last_event.result.reward_accuracy == 1.0
    assert (last_event.result.reward_margin or 0) > 0.2
    assert progress[-1].reward_accuracy is not None
    assert (progress[-1].reward_margin or 0) > (progress[0].reward_margin or 0)
    assert last_event.trained_tokens == 4 * outcome.one(events.Prepared).trained_tokens


def test_packed_and_padded_pairs_have_the_same_loss_curve(tiny_model: Path, tmp_path: Path) -> None:
    def run(packing: str) -> list[float]:
        return _losses(run_here(_spec(tmp_path / packing, tiny_model, options={"packing": packing})))

    packed_run = run("on")

    assert len(packed_run) == 6
    assert packed_run == pytest.approx(run("off"), abs=1e-4)


def _log_prob(model: Any, pair: Pair) -> tuple[float, float]:
    sums = []
    for example in (pair.chosen, pair.rejected):
        ids = torch.from_numpy(example.token_ids.astype("int64"))
        with torch.no_grad():
            log_probs = model(input_ids=ids[None]).logits[0, :-1].log_softmax(-1)
        trained_values = torch.from_numpy(example.is_trained[1:].copy())
        sums.append(float(log_probs.gather(1, ids[1:, None])[:, 0][trained_values].sum()))
    return sums[0], sums[1]


def test_loss_and_margin_of_the_result_are_those_of_the_formula(tiny_model: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    spec = _spec(tmp_path, tiny_model)
    result = run_here(spec).one(events.Finished)
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    cache = prepare(
        Path(spec.training_file),
        tmp_path / "cache",
        load_tokenizer(tiny_model),
        method="dpo",
        max_length=None,
    )
    pairs = CachedPairs(cache)
    references = [_log_prob(base, pairs[index]) for index in range(len(pairs))]
    trained_values = PeftModel.from_pretrained(base, result.result_dir)
    policies = [_log_prob(trained_values, pairs[index]) for index in range(len(pairs))]
    margins = [
        BETA * ((policy[0] - reference[0]) - (policy[1] - reference[1]))
        for policy, reference in zip(policies, references, strict=True)
    ]

    assert result.result.reward_margin == pytest.approx(sum(margins) / len(margins), abs=1e-4)
    losses = [math.log1p(math.exp(-margin)) for margin in margins]
    assert result.result.loss == pytest.approx(sum(losses) / len(losses), abs=1e-4)


@pytest.mark.parametrize("adapter", ["dora", "full"])
def test_other_adapters_start_at_ln_2_and_fall(adapter: str, tiny_model: Path, tmp_path: Path) -> None:
    losses = _losses(run_here(_spec(tmp_path, tiny_model, epochs=3, options={"adapter": adapter})))

    assert losses[0] == pytest.approx(math.log(2), abs=1e-4)
    assert losses[-1] < 0.68


@pytest.mark.case("training.5")
@pytest.mark.criterion("2.4")
@pytest.mark.parametrize("damage", ["none", "lost", "truncated"])
def test_a_killed_run_is_resumed_bit_for_bit(
    damage: str, attempts: AttemptServer, tiny_model: Path, tmp_path: Path
) -> None:
    options = {"checkpoint_steps": 1}
    expected = _spec(tmp_path / "whole", tiny_model, options=options)
    run_here(expected)
    spec = _spec(tmp_path / "killed", tiny_model, options=options)

    assert attempts.run(spec, kill_at_event=10).status < 0
    (references,) = (tmp_path / "killed" / "work" / "references").glob("*.npy")
    if damage == "lost":
        references.unlink()
    elif damage == "truncated":
        references.write_bytes(references.read_bytes()[:-9])
    end = attempts.run(spec)

    assert end.outcome.one(events.Prepared).start_step > 0
    assert end.outcome.one(events.Finished).reason == "completed"
    results = [tmp_path / name / "work" / "result" for name in ("whole", "killed")]
    assert adapter_bytes(results[0]) == adapter_bytes(results[1])


@pytest.mark.criterion("2.3")
def test_references_are_computed_pair_by_pair_where_more_do_not_fit_in_memory(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _losses(run_here(_spec(tmp_path / "enough", tiny_model)))
    compute_scores, sizes = preference._scores, []

    def scores(model: Any, pairs: Sequence[Pair], batching: Batching) -> Any:
        sizes.append(len(pairs))
        if len(pairs) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64.00 MiB.")
        return compute_scores(model, pairs, batching)

    monkeypatch.setattr(preference, "_scores", scores)

    assert _losses(run_here(_spec(tmp_path / "little", tiny_model))) == pytest.approx(expected, abs=1e-4)
    assert sizes[0] > 1, "memory ran out with the first group of references"


def test_references_of_other_data_are_not_read(tmp_path: Path) -> None:
    import numpy as np

    path = tmp_path / "references.npy"
    np.save(path, np.zeros((3, 2), np.float32))

    assert read_references(path, 3) is not None
    assert read_references(path, 4) is None
    np.save(path, np.full((3, 2), np.nan, np.float32))
    assert read_references(path, 3) is None
    assert read_references(tmp_path / "missing.npy", 3) is None
