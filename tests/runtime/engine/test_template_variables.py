"""The variables of chat templates."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from inference_worker.runtime.engines.template_variables import model_template_variables, template_variables

EFFORT = "{% if reasoning_effort is defined %}{{ reasoning_effort }}{% endif %}"
OWN_TAGS = (
    "{%- set ns = namespace(x=0) %}{% for message in messages %}{% generation %}{{ message.content }}"
    "{%- endgeneration -%}{% break %}{% endfor %}"
)


@pytest.mark.case("clients.26")
def test_the_variables_are_those_that_a_template_does_not_set() -> None:
    assert template_variables(EFFORT) == ("reasoning_effort",)
    assert template_variables(OWN_TAGS) == ("messages",)
    assert template_variables("{% if") is None


@pytest.mark.case("clients.26")
def test_the_bundled_template_has_no_variable_for_an_effort() -> None:
    variables = template_variables(Path("deploy/local/smollm2.jinja").read_text())
    assert variables is not None
    assert "messages" in variables
    assert not {"reasoning_effort", "enable_thinking"} & set(variables)


def test_a_custom_template_precedes_those_of_the_tokenizer() -> None:
    tokenizer = SimpleNamespace(chat_template={"default": "{{ messages }}", "tool_use": "{{ tools }}"})
    assert model_template_variables(tokenizer, None) == ("messages", "tools")
    assert model_template_variables(tokenizer, EFFORT) == ("reasoning_effort",)
    assert model_template_variables(SimpleNamespace(chat_template=EFFORT), None) == ("reasoning_effort",)
    assert model_template_variables(SimpleNamespace(chat_template=None), None) is None
    assert model_template_variables(SimpleNamespace(chat_template={"default": "{% if"}), None) is None
