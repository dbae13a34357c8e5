"""Parameters that the engine doesn't receive: unsupported ones, and ones without effect.

All other parameters are in a schema, or unknown.
"""

from __future__ import annotations

from collections.abc import Mapping

# By OpenAI's definition, these have no influence on the response. The gateway keeps them from engines, as
# some identify a person.
WITHOUT_EFFECT: Mapping[str, str] = {
    "user": "an identifier for abuse detection",
    "safety_identifier": "an identifier for abuse detection",
    "prompt_cache_key": "a cache routing hint; the prefix cache finds shared prefixes on its own",
    "metadata": "labels for stored completions; completions are not stored",
    "store": "completions are not stored, so only false is supported",
    "service_tier": "there is one tier, so only 'auto' and 'default' are supported",
    "modalities": "only text is generated, so only ['text'] is supported",
    "verbosity": "only 'medium', the default, is supported",
    "best_of": "only a value equal to 'n' is supported",
}

_RESERVED = "it is set by the platform"

UNSUPPORTED_EVERYWHERE: Mapping[str, str] = {
    "priority": _RESERVED,
    "cache_salt": _RESERVED,
    "request_id": _RESERVED,
    "session_id": _RESERVED,
    "lora_path": _RESERVED,
    "lora_request": _RESERVED,
    "chat_template": "the model's own template is used; set its variables in 'chat_template_kwargs'",
    "mm_processor_kwargs": _RESERVED,
    "media_io_kwargs": _RESERVED,
    "kv_transfer_params": _RESERVED,
    "ec_transfer_params": _RESERVED,
    "vllm_xargs": _RESERVED,
    "prompt_embeds": "prompts are text or token ids",
    "prompt_logprobs": "log probabilities of the prompt are not available",
    "truncate_prompt_tokens": "prompts are never truncated; a prompt that is too long is rejected",
    "truncation_side": "prompts are never truncated; a prompt that is too long is rejected",
    "use_beam_search": "beam search is not available; use 'n' for several choices",
    "length_penalty": "beam search is not available",
    "guided_json": "use 'response_format' or 'structured_outputs'",
    "guided_regex": "use 'structured_outputs'",
    "guided_choice": "use 'structured_outputs'",
    "guided_grammar": "grammars are not supported; use 'response_format'",
    "guided_decoding_backend": _RESERVED,
    "documents": "put documents into the messages",
}

UNSUPPORTED_CHAT: Mapping[str, str] = {
    **UNSUPPORTED_EVERYWHERE,
    "audio": "only text is generated",
    "functions": "it is deprecated; use 'tools'",
    "function_call": "it is deprecated; use 'tool_choice'",
    "prediction": "predicted outputs are not available",
    "moderation": "moderation is not available",
    "prompt_cache_options": "prefixes are cached automatically",
    "prompt_cache_retention": "prefixes stay cached until their memory is needed",
    "web_search_options": "web search is not available; define a tool of your own",
    "echo": "chat completions never repeat the conversation",
}

UNSUPPORTED_COMPLETIONS: Mapping[str, str] = {
    **UNSUPPORTED_EVERYWHERE,
    "suffix": "engines do not support infilling",
}

_NEVER_TRUNCATED = "inputs are never truncated or padded; an input that is too long is rejected"
_MODEL_DEFINED = "the model defines how its vectors are computed"
_FLOAT32 = "vectors are float32; 'base64' encodes them in little-endian order"

UNSUPPORTED_EMBEDDINGS: Mapping[str, str] = {
    **UNSUPPORTED_EVERYWHERE,
    "truncate_prompt_tokens": _NEVER_TRUNCATED,
    "truncation_side": _NEVER_TRUNCATED,
    "truncate": _NEVER_TRUNCATED,
    "padding": _NEVER_TRUNCATED,
    "messages": "put texts or token ids into 'input'",
    "task": _MODEL_DEFINED,
    "normalize": _MODEL_DEFINED,
    "use_activation": _MODEL_DEFINED,
    "embed_dtype": _FLOAT32,
    "endianness": _FLOAT32,
    "stream": "embeddings can't be streamed",
}

UNSUPPORTED_TOKENIZE: Mapping[str, str] = {
    **UNSUPPORTED_EVERYWHERE,
    "tool_choice": "the prompt always includes all 'tools'",
}

UNSUPPORTED_MESSAGE: Mapping[str, str] = {
    "audio": "only text is accepted",
    "function_call": "it is deprecated; use 'tool_calls'",
}

UNSUPPORTED_PART: Mapping[str, str] = {
    "prompt_cache_breakpoint": "prefixes are cached automatically",
    "cache_control": "prefixes are cached automatically",
}

_UNBOUNDED_COMPILATION = "its compilation can't be bounded; use 'json', 'regex' or 'choice'"
UNSUPPORTED_CONSTRAINT: Mapping[str, str] = {
    "grammar": _UNBOUNDED_COMPILATION,
    "structural_tag": _UNBOUNDED_COMPILATION,
}

# The tables for nested parameters, by path without positions.
UNSUPPORTED_BELOW: Mapping[str, str] = {
    f"{prefix}.{name}": reason
    for prefix, table in (
        ("messages[]", UNSUPPORTED_MESSAGE),
        ("messages[].content[]", UNSUPPORTED_PART),
        ("input[].content[]", UNSUPPORTED_PART),
        ("input[].output[]", UNSUPPORTED_PART),
        ("structured_outputs", UNSUPPORTED_CONSTRAINT),
    )
    for name, reason in table.items()
}

STREAM_OPTIONS_WITHOUT_EFFECT = ("include_obfuscation",)
MESSAGE_WITHOUT_EFFECT = ("annotations",)
