"""The tokens that end trained answers are among those at which the engine ends an answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.datasets.conversations import assistant, chat, user
from tests.training.datasets.families import FAMILIES, make_model
from training.datasets.tokens.masks import chat_samples, check_model
from training.datasets.tokens.tokenizer import UnusableModelError, load_tokenizer

# Contents of generation_config.json and config.json's eos_token_id, as places in the family's stop tokens; of
# None, the file or the value is missing. "phi3" ends turns with the second of three, "<|end|>".
CONFIGURATIONS: dict[str, tuple[list[int] | None, list[int] | None]] = {
    "both": ([0, 1, 2], [0, 1, 2]),
    "the file alone": ([0, 1], None),
    "the configuration alone": (None, [0, 1]),
    "more in the file": ([0, 1], [0]),
    "more in the configuration": ([0], [0, 1, 2]),
    "none in the file": ([], [0, 1]),
}


def _model(folder: Path, name: str, configuration: str) -> Path:
    make_model(FAMILIES[name], folder)
    tokenizer = load_tokenizer(folder)
    ids = [tokenizer.encode(stop)[0] for stop in FAMILIES[name].stops]
    in_file, in_config = CONFIGURATIONS[configuration]
    path = folder / "generation_config.json"
    if in_file is None:
        path.unlink()
    else:
        values: dict[str, Any] = {"eos_token_id": [ids[place] for place in in_file]} if in_file else {}
        path.write_text(json.dumps({"do_sample": True, **values}))
    if in_config is not None:
        config = json.loads((folder / "config.json").read_text())
        config["eos_token_id"] = [ids[place] for place in in_config]
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def _served_stop_ids(folder: Path) -> set[int]:
    """Return the tokens at which vLLM ends an answer, by its own functions."""
    from transformers import AutoTokenizer
    from vllm import SamplingParams
    from vllm.transformers_utils.config import try_get_generation_config

    config = try_get_generation_config(str(folder), trust_remote_code=False)
    assert config is not None
    parameters = SamplingParams()
    end = AutoTokenizer.from_pretrained(folder).eos_token_id
    parameters.update_from_generation_config(config.to_diff_dict(), end)
    assert set(parameters.stop_token_ids or ()) | {end} == set(parameters.all_stop_token_ids)
    return set(parameters.all_stop_token_ids)


@pytest.mark.case("training.11")
@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_trained_answers_end_with_tokens_at_which_the_engine_stops(
    tmp_path: Path, configuration: str
) -> None:
    folder = _model(tmp_path, "phi3", configuration)
    tokenizer = load_tokenizer(folder)
    engine_ids = _served_stop_ids(folder)
    assert tokenizer.stop_ids == engine_ids
    end_of_turn = tokenizer.encode("<|end|>")[0]
    if end_of_turn not in engine_ids:
        with pytest.raises(UnusableModelError, match=r'the engine does not stop at "<\|end\|>"'):
            check_model(tokenizer)
        return
    check_model(tokenizer)
    for sample in chat_samples(tokenizer, chat(user("a"), assistant("b"), user("c"), assistant("d"))):
        pairs = zip(sample.loss_mask, [*sample.loss_mask[1:], 0], sample.input_ids, strict=True)
        ends = [token for flag, following, token in pairs if flag and not following]
        assert ends == [end_of_turn] * 2


@pytest.mark.case("training.11")
@pytest.mark.parametrize("name", ["qwen25", "llama3", "gemma", "granite"])
def test_the_stop_tokens_of_a_family_are_those_of_the_engine(tmp_path: Path, name: str) -> None:
    folder = make_model(FAMILIES[name], tmp_path)
    assert load_tokenizer(folder).stop_ids == _served_stop_ids(folder)
