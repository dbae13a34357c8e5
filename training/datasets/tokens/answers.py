"""Answers of the assistant in the rendered conversation: where each begins and where its stop token ends.

Templates seldom mark what the assistant generates, so it is derived: the rendering up to an answer, with the
generation prompt, must be a prefix of the rendering with the answer. What can't be derived is a fault.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import takewhile

import msgspec

from training.datasets.examples import Json, Message
from training.datasets.faults import Fault, clip, quote
from training.datasets.tokens.template import MARK_END, MARK_START, ChatTemplate, TemplateRefusalError
from training.datasets.tokens.tokenizer import ModelTokenizer

THINK_START, THINK_END = "<think>", "</think>"
_EMPTY_THINKING = re.compile(rf"\s*{THINK_START}\s*{THINK_END}\s*")


class ExampleError(Exception):
    """An example that can't be trained on with this model."""

    def __init__(self, line: int, path: str, code: str, found: str, expected: str) -> None:
        super().__init__(found)
        self.fault = Fault(line=line, path=path, code=code, found=found, expected=expected)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. ``text`` is trained: up to ``stop``, the text of the stop token at its end."""

    prefix: str
    text: str
    stop: str

    @property
    def whole(self) -> str:
        """The conversation up to the end of the answer."""
        return self.prefix + self.text


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """Messages, with the paths at which faults in them are reported."""

    line: int
    messages: Sequence[Message]
    paths: Sequence[str]
    tools: Sequence[Json]
    tools_path: str

    def fault(self, index: int, code: str, found: str, expected: str) -> ExampleError:
        """Return a fault of message ``index``."""
        return ExampleError(self.line, self.paths[index], code, found, expected)


def find_answer(tokenizer: ModelTokenizer, template: ChatTemplate, chat: Conversation, index: int) -> Answer:
    """Return the answer that is message ``index``. Raises ExampleError."""
    prompt, marked_text = _render(template, chat, index)
    _check_prompt(chat, index, prompt)
    text, start = marked_text, None
    if template.has_marks:
        text = marked_text.replace(MARK_START, "").replace(MARK_END, "")
        start = _marked_start(marked_text, chat, index)
    if start is None:
        start, text = _locate_answer(chat, index, prompt, text)
    message = chat.messages[index]
    if message.content.strip() not in text[start:]:
        literal = _literal_answer(tokenizer, chat, index, prompt, text[start:])
        if literal is not None:
            return literal
        reason = "an answer of which the chat template drops a part"
        raise chat.fault(index, "template_drops_text", reason, "text that the chat template keeps")
    _check_reasoning(chat, index, text[start:])
    _check_calls(chat, index, text[start:])
    start += _empty_thinking_length(message, text[start:])
    stop = first_stop(tokenizer, text, start)
    # Such an answer would end with a token at which the engine goes on.
    if stop is None or any(end in text[start : stop[0]] for end in tokenizer.unserved_stop_texts):
        raise _no_stop(tokenizer, chat, index)
    end = stop[0] + len(stop[1])
    return Answer(prefix=text[:start], text=text[start:end], stop=stop[1])


def _render(template: ChatTemplate, chat: Conversation, index: int) -> tuple[str, str]:
    try:
        prompt = template.render(chat.messages[:index], chat.tools, for_generation=True)
        return prompt, template.render_marked(chat.messages[: index + 1], chat.tools)
    except TemplateRefusalError as error:
        expected = "a conversation that the chat template accepts"
        found = f"a conversation that it refuses: {quote(clip(str(error), 200))}"
        raise chat.fault(index, "template_refuses", found, expected) from error


def _check_prompt(chat: Conversation, index: int, prompt: str) -> None:
    """Refuse messages that the template drops silently: the first one, and those since the last answer."""
    places = range(index - 1, -1, -1)
    recent = list(takewhile(lambda place: not chat.messages[place].is_trained, places))
    for place in sorted({*recent, *range(min(index, 1))}):
        message = chat.messages[place]
        if message.role != "assistant" and not _is_kept(message.content.strip(), prompt):
            found = f'a message of the role "{message.role}" that the chat template leaves out or changes'
            raise chat.fault(place, "template_drops_text", found, "a message that the chat template keeps")
    for place, tool in enumerate(chat.tools):
        function = tool.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if str(name) not in prompt:
            found = "a tool that the chat template leaves out"
            expected = "no tools, or a model whose chat template declares them"
            raise ExampleError(
                chat.line, f"{chat.tools_path}[{place}]", "template_drops_tools", found, expected
            )


def _is_kept(content: str, prompt: str) -> bool:
    """Return whether the prompt has a text literally, or as the JSON string that a tool's result becomes."""
    if content in prompt:
        return True
    return any(json.dumps(content, ensure_ascii=flag)[1:-1] in prompt for flag in (False, True))


