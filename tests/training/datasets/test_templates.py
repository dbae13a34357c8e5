"""Rendering and tokens equal those of transformers."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.datasets.conftest import Load
from tests.training.datasets.conversations import assistant, system, user
from tests.training.datasets.families import FAMILIES, make_model
from training.datasets.examples import Json, Message, ToolCall
from training.datasets.tokens.template import ChatTemplate, TemplateRefusalError, template_message
from training.datasets.tokens.tokenizer import ModelError, load_tokenizer

NOW = dt.datetime(2026, 3, 9, 14, 5)
TOOL: Json = {
    "type": "function",
    "function": {"name": "find", "description": "<find> & 'get' é", "parameters": {"type": "object"}},
}
CALL = ToolCall(id="call_1", name="find", arguments={"city": "Zürich", "n": [1, 2.5, None, True]})
TEXTS = ("a <b> & c", "  padded \n", "漢字 🙂\n\nx", "")


class _Clock(dt.datetime):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> _Clock:  # noqa: ARG003
        return cls(NOW.year, NOW.month, NOW.day, NOW.hour, NOW.minute)


@pytest.fixture
def auto_tokenizer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Load transformers' tokenizer of a folder, with a fixed clock in its templates."""
    from transformers import AutoTokenizer
    from transformers.utils import chat_template_utils

    monkeypatch.setattr(chat_template_utils, "datetime", _Clock)
    return AutoTokenizer.from_pretrained


def _conversations(*, has_system: bool) -> list[list[Message]]:
    turns = [
        message
        for text in TEXTS
        for message in (user(text or "?"), assistant(f"<think>\nhm\n</think>\n\n{text}!"))
    ]
    chats = [turns[:1], turns]
    return chats + ([[system("Be\nbrief. "), *chat] for chat in chats] if has_system else [])


@pytest.mark.parametrize("name", FAMILIES)
def test_rendering_and_tokens_equal_those_of_transformers(
    load_family: Load, auto_tokenizer: Any, name: str
) -> None:
    folder = load_family(name).folder
    ours, theirs = load_tokenizer(folder, now=NOW), auto_tokenizer(folder)
    assert ours.template is not None
    for messages in _conversations(has_system=FAMILIES[name].has_system):
        dictionaries = [template_message(message) for message in messages]
        for for_generation in (False, True):
            expected = theirs.apply_chat_template(
                dictionaries, tokenize=False, add_generation_prompt=for_generation
            )
            text = ours.template.render(messages, for_generation=for_generation)
            assert text == expected
            assert ours.encode(text) == theirs(expected, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("name", ["qwen25", "llama3"])
def test_tools_and_calls_are_rendered_as_by_transformers(
    load_family: Load, auto_tokenizer: Any, name: str
) -> None:
    folder = load_family(name).folder
    messages = [
        user("Where?"),
        assistant(calls=(CALL,)),
        Message(role="tool", content='{"ok": "é"}', tool_call_id="call_1"),
        assistant("There."),
    ]
    ours = load_tokenizer(folder, now=NOW).template
    assert ours is not None
    expected = auto_tokenizer(folder).apply_chat_template(
        [template_message(message) for message in messages], tools=[TOOL], tokenize=False
    )
    assert ours.render(messages, [TOOL]) == expected
    assert '"city": "Z' in expected


_PIECES = (
    "{{ bos_token }}",
    "{% for m in messages %}{{ m['role'] }}:{{ m['content'] | trim }}\n{% endfor %}",
    "{%- for m in messages -%} {% if loop.index == 2 %}{% break %}{% endif %}{{ m.content }} {% endfor %}\n",
    "  {% for m in messages %}\n  {% if loop.first %}{% continue %}{% endif %}\n <{{ m.role }}>{% endfor %}",
    "{% set ns = namespace(x=0) %}{% for m in messages %}{% set ns.x = ns.x + 1 %}{% endfor %}{{ ns.x }}",
    "{% generation %}{% set y = 1 %}{{ messages[1].content }}{% endgeneration %}{{ y is defined }}",
    "{{ strftime_now('%d %b %Y %H:%M') }}",
    "{{ messages | tojson(indent=2) }}{{ messages | tojson }}{{ messages | tojson(ensure_ascii=true) }}",
    "{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}{{ eos_token }}{{ nothing }}",
    "{%- macro f(x) %}[{{ x }}]{% endmacro %}{{ f(messages[0].content) }}",
    "{{ messages[0].content.split(' ')[-1].upper() }}{{ (messages[::-1])[0]['role'] }}",
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.sampled_from(_PIECES), min_size=1, max_size=4), text=st.text(max_size=20))
def test_the_dialect_equals_that_of_transformers(
    monkeypatch: pytest.MonkeyPatch, pieces: list[str], text: str
) -> None:
    from transformers.utils import chat_template_utils

    monkeypatch.setattr(chat_template_utils, "datetime", _Clock)
    source = "\n".join(pieces)
    messages = [user(text), assistant(text + "x")]
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    (expected,), _ = chat_template_utils.render_jinja_template(
        conversations=[[template_message(message) for message in messages]],
        chat_template=source,
        **special,
    )
    assert ChatTemplate(source, special, now=NOW).render(messages) == expected


