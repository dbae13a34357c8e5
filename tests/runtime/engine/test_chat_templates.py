"""Chat templates: their variables, and the texts that bound what their options add."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoTokenizer

from api.openai.validation.conversation_rules import RESERVED_TEMPLATE_KWARGS
from inference_worker.runtime.engines.chat_templates import (
    model_templates,
    template_texts,
    template_variables,
)
from inference_worker.runtime.engines.template_size import template_option_tokens

EFFORT = "{% if reasoning_effort is defined %}{{ reasoning_effort }}{% endif %}"
OWN_TAGS = (
    "{%- set ns = namespace(x=0) %}{% for message in messages %}{% generation %}{{ message.content }}"
    "{%- endgeneration -%}{% break %}{% endfor %}"
)
TEMPLATES = Path("tests/training/datasets/templates")
TOOL = {"type": "function", "function": {"name": "f", "description": None, "parameters": None}}


@pytest.mark.case("clients.26")
def test_the_variables_are_those_that_a_template_does_not_set() -> None:
    assert template_variables([EFFORT]) == ("reasoning_effort",)
    assert template_variables([OWN_TAGS]) == ("messages",)
    assert template_variables([EFFORT, OWN_TAGS]) == ("messages", "reasoning_effort")
    for unknown in (["{% if"], [EFFORT, "{% if"], []):
        assert template_variables(unknown) is None
        assert template_texts(unknown) is None


@pytest.mark.case("clients.26")
def test_the_bundled_template_has_no_variable_for_an_effort() -> None:
    variables = template_variables([Path("deploy/local/smollm2.jinja").read_text()])
    assert variables is not None
    assert "messages" in variables
    assert not {"reasoning_effort", "enable_thinking"} & set(variables)


def test_a_custom_template_precedes_those_of_the_tokenizer() -> None:
    tokenizer = SimpleNamespace(chat_template={"default": "{{ messages }}", "tool_use": "{{ tools }}"})
    assert model_templates(tokenizer, None) == ("{{ messages }}", "{{ tools }}")
    assert model_templates(tokenizer, EFFORT) == (EFFORT,)
    assert model_templates(SimpleNamespace(chat_template=EFFORT), None) == (EFFORT,)
    assert model_templates(SimpleNamespace(chat_template=None), None) == ()


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    """Return a tokenizer whose templates the tests choose."""
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.mark.criterion("6.1")
@pytest.mark.parametrize(
    "template",
    [*sorted(TEMPLATES.glob("*.jinja")), Path("deploy/local/smollm2.jinja")],
    ids=lambda path: path.stem,
)
def test_the_texts_of_a_template_bound_what_its_tools_and_variables_add(
    tokenizer: Any, template: Path
) -> None:
    text = template.read_text()
    names = [
        name
        for name in template_variables([text]) or ()
        if name not in RESERVED_TEMPLATE_KWARGS and not name.endswith("_token")
    ]
    values: tuple[dict[str, Any], ...] = ({}, {"tools": [TOOL]}, *({name: "1"} for name in names))

    def prompt_tokens(options: dict[str, Any]) -> int:
        messages = [{"role": "user", "content": "1"}]
        return len(
            tokenizer.apply_chat_template(
                messages,
                chat_template=text,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=False,
                **options,
            )
        )

    sizes = [prompt_tokens(options) for options in values]
    bound = template_option_tokens(tokenizer, [text])
    assert bound is not None
    assert max(sizes) - sizes[0] <= bound + len(str(TOOL))