def _check_reasoning(chat: Conversation, index: int, text: str) -> None:
    if (chat.messages[index].reasoning or "").strip() not in text:
        path = f"{chat.paths[index]}.reasoning_content"
        found = "reasoning that the chat template leaves out"
        expected = "no such field, or a model whose chat template has it"
        raise ExampleError(chat.line, path, "template_drops_text", found, expected)


def _check_calls(chat: Conversation, index: int, text: str) -> None:
    for place, call in enumerate(chat.messages[index].tool_calls):
        if call.name not in text:
            path = f"{chat.paths[index]}.tool_calls[{place}]"
            found = "a call that the chat template leaves out"
            expected = "no tool calls, or a model whose chat template has them"
            raise ExampleError(chat.line, path, "template_drops_tools", found, expected)


def _marked_start(marked_text: str, chat: Conversation, index: int) -> int | None:
    """Return where the marked text of the last answer begins; None if answers and marks don't correspond."""
    answers = sum(message.role == "assistant" for message in chat.messages[: index + 1])
    if marked_text.count(MARK_START) != answers or marked_text.count(MARK_END) != answers:
        return None
    return marked_text.rindex(MARK_START) - 2 * (answers - 1)


def _locate_answer(chat: Conversation, index: int, prompt: str, text: str) -> tuple[int, str]:
    """Return where the answer begins, and the conversation with the prompt that is served."""
    if text.startswith(prompt):
        return len(prompt), text
    header = prompt.rstrip().removesuffix(THINK_START)
    if header != prompt.rstrip() and text.startswith(header):
        return _locate_after_opened_thinking(chat.messages[index], prompt, text, header)
    answer = _text_after_question(chat, index, prompt, text)
    if answer is not None:
        return len(prompt), prompt + answer
    found = "an answer whose prompt the chat template renders differently once it is answered"
    expected = "a conversation in an order that the chat template is made for"
    raise chat.fault(index, "template_unstable", found, expected)


def _locate_after_opened_thinking(message: Message, prompt: str, text: str, header: str) -> tuple[int, str]:
    """Return start and conversation for a template that opens thinking for generation only.

    Every prompt in serving ends with the opened block: an answer without thinking follows after an empty one.
    """
    if THINK_END in message.content or message.reasoning:
        return len(header), text
    context = f"{prompt.rstrip()}\n\n{THINK_END}\n\n"
    return len(context), context + text[len(header) :].lstrip("\n")


def _text_after_question(chat: Conversation, index: int, prompt: str, text: str) -> str | None:
    """Return the text that follows the last question, if question and answer are rendered as in the prompt.

    Templates that put the instruction before the last question drop it once that is answered; the prompt in
    serving has it.
    """
    content = chat.messages[index].content.strip()
    question = chat.messages[index - 1].content.strip() if index else ""
    place = text.rfind(content) if content and question else -1
    while place >= 0:
        for end in range(place, len(text[:place].rstrip()) - 1, -1):
            if question in _shared_end(prompt, text[:end]):
                return text[end:]
        place = text.rfind(content, 0, place + len(content) - 1)
    return None


def _shared_end(left: str, right: str) -> str:
    """Return the longest common suffix."""
    length = 0
    for one, other in zip(reversed(left), reversed(right), strict=False):
        if one != other:
            break
        length += 1
    return left[len(left) - length :]


def _literal_answer(
    tokenizer: ModelTokenizer, chat: Conversation, index: int, prompt: str, rendering: str
) -> Answer | None:
    """Return the answer as the model must generate it, if the template strips thinking from every turn."""
    content = chat.messages[index].content.strip()
    if THINK_END not in content:
        return None
    stop = first_stop(tokenizer, rendering, 0)
    if stop is None:
        raise _no_stop(tokenizer, chat, index)
    if prompt.rstrip().endswith(THINK_START):
        content = content.removeprefix(THINK_START).lstrip("\n")
    return Answer(prefix=prompt, text=content + stop[1], stop=stop[1])


def _empty_thinking_length(message: Message, text: str) -> int:
    """Return the length of an empty block of thinking that the template adds to an example without one."""
    match = _EMPTY_THINKING.match(text)
    if match is None or message.reasoning or message.content.strip() not in text[match.end() :]:
        return 0
    return match.end()


def first_stop(tokenizer: ModelTokenizer, text: str, start: int) -> tuple[int, str] | None:
    """Return position and text of the first stop token; of two at one position the longer one."""
    places = ((text.find(stop, start), -len(stop), stop) for stop in tokenizer.stop_texts)
    first = min((place for place in places if place[0] >= 0), default=None)
    return None if first is None else (first[0], first[2])


def _no_stop(tokenizer: ModelTokenizer, chat: Conversation, index: int) -> ExampleError:
    found = "an answer that the chat template does not end with a stop token"
    expected = f"one of the model's stop tokens at the end: {', '.join(map(quote, tokenizer.stop_texts))}"
    if tokenizer.unserved_stop_texts:
        names = ", ".join(map(quote, tokenizer.unserved_stop_texts))
        expected += f"; the engine does not stop at {names}, which generation_config.json does not name"
    return chat.fault(index, "no_stop_token", found, expected)