def test_named_templates_and_the_one_for_tools_are_chosen_as_by_transformers(
    tmp_path: Path, auto_tokenizer: Any
) -> None:
    folder = make_model(FAMILIES["marked"], tmp_path)
    (folder / "chat_template.jinja").unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["chat_template"] = [
        {"name": "default", "template": "plain {{ messages[0].content }}"},
        {"name": "tool_use", "template": "tools {{ tools | length }}"},
    ]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    template = load_tokenizer(folder).template
    assert template is not None
    theirs = auto_tokenizer(folder)
    for tools in ([], [TOOL]):
        expected = theirs.apply_chat_template(
            [{"role": "user", "content": "x"}], tools=tools or None, tokenize=False
        )
        assert template.render([user("x")], tools) == expected


def test_a_tokenizer_that_transformers_builds_by_its_class_is_taken_from_it(
    tmp_path: Path, auto_tokenizer: Any
) -> None:
    folder = make_model(FAMILIES["marked"], tmp_path)
    for name, changes in (
        ("tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer", "backend": None}),
        ("tokenizer.json", {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}}),
    ):
        values = json.loads((folder / name).read_text(encoding="utf-8"))
        for key, value in changes.items():
            values[key] = {**values[key], **value} if isinstance(value, dict) else value
        (folder / name).write_text(json.dumps(values), encoding="utf-8")
    plain = load_tokenizer(folder)
    theirs = auto_tokenizer(folder)
    rebuilt_tokenizer = load_tokenizer(folder, backend_json=theirs.backend_tokenizer.to_str())
    expected = theirs("word by word", add_special_tokens=False)["input_ids"]
    assert plain.encode("word by word") != expected
    assert rebuilt_tokenizer.encode("word by word") == expected
    assert (plain.is_exact, rebuilt_tokenizer.is_exact) == (False, True)
    assert plain.fingerprint != rebuilt_tokenizer.fingerprint


def test_a_refusal_of_the_template_carries_its_reason() -> None:
    template = ChatTemplate("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(TemplateRefusalError, match="roles must alternate"):
        template.render([user("x")])


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].content + 1 }}",
        "{{ messages[9].content.x }}",
        "{{ 1 // 0 }}",
        "{% for i in range(10 ** 9) %}{% endfor %}",
    ],
)
def test_templates_are_sandboxed_and_their_errors_are_refusals(source: str) -> None:
    with pytest.raises(TemplateRefusalError):
        ChatTemplate(source).render([user("x")])


def test_a_broken_template_is_an_error_of_the_model(tmp_path: Path) -> None:
    folder = make_model(FAMILIES["marked"], tmp_path)
    (folder / "chat_template.jinja").write_text("{% for x in %}")
    with pytest.raises(ModelError, match="can't be compiled"):
        load_tokenizer(folder)
