"""Chat templates: Jinja in the dialect of transformers, rendered in a sandbox with a fixed clock.

The result equals that of transformers' ``apply_chat_template`` with ``tokenize=False`` for the same clock.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from training.datasets.examples import Json, Message

# Unicode noncharacters, not for interchange, around text that the template marks as generated.
MARK_START, MARK_END = "\ufdd0", "\ufdd1"
FIXED_CLOCK = dt.datetime(2025, 1, 1)  # so that tokenising again gives the same tokens
_GENERATION = re.compile(r"{%[-+]?\s*generation\b")
_MARKS = re.compile(f"[{MARK_START}{MARK_END}]")


class TemplateRefusalError(Exception):
    """The template can't render a conversation; the text gives the template's reason."""


class _Generation(Extension):
    """The tag ``{% generation %}``: its body is what the assistant generates."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.CallBlock:
        """Turn the body into a block of its own scope, as in transformers."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body, lineno=line)

    def _mark(self, caller: Callable[[], str]) -> str:
        return f"{MARK_START}{caller()}{MARK_END}"


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _clock(now: dt.datetime) -> Callable[[str], str]:
    return lambda pattern: now.strftime(pattern)


class ChatTemplate:
    """A compiled chat template. ``variables``: special tokens by name, such as ``bos_token``."""

    def __init__(
        self,
        source: str,
        variables: Mapping[str, str] | None = None,
        *,
        tool_source: str | None = None,
        now: dt.datetime = FIXED_CLOCK,
    ) -> None:
        """Compile ``source``, ``tool_source`` for conversations with tools. Raises TemplateRefusalError."""
        self.source = source
        self.tool_source = tool_source
        self._variables = dict(variables or {})
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _clock(now)
        try:
            self._template = environment.from_string(source)
            self._tool_template = environment.from_string(tool_source) if tool_source else self._template
        except jinja2.TemplateError as error:
            raise TemplateRefusalError(f"the chat template can't be compiled: {error}") from error

    @cached_property
    def has_marks(self) -> bool:
        """True if the template marks what the assistant generates."""
        return any(_GENERATION.search(source) for source in (self.source, self.tool_source or ""))

    @property
    def uses_clock(self) -> bool:
        """True if the template asks for the current time."""
        return "strftime_now" in self.source or "strftime_now" in (self.tool_source or "")

    @cached_property
    def has_developer(self) -> bool:
        """True if the template knows the role "developer"; else it is rendered as "system", as in serving."""
        return any(f"{mark}developer{mark}" in self.source for mark in "'\"")

    def render(
        self, messages: Sequence[Message], tools: Sequence[Json] = (), *, for_generation: bool = False
    ) -> str:
        """Return a conversation as text, up to the assistant's turn if ``for_generation``.

        Raises TemplateRefusalError.
        """
        text = self.render_marked(messages, tools, for_generation=for_generation)
        return _MARKS.sub("", text) if self.has_marks else text

    def render_marked(
        self, messages: Sequence[Message], tools: Sequence[Json] = (), *, for_generation: bool = False
    ) -> str:
        """Like ``render``, with MARK_START and MARK_END around what the template marks as generated."""
        template = self._tool_template if tools else self._template
        if self.has_marks and any(_MARKS.search(message.content) for message in messages):
            raise TemplateRefusalError("the noncharacters U+FDD0 and U+FDD1 can't be used with this template")
        dictionaries = [self._dictionary(message) for message in messages]
        try:
            return template.render(
                messages=dictionaries,
                tools=list(tools) or None,
                documents=None,
                add_generation_prompt=for_generation,
                **self._variables,
            )
        except jinja2.TemplateError as error:
            raise TemplateRefusalError(error.message or type(error).__name__) from error
        except Exception as error:  # a template is code: any operation in it can fail
            raise TemplateRefusalError(f"{type(error).__name__}: {error}") from error

    def _dictionary(self, message: Message) -> Json:
        role = "system" if message.role == "developer" and not self.has_developer else message.role
        return template_message(message, role)


def template_message(message: Message, role: str | None = None) -> Json:
    """Return a message in the form that templates of transformers take, as the inference engine passes it."""
    value: Json = {"role": role or message.role, "content": message.content}
    if message.name is not None:
        value["name"] = message.name
    if message.reasoning is not None:
        value["reasoning"] = value["reasoning_content"] = message.reasoning
    if message.tool_call_id is not None:
        value["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        value["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return value
