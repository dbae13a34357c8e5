"""Chat templates: the variables that they read, as a parameter for another has no effect, and their texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from jinja2 import Environment, TemplateError, meta, nodes

# Transformers' own tag around the model's output, and its end.
_GENERATION = re.compile(r"\b(?:end)?generation\s*([-+]?%\})")


def model_templates(tokenizer: Any, custom_template: str | None) -> tuple[str, ...]:
    """Return the templates that chats are rendered with; none if the model has no chat template."""
    if custom_template is not None:
        return (custom_template,)
    templates = getattr(tokenizer, "chat_template", None)
    if isinstance(templates, dict):
        return tuple(templates.values())
    return (templates,) if isinstance(templates, str) else ()


def template_variables(templates: Iterable[str]) -> tuple[str, ...] | None:
    """Return the variables that templates read, sorted; None without a template that can be parsed."""
    trees = _trees(templates)
    if not trees:
        return None
    return tuple(sorted({name for tree in trees for name in meta.find_undeclared_variables(tree)}))


def template_texts(templates: Iterable[str]) -> list[str] | None:
    """Return the literal texts of templates; None without a template that can be parsed."""
    trees = _trees(templates)
    return [text for tree in trees for text in _texts(tree)] if trees else None


def _trees(templates: Iterable[str]) -> list[nodes.Template]:
    """Return the parsed templates; none if one of them can't be parsed."""
    environment = Environment(extensions=["jinja2.ext.loopcontrols", "jinja2.ext.do"], autoescape=True)
    try:
        return [environment.parse(_GENERATION.sub(r"set _ = 0 \1", template)) for template in templates]
    except TemplateError:
        return []


def _texts(tree: nodes.Template) -> Iterator[str]:
    yield from (node.data for node in tree.find_all(nodes.TemplateData))
    yield from (node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str))
