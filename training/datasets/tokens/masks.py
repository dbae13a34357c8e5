"""Samples made from examples: rendered, tokenised, and with a mask of the tokens to train."""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence

import msgspec

from training.datasets.examples import ChatExample, Message, PreferenceExample
from training.datasets.faults import quote
from training.datasets.tokens.answers import Answer, Conversation, ExampleError, find_answer
from training.datasets.tokens.samples import Sample, SamplePair
from training.datasets.tokens.tokenizer import ModelTokenizer, UnusableModelError

MAX_RENDERED_CHARACTERS = 1 << 26  # per example, which is rendered once up to each answer


class Span(msgspec.Struct, frozen=True):
    """Characters of an answer: from ``start`` to the end of the stop token that begins at ``stop``."""

    start: int
    stop: int


def check_model(tokenizer: ModelTokenizer) -> None:
    """Try the chat template on a short conversation. Raises UnusableModelError if it fails."""
    if tokenizer.template is None:
        return
    messages = (
        Message(role="user", content="Hi"),
        Message(role="assistant", content="Yes.", is_trained=True),
    )
    try:
        chat_samples(tokenizer, ChatExample(line=0, messages=messages, paths=("a question", "an answer")))
    except ExampleError as error:
        fault = error.fault
        reason = f"found {fault.found}, expected {fault.expected}"
        raise UnusableModelError(f"no answer can be learned with its chat template: {reason}") from error


def chat_samples(tokenizer: ModelTokenizer, example: ChatExample) -> list[Sample]:
    """Return one sample, or one for each answer if the template renders earlier turns differently."""
    chat = Conversation(
        line=example.line,
        messages=example.messages,
        paths=example.paths,
        tools=example.tools,
        tools_path=example.tools_path,
    )
    _refuse_control_tokens(tokenizer, chat)
    answer_indices = [index for index, message in enumerate(example.messages) if message.is_trained]
    _check_size(chat, len(answer_indices))
    if tokenizer.template is None:
        answers = [_plain_answer(tokenizer, chat, is_completion=example.is_completion)]
    else:
        template = tokenizer.template
        answers = [find_answer(tokenizer, template, chat, index) for index in answer_indices]
    whole = answers[-1].whole
    if all(whole.startswith(answer.whole) for answer in answers):
        return [_sample(tokenizer, chat, whole, answers)]
    return [_sample(tokenizer, chat, answer.whole, [answer]) for answer in answers]


def pair_samples(tokenizer: ModelTokenizer, example: PreferenceExample) -> SamplePair:
    """Return the two sequences of a preference pair."""
    chosen = _one_answer(tokenizer, example, example.chosen, example.chosen_path)
    rejected = _one_answer(tokenizer, example, example.rejected, example.rejected_path)
    prompt_length = 0
    for left, right, *flags in zip(
        chosen.input_ids, rejected.input_ids, chosen.loss_mask, rejected.loss_mask, strict=False
    ):
        if left != right or any(flags):
            break
        prompt_length += 1
    return SamplePair(chosen, rejected, prompt_length)


def _one_answer(tokenizer: ModelTokenizer, example: PreferenceExample, answer: Message, path: str) -> Sample:
    chat = ChatExample(
        line=example.line,
        messages=(*example.prompt, answer),
        tools=example.tools,
        tools_path=example.tools_path,
        paths=(*example.paths, path),
        is_completion=example.is_completion,
    )
    (sample,) = chat_samples(tokenizer, chat)
    return sample


def _plain_answer(tokenizer: ModelTokenizer, chat: Conversation, *, is_completion: bool) -> Answer:
    if not is_completion:
        found = "a conversation, for a model without a chat template"
        raise chat.fault(0, "no_template", found, "prompt and completion, or a model with a chat template")
    prompt, completion = chat.messages
    stop = tokenizer.special_tokens.get("eos_token", tokenizer.stop_texts[0])
    return Answer(prefix=prompt.content, text=completion.content + stop, stop=stop)


