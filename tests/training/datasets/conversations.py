"""Conversations for tests, and the trained text of samples."""

from __future__ import annotations

from itertools import groupby

from training.datasets.examples import ChatExample, Message, ToolCall
from training.datasets.tokens.samples import Sample
from training.datasets.tokens.tokenizer import ModelTokenizer


def user(text: str) -> Message:
    """Return a question."""
    return Message(role="user", content=text)


def assistant(
    text: str = "", *, is_trained: bool = True, calls: tuple[ToolCall, ...] = (), reasoning: str | None = None
) -> Message:
    """Return an answer."""
    return Message(
        role="assistant", content=text, is_trained=is_trained, tool_calls=calls, reasoning=reasoning
    )


def system(text: str) -> Message:
    """Return an instruction."""
    return Message(role="system", content=text)


def chat(*messages: Message, tools: tuple[dict[str, object], ...] = ()) -> ChatExample:
    """Return an example on line 7."""
    paths = tuple(f"messages[{index}]" for index in range(len(messages)))
    return ChatExample(line=7, messages=messages, paths=paths, tools=tools)


def trained_texts(tokenizer: ModelTokenizer, sample: Sample) -> list[str]:
    """Return the text of each trained run of tokens."""
    pairs = zip(sample.input_ids, sample.loss_mask, strict=True)
    groups = groupby(pairs, key=lambda pair: pair[1])
    return [tokenizer.decode([token for token, _ in run]) for flag, run in groups if flag]
