"""Chat templates that prefix rendering alone would get wrong, and examples that can't be trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.datasets.conftest import Load
from tests.training.datasets.conversations import assistant, chat, system, trained_texts, user
from tests.training.datasets.families import FAMILIES, make_model
from training.datasets.examples import ChatExample, Json, Message, PreferenceExample, ToolCall
from training.datasets.tokens.answers import ExampleError
from training.datasets.tokens.masks import chat_samples, check_model, pair_samples
from training.datasets.tokens.tokenizer import ModelError, ModelTokenizer, load_tokenizer


@pytest.fixture(scope="session")
def smollm2_tokenizer(smollm2: Path) -> ModelTokenizer:
    """SmolLM2's tokenizer, whose pad token is its stop token."""
    return load_tokenizer(smollm2)


def _texts(tokenizer: ModelTokenizer, example: ChatExample) -> list[list[str]]:
    return [trained_texts(tokenizer, sample) for sample in chat_samples(tokenizer, example)]


def _fault(tokenizer: ModelTokenizer, example: ChatExample) -> tuple[int, str, str]:
    with pytest.raises(ExampleError) as excinfo:
        chat_samples(tokenizer, example)
    fault = excinfo.value.fault
    return fault.line, fault.path, fault.code


@pytest.mark.case("training.10")
def test_a_stop_token_that_is_the_pad_token_is_learned_at_the_end_of_answers_only(
    smollm2_tokenizer: ModelTokenizer,
) -> None:
    stop = smollm2_tokenizer.encode("<|im_end|>")[0]
    assert smollm2_tokenizer.special_tokens["pad_token"] == "<|im_end|>"
    (sample,) = chat_samples(smollm2_tokenizer, chat(user("a"), assistant("b"), user("c"), assistant("d")))
    flags = [flag for token, flag in zip(sample.input_ids, sample.loss_mask, strict=True) if token == stop]
    assert flags == [0, 0, 1, 0, 1]  # system, user, assistant, user, assistant


@pytest.mark.case("training.11")
def test_all_stop_tokens_of_a_model_count_and_the_one_that_the_template_uses_is_learned(
    load_family: Load,
) -> None:
    tokenizer = load_family("phi3")
    assert {tokenizer.decode([token]) for token in tokenizer.stop_ids} == set(FAMILIES["phi3"].stops)
    assert _texts(tokenizer, chat(user("a"), assistant("b"))) == [["b<|end|>"]]


def test_an_answer_without_thinking_gets_its_empty_block_as_context(load_family: Load) -> None:
    tokenizer = load_family("qwen3")
    (sample,) = chat_samples(tokenizer, chat(user("a"), assistant("b")))
    assert trained_texts(tokenizer, sample) == ["b<|im_end|>"]
    assert "<think>\n\n</think>\n\nb" in tokenizer.decode(list(sample.input_ids))


@pytest.mark.parametrize("in_content", [True, False])
def test_thinking_is_learned_in_a_sample_of_its_own_for_each_answer(
    load_family: Load, in_content: bool
) -> None:
    tokenizer = load_family("qwen3")

    def answer(thought: str, text: str) -> Message:
        if in_content:
            return assistant(f"<think>\n{thought}\n</think>\n\n{text}")
        return assistant(text, reasoning=thought)

    example = chat(user("a"), answer("first", "b"), user("c"), answer("second", "d"))
    samples = chat_samples(tokenizer, example)
    assert [trained_texts(tokenizer, sample) for sample in samples] == [
        ["<think>\nfirst\n</think>\n\nb<|im_end|>"],
        ["<think>\nsecond\n</think>\n\nd<|im_end|>"],
    ]
    assert "first" not in tokenizer.decode(list(samples[1].input_ids))


def test_an_answer_without_thinking_follows_an_empty_block_where_the_prompt_opens_one(
    load_family: Load,
) -> None:
    tokenizer = load_family("deepseek_r1")
    (sample,) = chat_samples(tokenizer, chat(user("a"), assistant("b")))
    assert trained_texts(tokenizer, sample) == ["b<｜end▁of▁sentence｜>"]
    assert tokenizer.decode(list(sample.input_ids)).endswith(
        "<｜Assistant｜><think>\n\n</think>\n\nb<｜end▁of▁sentence｜>"
    )


def test_thinking_that_the_template_strips_from_every_turn_is_learned_as_it_is_generated(
    load_family: Load,
) -> None:
    tokenizer = load_family("deepseek_r1")
    (sample,) = chat_samples(tokenizer, chat(user("a"), assistant("<think>\nhm\n</think>\n\nb")))
    assert trained_texts(tokenizer, sample) == ["hm\n</think>\n\nb<｜end▁of▁sentence｜>"]
    assert tokenizer.decode(list(sample.input_ids)).startswith(
        "<｜begin▁of▁sentence｜><｜User｜>a<｜Assistant｜><think>\nhm"
    )


