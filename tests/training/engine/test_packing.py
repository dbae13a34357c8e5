"""Packs: examples in one row that can't see each other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import MixtralConfig, MixtralForCausalLM, OPTConfig, OPTForCausalLM

from tests.training.engine.runs import Outcome, make_spec, run_here
from tests.training.engine.small_models import SMALL, qwen2
from training.engine import events
from training.engine.checkpoints.plan import PLAN
from training.engine.checkpoints.state import decode_state
from training.engine.loop.lanes import Lanes
from training.engine.models import matrix_products
from training.engine.models.matrix_products import _Library
from training.engine.models.merged_lora import use_merged_forward
from training.engine.models.packed_attention import use_packed_attention
from training.engine.models.shared_prefixes import find_sharing
from training.engine.models.weights import lora_config
from training.engine.objectives.batching import Batching, has_dropout
from training.engine.objectives.packed import (
    PackedSupervised,
    balanced_packs,
    pack,
    packed_hidden_states,
)
from training.engine.objectives.supervised import Example, Objective, Supervised
from training.engine.objectives.token_loss import IGNORED
from training.engine.spec import TrainingOptions

CPU = torch.device("cpu")
LENGTHS = (23, 5, 2, 41, 17, 9)
PREFIX, PREFIXES = 8, ((3, 0, 5), (4, 1))


class _Examples(list[Example]):
    @property
    def lengths(self) -> Sequence[int]:
        return [len(example.token_ids) for example in self]

    @property
    def weights(self) -> Sequence[int]:
        return [int(example.is_trained[1:].sum()) for example in self]


def _examples(vocabulary: int = 64, prefixes: Sequence[tuple[int, ...]] = PREFIXES) -> _Examples:
    """Return examples of which those of a group begin alike, the shorter ones up to their last token."""
    source = np.random.default_rng(5)
    sequences = [source.integers(0, vocabulary, length).astype(np.int32) for length in LENGTHS]
    for first, *others in prefixes:
        for other in others:
            size = min(PREFIX, LENGTHS[other] - 1)
            sequences[other][:size] = sequences[first][:size]
    return _Examples(Example(ids, np.arange(len(ids)) > len(ids) // 2) for ids in sequences)


def _with_lora(model: Any) -> Any:
    from peft import get_peft_model

    torch.manual_seed(1)
    peft_model = get_peft_model(model, lora_config(TrainingOptions(rank=4)))
    for name, parameter in peft_model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return peft_model


def _gradients(model: Any, objective: Objective, groups: Sequence[tuple[int, ...]]) -> list[torch.Tensor]:
    model.zero_grad()
    for group in groups:
        objective.sums(model, group).loss.backward()
    return [item.grad.clone() for item in model.parameters() if item.grad is not None]


@pytest.mark.case("training.18")
@pytest.mark.parametrize(("shares_prefixes", "saved_tokens"), [(False, 0), (True, 2 * PREFIX + 4)])
def test_hidden_states_of_a_pack_are_those_of_its_examples_alone(
    shares_prefixes: bool, saved_tokens: int
) -> None:
    model, examples = qwen2(), _examples()
    with torch.no_grad():
        alone = [
            model.model(input_ids=torch.from_numpy(example.token_ids).long()[None]).last_hidden_state[0]
            for example in examples
        ]
        use_packed_attention(model)
        batch = pack(examples, shares_prefixes=shares_prefixes)
        packed_result, _ = packed_hidden_states(model, batch)

    assert len(batch.token_ids) == sum(batch.lengths) - saved_tokens
    for part, expected in zip(packed_result.split(batch.lengths), alone, strict=True):
        torch.testing.assert_close(part, expected[: len(part)], rtol=1e-5, atol=1e-5)


@pytest.mark.case("training.18")
def test_changing_an_example_leaves_the_bits_of_the_others() -> None:
    model, examples = qwen2(), _examples(prefixes=())
    use_packed_attention(model)
    with torch.no_grad():
        before, _ = packed_hidden_states(model, pack(examples))
        examples[0].token_ids[:] = 1
        after, _ = packed_hidden_states(model, pack(examples))

    size = LENGTHS[0] - 1
    assert torch.equal(before[size:], after[size:])
    assert not torch.equal(before[:size], after[:size])


def test_a_pack_holds_what_each_token_predicts_and_no_token_that_predicts_none() -> None:
    def example(ids: list[int], trained_positions: list[int]) -> Example:
        return Example(np.array(ids, np.int32), np.isin(np.arange(len(ids)), trained_positions))

    batch = pack([example([1, 2, 3, 4], [1, 2]), example([5, 6], []), example([7, 8, 9], [0, 2])])

    assert batch.token_ids.tolist() == [1, 2, 5, 7, 8]
    assert batch.position_ids.tolist() == [0, 1, 0, 0, 1]
    assert batch.targets.tolist() == [2, 3, IGNORED, IGNORED, 9]
    assert batch.lengths == (2, 1, 2)


@pytest.mark.case("training.18")
def test_loss_and_gradients_of_packs_are_those_of_padded_batches() -> None:
    model, examples = _with_lora(qwen2()), _examples()
    indices = range(len(examples))
    padded_result = Supervised(examples, CPU)
    expected = _gradients(model, padded_result, [(index,) for index in indices])
    expected_loss = sum(float(padded_result.sums(model, (index,)).loss.detach()) for index in indices)
    use_packed_attention(model.get_base_model())
    packed_result = PackedSupervised(examples, CPU)
    sums = packed_result.sums(model, tuple(indices))

    assert float(sums.loss.detach()) == pytest.approx(expected_loss, rel=1e-6)
    assert sums.counts.tokens == sum(examples.weights)
    for gradient, reference in zip(_gradients(model, packed_result, [tuple(indices)]), expected, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-4)


def test_the_merged_forward_pass_has_the_gradients_of_the_factored_one() -> None:
    model, examples = _with_lora(qwen2()), _examples()
    use_packed_attention(model.get_base_model())
    objective, groups = PackedSupervised(examples, CPU), [tuple(range(len(examples)))]
    expected = _gradients(model, objective, groups)

    assert use_merged_forward(model) == 4  # query and value projections of two layers

    for gradient, reference in zip(_gradients(model, objective, groups), expected, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-4)
    with model.disable_adapter(), torch.no_grad():
        base_states, _ = packed_hidden_states(model, pack(examples))
        plain = qwen2()
        use_packed_attention(plain)
        torch.testing.assert_close(base_states, packed_hidden_states(plain, pack(examples))[0])


@pytest.mark.parametrize("has_bias", [False, True])
def test_products_by_onednn_are_those_of_torch(has_bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2)
    layer = torch.nn.Linear(24, 40, bias=has_bias).requires_grad_(False)
    x = torch.randn(2, 5, 24, requires_grad=True)
    factors = torch.randn(2, 40, 5).transpose(1, 2)
    expected = layer(x)
    (reference,) = torch.autograd.grad((expected * factors).sum(), x)
    monkeypatch.setattr(matrix_products, "_LIBRARY", _Library(uses_onednn=True))

    assert matrix_products.use_fast_products(torch.nn.Sequential(layer, torch.nn.Linear(40, 2))) == 1

    result = layer(x)
    (gradient,) = torch.autograd.grad((result * factors).sum(), x)
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(gradient, reference)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16


def test_prefixes_are_shared_only_where_they_save_enough() -> None:
    prefix = np.arange(30, dtype=np.int32)
    different = [np.array([first, *range(40)], np.int32) for first in (1, 2)]

    assert find_sharing(different) is None
    assert find_sharing([prefix, prefix[:20], np.append(prefix, 7)]) is not None


@pytest.mark.parametrize(
    ("model", "is_random"),
    [
        (lambda: OPTForCausalLM(OPTConfig(**SMALL, word_embed_proj_dim=32, ffn_dim=48, layerdrop=0.0)), True),
        (lambda: MixtralForCausalLM(MixtralConfig(**SMALL, num_local_experts=2)), False),
        (
            lambda: MixtralForCausalLM(MixtralConfig(**SMALL, num_local_experts=2, router_jitter_noise=0.01)),
            True,
        ),
    ],
)
def test_random_numbers_of_the_models_own_layers_are_found(model: Any, is_random: bool) -> None:
    assert has_dropout(model()) is is_random


@pytest.mark.criterion("2.4")
@pytest.mark.parametrize(("dropout", "lanes"), [(0.0, 2), (0.1, 1)])
def test_a_model_with_dropout_has_one_lane_whose_random_numbers_have_an_order(
    dropout: float, lanes: int, tiny_model: Path, tmp_path: Path
) -> None:
    folder = _changed_copy(tiny_model, tmp_path / "model", attention_dropout=dropout)
    spec = make_spec(tmp_path, folder, epochs=1, options={"packing": "on"})

    assert run_here(spec).of(events.Finished)
    assert decode_state((Path(spec.work_dir) / PLAN).read_bytes()).lanes == lanes


def _changed_copy(tiny_model: Path, folder: Path, **changes: Any) -> Path:
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


@pytest.mark.parametrize("option", [{"dropout": 0.1}, {}])
def test_dropout_keeps_prefixes_apart(option: dict[str, float]) -> None:
    from peft import get_peft_model

    model = get_peft_model(qwen2(), lora_config(TrainingOptions(rank=4, **option)))  # type: ignore[arg-type]

    assert has_dropout(model) is bool(option)


@pytest.mark.criterion("2.4")
def test_lanes_have_the_same_bits_whatever_runs_at_the_same_time() -> None:
    model, examples = _with_lora(qwen2()), _examples()
    use_packed_attention(model.get_base_model())
    use_merged_forward(model)
    objective = PackedSupervised(examples, CPU)
    groups = list(objective.micro_batches(range(len(examples)), 40, 2))
    trained_parameters = [item for item in model.parameters() if item.requires_grad]
    total = sum(examples.weights)
    expected = [gradient / total for gradient in _gradients(model, objective, groups)]

    def run(threads: int) -> list[torch.Tensor]:
        lanes = Lanes(trained_parameters, 2, threads)
        lanes.accumulate(
            groups,
            [sum(LENGTHS[i] for i in group) for group in groups],
            lambda group: objective.sums(model, group),
            total,
        )
        return [item.grad.clone() for item in trained_parameters if item.grad is not None]

    first = run(2)
    assert len(groups) % 2 == 0
    for gradient, reference in zip(first, expected, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-6)
    for threads in (1, 2, 2):
        assert all(torch.equal(a, b) for a, b in zip(first, run(threads), strict=True))


def test_an_error_in_a_lane_is_raised_when_all_lanes_are_done() -> None:
    running: list[int] = []

    def sums(group: tuple[int, ...]) -> Any:
        running.append(group[0])
        raise MemoryError if group[0] == 1 else ValueError

    with pytest.raises((MemoryError, ValueError)):
        Lanes([], 2, 2).accumulate([(0,), (1,)], [1, 1], sums, 1)

    assert sorted(running) == [0, 1]


@pytest.mark.parametrize(("limit", "lanes"), [(64, 1), (64, 2), (10, 2), (1000, 2), (1, 1)])
def test_packs_hold_every_example_once_within_the_limit(limit: int, lanes: int) -> None:
    packs = list(balanced_packs(range(len(LENGTHS)), LENGTHS, limit, lanes))

    assert sorted(index for group in packs for index in group) == list(range(len(LENGTHS)))
    assert all(len(group) == 1 or sum(LENGTHS[index] for index in group) <= limit for group in packs)
    assert len(packs) % lanes == 0 or len(packs) == len(LENGTHS)


# ---- runs ----


def _losses(outcome: Outcome) -> list[float]:
    return list(outcome.losses.values())


@pytest.mark.case("training.18")
def test_packed_and_unpacked_training_have_the_same_loss_curve(tiny_model: Path, tmp_path: Path) -> None:
    def run(name: str, **options: Any) -> Outcome:
        return run_here(make_spec(tmp_path / name, tiny_model, validation=4, options=options))

    packed_result, padded_result = run("packed", packing="on"), run("padded", packing="off")

    assert (packed_result.choice("packing").value, padded_result.choice("packing").value) == ("on", "off")
    assert len(_losses(packed_result)) == 6
    assert _losses(packed_result) == pytest.approx(_losses(padded_result), abs=1e-4)
    evaluations = [event.loss for event in packed_result.of(events.Evaluation)]
    assert evaluations == pytest.approx([e.loss for e in padded_result.of(events.Evaluation)], abs=1e-4)
    assert evaluations[-1] < evaluations[0]


@pytest.mark.parametrize(
    "choices",
    [
        {"adapter": "dora"},
        {"adapter": "full"},
        {"gradient_checkpointing": "on"},
        {"target_modules": ["all-linear"]},
    ],
)
def test_other_kinds_of_training_are_packed_with_the_same_losses(
    choices: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    def run(packing: str) -> list[float]:
        options = {**choices, "packing": packing}
        return _losses(run_here(make_spec(tmp_path / packing, tiny_model, epochs=1, options=options)))

    assert run("auto") == pytest.approx(run("off"), abs=1e-3)


def test_batching_in_half_precision_multiplies_in_it() -> None:
    model, examples = qwen2().to(torch.bfloat16), _examples()
    batching = Batching(True, CPU, torch.bfloat16)
    use_packed_attention(model)

    sums = batching.supervised(examples).sums(model, (0, 1))

    assert sums.loss.dtype == torch.float32
    assert bool(torch.isfinite(sums.loss))
