"""Masks with tokenizers in the style of SentencePiece, whose tokens begin with a mark for a space."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tests.training.datasets.conversations import assistant, chat, trained_texts, user
from tests.training.datasets.families import FAMILIES, make_model
from training.datasets.tokens.answers import ExampleError
from training.datasets.tokens.masks import chat_samples
from training.datasets.tokens.tokenizer import ModelTokenizer, load_tokenizer

BYTES = [f"<0x{value:02X}>" for value in range(256)]
TEXT = "The models serve the answer of the user and the answer of the assistant x y " * 3


def _tokenizer(style: str, special: tuple[str, ...]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if style == "prepend":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<unk>", *BYTES, *special], show_progress=False
    )
    tokenizer.train_from_iterator(TEXT.split(), trainer)
    values = json.loads(tokenizer.to_str())
    values["added_tokens"] = [token for token in values["added_tokens"] if token["content"] not in BYTES]
    return Tokenizer.from_str(json.dumps(values))


def _model(name: str, style: str, folder: Path, template: str | None = None) -> ModelTokenizer:
    family = FAMILIES[name]
    make_model(family, folder)
    tokenizer = _tokenizer(style, (*family.tokens, *family.stops))
    tokenizer.save(str(folder / "tokenizer.json"))
    ids = [tokenizer.token_to_id(stop) for stop in family.stops]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ids}))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return load_tokenizer(folder)


@pytest.mark.parametrize("style", ["prepend", "metaspace"])
@pytest.mark.parametrize("name", ["llama2", "zephyr", "gemma"])
def test_answers_and_stop_tokens_are_learned(name: str, style: str, tmp_path: Path) -> None:
    tokenizer = _model(name, style, tmp_path)
    answers = ("The answer 漢 🙂.", "models serve")
    example = chat(user("What?"), assistant(answers[0]), user("And   then?"), assistant(answers[1]))
    (sample,) = chat_samples(tokenizer, example)
    stop = "<end_of_turn>" if name == "gemma" else "</s>"
    texts = trained_texts(tokenizer, sample)
    assert [text.removesuffix(stop).strip() for text in texts] == list(answers)
    assert all(text.endswith(stop) for text in texts)
    assert tokenizer.template is not None
    prompt = tokenizer.template.render(example.messages[:1], for_generation=True)
    assert list(sample.input_ids[: sample.loss_mask.index(1)]) == tokenizer.encode(prompt)


def test_a_token_that_cannot_be_split_at_the_start_of_an_answer_is_a_fault(tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }} A: {% else %}"
        "{{ m.content }}</s>{% endif %}{% endfor %}"
    )
    tokenizer = _model("llama2", "prepend", tmp_path, template)
    with pytest.raises(ExampleError) as excinfo:
        chat_samples(tokenizer, chat(user("x"), assistant("the answer")))
    fault = excinfo.value.fault
    assert (fault.path, fault.code) == ("messages[1]", "token_straddles")