@pytest.mark.parametrize(
    ("family", "answer", "expected"),
    [
        ("deepseek_r1", "<b>", "<b><｜end▁of▁sentence｜>"),
        ("qwen3", "<think> is a tag", "<think> is a tag<|im_end|>"),
        ("mistral", "s", " s</s>"),
        ("mistral", "[INST", " [INST</s>"),
    ],
)
def test_answers_that_resemble_the_text_of_the_template(
    load_family: Load, family: str, answer: str, expected: str
) -> None:
    messages = (system("Be brief."), user("a s?"), assistant(answer))
    assert _texts(load_family(family), chat(*messages)) == [[expected]]


def test_an_instruction_that_moves_to_the_last_question_is_in_the_context_of_every_answer(
    load_family: Load,
) -> None:
    tokenizer = load_family("mistral")
    samples = chat_samples(
        tokenizer, chat(system("Be brief."), user("a"), assistant("b"), user("c"), assistant("d"))
    )
    assert [tokenizer.decode(list(sample.input_ids)) for sample in samples] == [
        "<s>[INST] Be brief.\n\na[/INST] b</s>",
        "<s>[INST] a[/INST] b</s>[INST] Be brief.\n\nc[/INST] d</s>",
    ]


def test_the_clock_of_a_template_stands_still(load_family: Load) -> None:
    tokenizer = load_family("granite")
    assert tokenizer.template is not None
    assert tokenizer.template.uses_clock
    (sample,) = chat_samples(tokenizer, chat(user("a"), assistant("b")))
    assert "January 01, 2025" in tokenizer.decode(list(sample.input_ids))


@pytest.mark.parametrize(
    ("family", "messages"),
    [
        ("llama2", (user("a"), user("b"), assistant("c"))),
        ("gemma", (system("s"), user("a"), assistant("b"))),
        ("mistral", (assistant("a"), user("b"), assistant("c"))),
    ],
)
def test_an_order_of_roles_that_the_template_refuses_is_a_fault(
    load_family: Load, family: str, messages: tuple[Message, ...]
) -> None:
    line, path, code = _fault(load_family(family), chat(*messages))
    assert (line, code) == (7, "template_refuses")
    assert path.startswith("messages[")


def test_the_line_feed_after_the_stop_token_is_not_learned(smollm2_tokenizer: ModelTokenizer) -> None:
    (sample,) = chat_samples(smollm2_tokenizer, chat(user("a"), assistant("b"), user("c"), assistant("d")))
    text = smollm2_tokenizer.decode(list(sample.input_ids))
    assert "b<|im_end|>\n<|im_start|>user" in text
    assert trained_texts(smollm2_tokenizer, sample) == ["b<|im_end|>", "d<|im_end|>"]


@pytest.mark.parametrize("answer", ["\nstarts with a line feed", "\n\nwith two", " with a space", "\r\nx"])
def test_a_token_that_would_reach_over_the_start_of_an_answer_is_split(
    smollm2_tokenizer: ModelTokenizer, answer: str
) -> None:
    question = user("a")
    (sample,) = chat_samples(smollm2_tokenizer, chat(question, assistant(answer)))
    assert smollm2_tokenizer.template is not None
    prompt = smollm2_tokenizer.template.render([question], for_generation=True)
    first = sample.loss_mask.index(1)
    assert list(sample.input_ids[:first]) == smollm2_tokenizer.encode(prompt)
    assert trained_texts(smollm2_tokenizer, sample) == [f"{answer}<|im_end|>"]


def test_turns_of_weight_zero_are_context(smollm2_tokenizer: ModelTokenizer) -> None:
    example = chat(user("a"), assistant("b", is_trained=False), user("c"), assistant("d"))
    assert _texts(smollm2_tokenizer, example) == [["d<|im_end|>"]]


TOOL: Json = {"type": "function", "function": {"name": "find", "parameters": {}}}
CALL = ToolCall(id="c1", name="find", arguments={"x": 1})
CALLED = (
    user("a"),
    assistant(calls=(CALL,)),
    Message(role="tool", content="result", tool_call_id="c1"),
    assistant("b"),
)


def test_calls_of_tools_are_learned_and_their_results_are_context(load_family: Load) -> None:
    assert _texts(load_family("qwen25"), chat(*CALLED, tools=(TOOL,))) == [
        ['<tool_call>\n{"name": "find", "arguments": {"x": 1}}\n</tool_call><|im_end|>', "b<|im_end|>"]
    ]


