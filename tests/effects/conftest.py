"""One stack for all effect tests: a tiny random model with parsers for tools and reasoning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.settings import ROOT
from tests.effects.endpoints import Endpoints
from tests.stacks import RunningStack, open_folder, running_stack

VARIABLES = """
{%- if reasoning_effort -%}{{- '<|im_start|>effort\n' + reasoning_effort + '<|im_end|>\n' -}}{%- endif -%}
{%- if tone is defined -%}{{- '<|im_start|>tone\n' + tone + '<|im_end|>\n' -}}{%- endif -%}
"""
# As in models that can skip the reasoning.
NOT_THINKING = """
{%- if add_generation_prompt and enable_thinking is defined and not enable_thinking -%}
{{- '<think>\n\n</think>\n\n' -}}
{%- endif -%}
"""


@pytest.fixture(scope="package")
def chat_template() -> str:
    """The bundled model's template, with additional variables in the prompt."""
    return VARIABLES + (ROOT / "deploy/local/smollm2.jinja").read_text() + NOT_THINKING


@pytest.fixture(scope="package")
def stack(thinking_model: Path, chat_template: str) -> Iterator[RunningStack]:
    """The stack as the launcher starts it, with another model."""
    with open_folder() as folder:
        template = folder / "template.jinja"
        template.write_text(chat_template)
        settings = {
            "CYLLM_WORKER_MODEL": "tiny",
            "CYLLM_WORKER_MODEL_PATH": str(thinking_model),
            "CYLLM_WORKER_MAX_MODEL_LEN": "1024",
            "CYLLM_WORKER_TOOL_PARSER": "hermes",
            "CYLLM_WORKER_REASONING_PARSER": "qwen3",
            "CYLLM_WORKER_CHAT_TEMPLATE": str(template),
            "CYLLM_LOG_LEVEL": "DEBUG",
        }
        with running_stack(folder / "state", settings) as running:
            yield running


@pytest.fixture(scope="package")
def ask(stack: RunningStack) -> Iterator[Endpoints]:
    """The endpoints of the stack."""
    with stack.client() as client:
        yield Endpoints(client)


@pytest.fixture(scope="package")
def tokenizer(thinking_model: Path) -> Any:
    """The model's tokenizer, loaded by transformers."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(thinking_model)


@pytest.fixture(scope="package")
def no_space(tokenizer: Any) -> dict[str, Any]:
    """Parameters that keep a random model from endless white space, which JSON allows."""
    blank = [number for number in range(len(tokenizer)) if not tokenizer.decode([number]).strip()]
    return {"logit_bias": {str(number): -100 for number in blank[:300]}, "max_tokens": 150}
