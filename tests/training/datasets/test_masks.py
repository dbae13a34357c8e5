"""Only the assistant's turns and their stop tokens are learned, with the templates of well-known families."""

from __future__ import annotations

import pytest

from tests.training.datasets.conftest import Load
from tests.training.datasets.conversations import assistant, chat, system, trained_texts, user
from tests.training.datasets.families import FAMILIES, Family
from training.datasets.examples import ChatExample
from training.datasets.tokens.masks import chat_samples, check_model

ANSWERS = ("It is Paris.", "About 2 million, ünïcode 漢字 🙂 included.")


def _conversation(family: Family) -> ChatExample:
    turns = (
        user("Capital of France?"),
        assistant(ANSWERS[0]),
        user("How many people live there?"),
        assistant(ANSWERS[1]),
    )
    return chat(system("Be brief."), *turns) if family.has_system else chat(*turns)


def _stop(family: Family) -> str:
    return {"phi3": "<|end|>", "gemma": "<end_of_turn>"}.get(family.name, family.stops[0])


@pytest.mark.case("training.7")
@pytest.mark.case("training.11")
@pytest.mark.parametrize("name", FAMILIES)
def test_exactly_the_answers_with_their_stop_tokens_are_learned(load_family: Load, name: str) -> None:
    family, tokenizer = FAMILIES[name], load_family(name)
    samples = chat_samples(tokenizer, _conversation(family))
    texts = [text for sample in samples for text in trained_texts(tokenizer, sample)]
    stop = _stop(family)
    assert texts == [f"{family.before}{answer}{family.after}{stop}" for answer in ANSWERS]
    assert len(samples) == family.samples
    assert all(sample.input_ids[-1] in tokenizer.stop_ids and sample.loss_mask[-1] for sample in samples)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_templates_of_all_families_can_be_used(load_family: Load, name: str) -> None:
    check_model(load_family(name))