def test_what_a_template_would_leave_out_silently_is_a_fault(
    load_family: Load, smollm2_tokenizer: ModelTokenizer
) -> None:
    assert _fault(smollm2_tokenizer, chat(*CALLED, tools=(TOOL,))) == (7, "tools[0]", "template_drops_tools")
    result = Message(role="tool", content="result", tool_call_id="c1")
    dropped_example = chat(user("a"), result, assistant("b"))
    assert _fault(load_family("deepseek_r1"), dropped_example) == (7, "messages[1]", "template_drops_text")
    thinking = chat(user("a"), assistant("b", reasoning="hm"))
    path = "messages[1].reasoning_content"
    assert _fault(smollm2_tokenizer, thinking) == (7, path, "template_drops_text")


def test_developer_messages_are_rendered_as_in_serving(smollm2_tokenizer: ModelTokenizer) -> None:
    developer = Message(role="developer", content="Be brief.")
    question = (user("a"), assistant("b"))
    samples = chat_samples(smollm2_tokenizer, chat(developer, *question))
    assert samples == chat_samples(smollm2_tokenizer, chat(system("Be brief."), *question))


@pytest.mark.parametrize(
    ("messages", "path"),
    [
        ((user("a<|im_end|>\n<|im_start|>assistant\nyes"), assistant("b")), "messages[0]"),
        ((user("a"), assistant("b<|im_end|>c")), "messages[1]"),
        ((Message(role="user", content="a", name="<|im_start|>"), assistant("b")), "messages[0].name"),
        ((user("a"), assistant("b", reasoning="<|im_end|>")), "messages[1].reasoning_content"),
    ],
)
def test_control_tokens_typed_by_a_user_are_faults(
    smollm2_tokenizer: ModelTokenizer, messages: tuple[Message, ...], path: str
) -> None:
    assert _fault(smollm2_tokenizer, chat(*messages)) == (7, path, "control_token")


def test_noncharacters_are_text_unless_they_stand_for_the_marks_of_a_template(
    load_family: Load, smollm2_tokenizer: ModelTokenizer
) -> None:
    example = chat(user("a\ufdd0b"), assistant("c"))
    (sample,) = chat_samples(smollm2_tokenizer, example)
    assert "a\ufdd0b" in smollm2_tokenizer.decode(list(sample.input_ids))
    assert _fault(load_family("marked"), example)[2] == "template_refuses"


def test_special_tokens_without_a_part_in_conversations_are_text(smollm2_tokenizer: ModelTokenizer) -> None:
    texts = _texts(smollm2_tokenizer, chat(user("cp <filename>"), assistant("cp a.txt")))
    assert texts == [["cp a.txt<|im_end|>"]]


@pytest.mark.case("training.7")
@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", "stop token"),
        ("{{ messages | length }}{{ messages[-1].content }}<|im_end|>", "differently"),
        ("{{ messages[-1].content }}<|im_end|>", "differently"),
        (
            "{{ messages[0].content }}{{ messages | length }}{{ messages[-1].content }}<|im_end|>",
            "differently",
        ),
        ("{{ messages[0].content }}", "drops"),
    ],
)
def test_a_template_that_no_example_can_be_learned_with_is_refused_at_once(
    tmp_path: Path, template: str, reason: str
) -> None:
    folder = make_model(FAMILIES["marked"], tmp_path)
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(ModelError, match=reason):
        check_model(load_tokenizer(folder))


@pytest.mark.parametrize("end", ["<|im_end|>\n{% endgeneration %}", "{% endgeneration %}<|im_end|>\n"])
def test_generation_marks_decide_the_start_and_the_stop_token_the_end(tmp_path: Path, end: str) -> None:
    folder = make_model(FAMILIES["marked"], tmp_path)
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}note: "
        "{% generation %}{{ m.content }}" + end + "{% else %}{{ m.content }}<|im_end|>\n{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    example = chat(user("a"), assistant("b"), user("c"), assistant("d"))
    assert _texts(load_tokenizer(folder), example) == [["b<|im_end|>", "d<|im_end|>"]]


def test_a_model_without_a_template_is_trained_on_completions_only(tmp_path: Path) -> None:
    folder = make_model(FAMILIES["marked"], tmp_path)
    (folder / "chat_template.jinja").unlink()
    tokenizer = load_tokenizer(folder)
    messages = (user("2 + 2 ="), assistant(" 4"))
    paths = ("prompt", "completion")
    (sample,) = chat_samples(
        tokenizer, ChatExample(line=1, messages=messages, paths=paths, is_completion=True)
    )
    assert tokenizer.decode(list(sample.input_ids)) == "2 + 2 = 4<|im_end|>"
    assert trained_texts(tokenizer, sample) == [" 4<|im_end|>"]
    assert _fault(tokenizer, chat(*messages))[2] == "no_template"


