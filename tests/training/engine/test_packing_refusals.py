"""Models whose examples can't be packed: each is refused with the reason."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GptOssConfig,
    GptOssForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from tests.training.engine.runs import make_spec, run_here, write_chats
from tests.training.engine.small_models import SMALL, qwen2
from training.engine import events
from training.engine.models.packed_attention import packing_obstacle
from training.engine.objectives.packed import head_obstacle


def _refusal(model: Any, longest: int = 100) -> str | None:
    return packing_obstacle(model, longest) or head_obstacle(model)


def _gemma2() -> Any:
    return Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=8, sliding_window=8))


def _mistral(window: int | None) -> Any:
    return MistralForCausalLM(MistralConfig(**SMALL, head_dim=8, sliding_window=window))


@pytest.mark.case("training.18")
def test_a_sliding_window_is_refused_unless_every_example_fits_in_it() -> None:
    model = _mistral(window=64)

    assert _refusal(model, longest=65) == "examples of up to 65 tokens exceed the sliding window of 64"
    assert _refusal(model, longest=64) is None
    assert _refusal(_mistral(window=None), longest=10_000) is None


@pytest.mark.case("training.18")
def test_a_sliding_window_is_also_compared_with_the_examples_that_are_evaluated(
    tiny_model: Path, tmp_path: Path
) -> None:
    validation = write_chats(tmp_path / "validation.jsonl", 2, words=(90,))
    folder = _windowed_copy(tiny_model, tmp_path / "model", window=90)

    short = run_here(make_spec(tmp_path / "short", folder, epochs=1))
    outcome = run_here(make_spec(tmp_path, folder, epochs=1, validation_file=str(validation)))

    assert short.choice("packing").value == "on"
    assert "sliding window of 90" in outcome.choice("packing").reason
    assert outcome.one(events.Finished).reason == "completed"


@pytest.mark.case("training.18")
@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0},
        {
            "rope_type": "longrope",
            "factor": 2.0,
            "rope_theta": 10_000.0,
            "short_factor": [1.0] * 4,
            "long_factor": [3.0] * 4,
            "original_max_position_embeddings": 64,
        },
    ],
)
def test_positions_scaled_by_the_longest_example_of_a_pack_are_refused(rope: dict[str, Any]) -> None:
    model = Qwen2ForCausalLM(Qwen2Config(**SMALL, max_position_embeddings=64, rope_parameters=rope))

    assert _refusal(model, longest=65) == "positions of examples of over 64 tokens are scaled by their length"
    assert _refusal(model, longest=64) is None


@pytest.mark.case("training.18")
def test_capped_logits_are_refused_even_if_they_are_small() -> None:
    config = Gemma3TextConfig(**SMALL, head_dim=8, final_logit_softcapping=30.0)

    assert _refusal(Gemma3ForCausalLM(config)) == "it scales or caps its logits"
    config.final_logit_softcapping = None
    assert _refusal(Gemma3ForCausalLM(config)) is None


@pytest.mark.case("training.18")
@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (_gemma2, "the attention caps its logits"),
        (
            lambda: GptOssForCausalLM(GptOssConfig(**SMALL, head_dim=8, num_local_experts=2)),
            "GptOssForCausalLM does not support scaled dot-product attention",
        ),
        (
            lambda: MambaForCausalLM(MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=1)),
            "MambaForCausalLM does not let its attention be replaced",
        ),
    ],
)
def test_attention_that_packs_would_change_is_refused_with_the_reason(model: Any, reason: str) -> None:
    assert _refusal(model()) == reason


@pytest.mark.case("training.18")
def test_a_layer_that_mixes_examples_is_found_by_experiment() -> None:
    """Nothing in the configuration tells of a layer that looks at the previous token of the row."""
    model = qwen2()
    layer = model.model.layers[0]
    original = layer.forward

    def leaking(hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return original(hidden_states + 0.5 * hidden_states.roll(1, dims=1), *args, **kwargs)

    layer.forward = leaking

    assert (_refusal(model) or "").startswith("packed examples influence each other")
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.case("training.18")
def test_packing_that_was_requested_is_never_silently_left_out(tmp_path: Path, tiny_model: Path) -> None:
    folder = _windowed_copy(tiny_model, tmp_path / "model")
    options = {"packing": "on"}

    failure = run_here(make_spec(tmp_path / "on", folder, epochs=1, options=options)).one(events.Failed)
    automatic = run_here(make_spec(tmp_path / "auto", folder, epochs=1))

    assert failure.code == "packing_not_possible"
    assert "sliding window of 4" in failure.message
    assert failure.next_step == "Set packing to auto or off."
    assert not failure.is_transient
    assert automatic.choice("packing").value == "off"
    assert "sliding window" in automatic.choice("packing").reason
    assert automatic.one(events.Finished).reason == "completed"


def _windowed_copy(tiny_model: Path, folder: Path, window: int = 4) -> Path:
    shutil.copytree(tiny_model, folder)
    vocabulary = AutoModelForCausalLM.from_pretrained(tiny_model).config.vocab_size
    config = MistralConfig(**{**SMALL, "vocab_size": vocabulary}, head_dim=8, sliding_window=window)
    MistralForCausalLM(config).save_pretrained(folder)
    return folder
