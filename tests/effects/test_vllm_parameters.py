"""vLLM's parameters have their effect on the engine's output."""

from __future__ import annotations

import re

import pytest

from tests.effects.endpoints import PLAIN, QUESTION, Endpoints


@pytest.mark.case("clients.28")
@pytest.mark.honours("chat", "return_tokens_as_token_ids")
@pytest.mark.honours("completions", "return_tokens_as_token_ids")
def test_tokens_are_named_by_their_ids(ask: Endpoints) -> None:
    choice = ask.chat(logprobs=True, return_tokens_as_token_ids=True)["choices"][0]
    assert all(re.fullmatch(r"token_id:\d+", entry["token"]) for entry in choice["logprobs"]["content"])
    choice = ask.complete(logprobs=0, return_tokens_as_token_ids=True)["choices"][0]
    assert all(re.fullmatch(r"token_id:\d+", token) for token in choice["logprobs"]["tokens"])


@pytest.mark.case("clients.28")
@pytest.mark.honours("chat", "logprob_token_ids")
def test_log_probabilities_of_chosen_tokens_are_returned(ask: Endpoints) -> None:
    ids = [5, 7, 11]
    fields = {"logprobs": True, "logprob_token_ids": ids, "return_tokens_as_token_ids": True}
    content = ask.chat(**fields)["choices"][0]["logprobs"]["content"]
    for entry in content:
        tokens = {alternative["token"] for alternative in entry["top_logprobs"]}
        assert {f"token_id:{each}" for each in ids} <= tokens


@pytest.mark.case("clients.28")
def test_an_unknown_token_is_an_error_of_the_client(ask: Endpoints) -> None:
    fields = {**PLAIN, "logprobs": True, "logprob_token_ids": [2**31 - 1]}
    response = ask.post("chat/completions", fields)
    assert response.status_code == 400
    assert ask.chat()["choices"]


@pytest.mark.case("clients.28")
@pytest.mark.honours("chat", "return_prompt_text")
def test_the_rendered_prompt_is_returned(ask: Endpoints) -> None:
    assert QUESTION[0]["content"] in ask.chat(return_prompt_text=True)["prompt_text"]
    assert "prompt_text" not in ask.chat()


@pytest.mark.case("clients.28")
@pytest.mark.honours("chat", "stream_interval")
@pytest.mark.honours("completions", "stream_interval")
def test_a_stream_has_fewer_chunks(ask: Endpoints) -> None:
    for path, fields in (("chat/completions", PLAIN), ("completions", {"prompt": "The sea"})):
        each = ask.stream(path, **fields, ignore_eos=True)
        few = ask.stream(path, **fields, ignore_eos=True, stream_interval=6)
        assert few.texts == each.texts
        assert len(few.chunks) < len(each.chunks)


@pytest.mark.case("clients.28")
@pytest.mark.honours("chat", "thinking_token_budget")
def test_thinking_ends_with_its_budget(ask: Endpoints) -> None:
    # The random model never begins to think by itself.
    messages = [*QUESTION, {"role": "assistant", "content": "<think>\nwell"}]
    fields = {"messages": messages, "max_tokens": 40, "ignore_eos": True}
    fields |= {"add_generation_prompt": False, "continue_final_message": True}
    free = ask.chat(**fields, chat_template_kwargs={})["choices"][0]["message"]
    message = ask.chat(**fields, chat_template_kwargs={}, thinking_token_budget=4)["choices"][0]["message"]
    assert free["content"] is None
    assert len(message["reasoning"]) < len(free["reasoning"])
    assert message["content"]


@pytest.mark.case("clients.26")
def test_an_effort_that_the_template_knows_has_an_effect(ask: Endpoints) -> None:
    response = ask.post("chat/completions", {**PLAIN, "reasoning_effort": "low", "verbosity": "high"})
    assert response.status_code == 200
    assert response.headers["x-cyllm-no-effect"] == "verbosity"