def _refuse_control_tokens(tokenizer: ModelTokenizer, chat: Conversation) -> None:
    """Refuse texts that would become control tokens, such as the end of a turn inside a question."""
    for index, message in enumerate(chat.messages):
        for field, text in _texts(message):
            token = next((token for token in tokenizer.control_texts if token in text), None)
            if token is not None:
                path = f"{chat.paths[index]}.{field}" if field else chat.paths[index]
                found = f"the control token {quote(token)} in a text"
                expected = "a text without control tokens of the model"
                raise ExampleError(chat.line, path, "control_token", found, expected)
    for index, tool in enumerate(chat.tools):
        declaration = json.dumps(tool, ensure_ascii=False)
        token = next((token for token in tokenizer.control_texts if token in declaration), None)
        if token is not None:
            found = f"the control token {quote(token)} in a tool"
            raise ExampleError(
                chat.line, f"{chat.tools_path}[{index}]", "control_token", found, "no control tokens"
            )


def _check_size(chat: Conversation, answers: int) -> None:
    """Refuse a conversation whose renderings, one for each answer, would take hours and all memory."""
    characters = sum(len(text) for message in chat.messages for _, text in _texts(message))
    characters += sum(len(json.dumps(tool, ensure_ascii=False)) for tool in chat.tools)
    if answers > 1 and answers * characters > MAX_RENDERED_CHARACTERS:
        found = f"{answers} answers to learn in a conversation of {characters} characters"
        max_answers = max(1, MAX_RENDERED_CHARACTERS // characters)
        expected = f"at most {max_answers} in one of this length: give others the weight 0, or split it"
        raise ExampleError(chat.line, "", "too_many_answers", found, expected)


def _texts(message: Message) -> Iterator[tuple[str, str]]:
    yield "", message.content
    yield "name", message.name or ""
    yield "reasoning_content", message.reasoning or ""
    yield "tool_call_id", message.tool_call_id or ""
    for index, call in enumerate(message.tool_calls):
        yield (
            f"tool_calls[{index}]",
            f"{call.id} {call.name} {json.dumps(call.arguments, ensure_ascii=False)}",
        )


def _sample(tokenizer: ModelTokenizer, chat: Conversation, text: str, answers: Sequence[Answer]) -> Sample:
    spans = [Span(len(answer.prefix), len(answer.whole) - len(answer.stop)) for answer in answers]
    ids, offsets = tokenizer.encode_with_offsets(text)
    cuts = [span.start for span in spans if _straddles(offsets, span.start)]
    if cuts:
        ids, offsets = _encode_apart(tokenizer, chat, text, cuts, ids)
    starts = [start for start, _ in offsets]
    loss_mask = bytearray(len(ids))
    for span in spans:
        first, last = bisect_left(starts, span.start), bisect_left(starts, span.stop)
        if last >= len(ids) or starts[last] != span.stop or ids[last] not in tokenizer.stop_ids:
            found = "an answer whose stop token becomes several tokens"
            raise ExampleError(chat.line, chat.paths[-1], "stop_token_split", found, "one token")
        loss_mask[first : last + 1] = b"\1" * (last + 1 - first)
    loss_mask[0] = 0  # nothing predicts the first token
    return Sample(array("i", ids), loss_mask, chat.line)


def _straddles(offsets: Sequence[tuple[int, int]], position: int) -> bool:
    """Return whether a token begins before a position and ends after it."""
    index = bisect_left(offsets, (position, 0))
    return index > 0 and offsets[index - 1][1] > position


def _encode_apart(
    tokenizer: ModelTokenizer, chat: Conversation, text: str, cuts: Sequence[int], whole_ids: list[int]
) -> tuple[list[int], list[tuple[int, int]]]:
    """Tokenise the pieces separately, as in inference, where the prompt is tokenised before the answer."""
    ids: list[int] = []
    offsets: list[tuple[int, int]] = []
    for start, end in zip((0, *cuts), (*cuts, len(text)), strict=True):
        piece_ids, piece_offsets = tokenizer.encode_with_offsets(text[start:end])
        ids.extend(piece_ids)
        offsets.extend((start + left, start + right) for left, right in piece_offsets)
    if tokenizer.decode(ids) != tokenizer.decode(whole_ids):
        found = "an answer whose first token reaches into the prompt"
        expected = "an answer that begins with another character"
        raise ExampleError(chat.line, chat.paths[-1], "token_straddles", found, expected)
    return ids, offsets
