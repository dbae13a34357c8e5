"""Rules that the schemas can't express: between parameters, and unsupported values with their reasons."""

from __future__ import annotations

from collections.abc import Iterable

from api.openai.errors.base import printable
from api.openai.errors.parameters import (
    IntegerBelowMinValue,
    InvalidValue,
    MissingRequiredParameter,
    StringAboveMaxLength,
    UnsupportedValue,
)
from api.openai.schemas.chat import ChatRequest
from api.openai.schemas.completions import CompletionRequest
from api.openai.schemas.fields import MAX_METADATA_KEY_LENGTH, AnyStreamOptions, StructuredOutputs
from api.openai.schemas.sampling import Sampling
from api.openai.schemas.tokenize import TokenizeRequest
from api.openai.schemas.tools import SchemaFormat
from api.openai.validation.conversation_rules import (
    check_final_message,
    check_messages,
    check_template_kwargs,
    check_tool_names,
    check_tools,
    offered_tools,
)
from api.openai.validation.grammars import check_choices, check_pattern, check_schema, check_schema_text

# Parameters of /tokenize that require messages.
CONVERSATION_PARAMETERS = ("add_generation_prompt", "continue_final_message", "chat_template_kwargs", "tools")
# Parameters that exclude tokens, possibly all that a constraint allows.
_EXCLUDE_TOKENS = ("allowed_token_ids", "bad_words", "min_tokens")


def check_chat(request: ChatRequest) -> None:
    """Raise ApiError for the first rule that a chat request breaks."""
    _check_sampling(request)
    _check_min_tokens(request, request.completion_limit)
    _check_limits(request)
    check_final_message(request)
    check_tools(request)
    _check_single_values(request)
    check_template_kwargs(request.chat_template_kwargs or {})
    check_messages(request.messages)


def check_completion(request: CompletionRequest) -> None:
    """Raise ApiError for the first rule that a completion request breaks."""
    _check_sampling(request)
    _check_min_tokens(request, request.completion_limit)
    if request.max_tokens == 0 and not request.echo:
        raise IntegerBelowMinValue(param="max_tokens", sign=">=", bound=1, value=0)
    if request.best_of is not None and request.best_of != (request.n or 1):
        raise UnsupportedValue(
            param="best_of", value=str(request.best_of), reason="only a value equal to 'n' is supported"
        )


def check_tokenize(request: TokenizeRequest) -> None:
    """Raise ApiError for the first rule that a tokenize request breaks."""
    if request.messages is None:
        if request.prompt is None:
            raise MissingRequiredParameter(param="prompt")
        for name in CONVERSATION_PARAMETERS:
            if getattr(request, name) is not None:
                raise InvalidValue(param=name, reason="it requires 'messages'")
        return
    if request.prompt is not None:
        raise InvalidValue(param="messages", reason="it can't be combined with 'prompt'")
    check_final_message(request)
    check_tool_names(offered_tools(request.tools))
    check_template_kwargs(request.chat_template_kwargs or {})
    check_messages(request.messages)


def check_stream_options(is_streamed: bool, options: AnyStreamOptions | None) -> None:
    """Raise ApiError for stream options that have an effect, without a stream."""
    if options is not None and options.needs_stream and not is_streamed:
        raise InvalidValue(param="stream_options", reason="it requires 'stream' to be true")


def _check_sampling(request: Sampling) -> None:
    check_stream_options(request.is_streamed, request.stream_options)
    for token in request.logit_bias or ():
        if not (token.isascii() and token.isdigit() and len(token) <= 7) or str(int(token)) != token:
            raise InvalidValue(
                param="logit_bias", reason=f"keys must be token ids, and '{printable(token)}' is not one"
            )
    logprobs = getattr(request, "logprobs", None)
    if request.logprob_token_ids and (logprobs is None or logprobs is False):
        raise InvalidValue(param="logprob_token_ids", reason="it requires 'logprobs'")
    _check_constraints(request)


def _check_min_tokens(request: Sampling, limit: int | None) -> None:
    if request.min_tokens is not None and limit is not None and request.min_tokens > limit:
        raise InvalidValue(param="min_tokens", reason=f"it is above the limit of {limit} completion tokens")


def _check_constraints(request: Sampling) -> None:
    if request.is_constrained:
        for name in _EXCLUDE_TOKENS:
            if getattr(request, name):
                raise InvalidValue(
                    param=name, reason="it can't be combined with a constraint on the form of the output"
                )
    if isinstance(request.response_format, SchemaFormat):
        check_schema(request.response_format.json_schema.schema_, "response_format.json_schema.schema")
    if request.structured_outputs is not None:
        _check_structured_outputs(request, request.structured_outputs)


def _check_structured_outputs(request: Sampling, outputs: StructuredOutputs) -> None:
    constraints = outputs.model_dump(exclude_none=True)
    if len(constraints) != 1:
        raise InvalidValue(
            param="structured_outputs", reason=f"expected exactly one constraint, but got {len(constraints)}"
        )
    if request.response_format is not None and request.response_format.type != "text":
        raise InvalidValue(param="structured_outputs", reason="it can't be combined with 'response_format'")
    if outputs.json_ is not None:
        check_schema_text(outputs.json_, "structured_outputs.json")
    if outputs.regex is not None:
        check_pattern(outputs.regex, "structured_outputs.regex")
    if outputs.json_object is False:
        raise InvalidValue(param="structured_outputs.json_object", reason="expected true")
    if outputs.choice is not None:
        check_choices(outputs.choice, "structured_outputs.choice")


def _check_limits(request: ChatRequest) -> None:
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise InvalidValue(
            param="max_tokens",
            reason="it can't be combined with 'max_completion_tokens'; send only the latter",
        )
    if request.top_logprobs and not request.logprobs:
        raise InvalidValue(param="top_logprobs", reason="it requires 'logprobs' to be true")


def _check_single_values(request: ChatRequest) -> None:
    """Check modalities, which have a single effective value, and metadata."""
    if request.modalities and "audio" in request.modalities:
        value = printable(repr(request.modalities))
        raise UnsupportedValue(
            param="modalities", value=value, reason="only text is generated, so only ['text'] is supported"
        )
    check_metadata_keys(request.metadata or ())


def check_metadata_keys(keys: Iterable[str]) -> None:
    """Raise ApiError for the first key that is too long."""
    for key in keys:
        if len(key) > MAX_METADATA_KEY_LENGTH:
            raise StringAboveMaxLength(param="metadata", bound=MAX_METADATA_KEY_LENGTH, length=len(key))