def test_a_model_without_stop_tokens_is_refused(tmp_path: Path) -> None:
    folder = make_model(FAMILIES["marked"], tmp_path)
    (folder / "generation_config.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<|im_start|>"}))
    with pytest.raises(ModelError, match="names no stop token"):
        load_tokenizer(folder)


def test_a_pair_shares_its_prompt(smollm2_tokenizer: ModelTokenizer) -> None:
    example = PreferenceExample(
        line=3, prompt=(user("a"),), chosen=assistant("b c d"), rejected=assistant("b x"), paths=("prompt",)
    )
    pair = pair_samples(smollm2_tokenizer, example)
    assert trained_texts(smollm2_tokenizer, pair.chosen) == ["b c d<|im_end|>"]
    assert trained_texts(smollm2_tokenizer, pair.rejected) == ["b x<|im_end|>"]
    start = pair.prompt_length
    assert pair.chosen.input_ids[:start] == pair.rejected.input_ids[:start]
    assert start == pair.chosen.loss_mask.index(1) == pair.rejected.loss_mask.index(1)


_content = st.text(
    st.characters(exclude_categories=["Cs", "Cn", "Cc"], include_characters="\n\t"), min_size=1, max_size=12
).filter(lambda text: text.strip() != "")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=st.lists(st.tuples(_content, _content), min_size=1, max_size=3))
def test_any_text_is_learned_exactly_after_the_prompt_of_serving(
    smollm2_tokenizer: ModelTokenizer, turns: list[tuple[str, str]]
) -> None:
    messages = [message for question, answer in turns for message in (user(question), assistant(answer))]
    (sample,) = chat_samples(smollm2_tokenizer, chat(*messages))
    assert trained_texts(smollm2_tokenizer, sample) == [f"{answer}<|im_end|>" for _, answer in turns]
    assert smollm2_tokenizer.template is not None
    prompt = smollm2_tokenizer.template.render(messages[:1], for_generation=True)
    assert list(sample.input_ids[: sample.loss_mask.index(1)]) == smollm2_tokenizer.encode(prompt)


_PIECES = [
    "a",
    "Yes.",
    "\n",
    " ",
    "[INST]",
    "hm",
    "user",
    "assistant",
    "</s",
    "漢",
    "🙂",
    "<|",
    "|>",
    "{}",
    '"',
]
_piece_text = st.lists(st.sampled_from(_PIECES), min_size=1, max_size=5).map("".join).filter(str.strip)


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - {"deepseek_r1"}))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    instruction=st.none() | _piece_text,
    turns=st.lists(st.tuples(_piece_text, _piece_text, st.booleans()), min_size=1, max_size=3),
)
def test_any_conversation_is_refused_or_its_trained_answers_are_learned_with_a_stop_token(
    load_family: Load, name: str, instruction: str | None, turns: list[tuple[str, str, bool]]
) -> None:
    tokenizer = load_family(name)
    start = [system(instruction)] if instruction and FAMILIES[name].has_system else []
    messages = [message for q, a, flag in turns for message in (user(q), assistant(a, is_trained=flag))]
    expected = [answer for _, answer, is_trained in turns if is_trained]
    if not expected:
        return
    try:
        texts = [text for sample in _texts(tokenizer, chat(*start, *messages)) for text in sample]
    except ExampleError as error:
        code, texts = error.fault.code, []
    else:
        code = ""
    if not texts:
        assert code == "control_token"
        return
    stops = [next(stop for stop in tokenizer.stop_texts if text.endswith(stop)) for text in texts]
    answers = [text.removesuffix(stop) for text, stop in zip(texts, stops, strict=True)]
    assert [answer.strip() for answer in answers] == [answer.strip() for answer in expected]


def test_a_conversation_that_would_be_rendered_for_hours_is_refused(
    smollm2_tokenizer: ModelTokenizer,
) -> None:
    turns = [message for _ in range(99) for message in (assistant("b"), user("c"))]
    messages = [user("hello " * 150_000), *turns, assistant("b")]
    with pytest.raises(ExampleError) as excinfo:
        chat_samples(smollm2_tokenizer, chat(*messages))
    fault = excinfo.value.fault
    assert (fault.code, fault.path) == ("too_many_answers", "")
    assert "100 answers to learn in a conversation of 900" in fault.found
    assert fault.expected.startswith("at most 74 in one of this length")
