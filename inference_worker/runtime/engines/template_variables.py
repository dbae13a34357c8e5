"""The variables of a chat template: a parameter that sets another variable has no effect."""

from __future__ import annotations

import re
from typing import Any

from jinja2 import Environment, TemplateError, meta

# Transformers' own tag around the model's output, and its end.
_GENERATION = re.compile(r"\b(?:end)?generation\s*([-+]?%\})")


def template_variables(template: str) -> tuple[str, ...] | None:
    """Return the variables that a template reads, sorted; None if it can't be parsed."""
    environment = Environment(extensions=["jinja2.ext.loopcontrols", "jinja2.ext.do"], autoescape=True)
    text = _GENERATION.sub(r"set _ = 0 \1", template)
    try:
        return tuple(sorted(meta.find_undeclared_variables(environment.parse(text))))
    except TemplateError:
        return None


def model_template_variables(tokenizer: Any, custom_template: str | None) -> tuple[str, ...] | None:
    """Return the variables of the template that chats are rendered with; None if it isn't a template."""
    if custom_template is not None:
        return template_variables(custom_template)
    templates = getattr(tokenizer, "chat_template", None)
    if isinstance(templates, dict):
        parts = [template_variables(template) for template in templates.values()]
        return None if None in parts else tuple(sorted({name for part in parts for name in part or ()}))
    return template_variables(templates) if isinstance(templates, str) else None
