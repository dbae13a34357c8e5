"""What becomes of parameters that the engine is not given: refused by name, or defined as without effect.

Parameters in neither table and not in a schema are unknown.
"""

from __future__ import annotations

from collections.abc import Mapping

# OpenAI defines these as having no influence on the answer. They stay in the gateway: some name a
# person, and an engine has no use for them.
WITHOUT_EFFECT: Mapping[str, str] = {
    "user": "an identifier for abuse detection",
    "safety_identifier": "an identifier for abuse detection",
    "prompt_cache_key": "a hint for cache placement; the prefix cache finds shared prefixes by itself",
    "metadata": "labels for a stored completion; nothing is stored here",
    "store": "only false is accepted, which is what happens anyway",
    "service_tier": "only auto and default are accepted: there is one tier",
    "modalities": "only ['text'] is accepted, which is what is generated",
    "verbosity": "only medium is accepted, which is the default",
    "best_of": "only a value equal to n is accepted, which returns what n returns",
}

_PLATFORM = "the platform sets it"

REFUSED_EVERYWHERE: Mapping[str, str] = {
    "priority": _PLATFORM,
    "cache_salt": _PLATFORM,
    "request_id": _PLATFORM,
    "session_id": _PLATFORM,
    "lora_path": _PLATFORM,
    "lora_request": _PLATFORM,
    "chat_template": "the model's own template is used; its variables can be set in 'chat_template_kwargs'",
    "mm_processor_kwargs": _PLATFORM,
    "media_io_kwargs": _PLATFORM,
    "kv_transfer_params": _PLATFORM,
    "ec_transfer_params": _PLATFORM,
    "vllm_xargs": _PLATFORM,
    "prompt_embeds": "prompts are text or token ids",
    "prompt_logprobs": "log probabilities of the prompt are not offered",
    "truncate_prompt_tokens": "prompts are never cut; one that is too long is refused",
    "truncation_side": "prompts are never cut; one that is too long is refused",
    "use_beam_search": "the engine samples; use 'n' for several answers",
    "length_penalty": "it belongs to beam search, which is not offered",
    "guided_json": "use 'response_format' or 'structured_outputs'",
    "guided_regex": "use 'structured_outputs'",
    "guided_choice": "use 'structured_outputs'",
    "guided_grammar": "grammars are not compiled, use 'response_format'",
    "guided_decoding_backend": _PLATFORM,
    "documents": "put documents into the messages",
}

REFUSED_CHAT: Mapping[str, str] = {
    **REFUSED_EVERYWHERE,
    "audio": "only text is generated",
    "functions": "it is deprecated, use 'tools'",
    "function_call": "it is deprecated, use 'tool_choice'",
    "prediction": "predicted outputs are not offered",
    "moderation": "moderation is not offered",
    "prompt_cache_options": "prefixes are cached without being marked",
    "prompt_cache_retention": "cached prefixes are kept as long as there is room",
    "web_search_options": "web search is not offered; use a tool of your own",
    "echo": "the conversation is not repeated",
}

REFUSED_COMPLETIONS: Mapping[str, str] = {
    **REFUSED_EVERYWHERE,
    "suffix": "the engines do not fill in the middle",
}

_NOT_CUT = "inputs are never cut or filled up; one that is too long is refused"
_AS_TRAINED = "vectors are made as the model was trained"
_FLOATS = "vectors are float32; 'base64' holds them in little-endian order"

REFUSED_EMBEDDINGS: Mapping[str, str] = {
    **REFUSED_EVERYWHERE,
    "truncate_prompt_tokens": _NOT_CUT,
    "truncation_side": _NOT_CUT,
    "truncate": _NOT_CUT,
    "padding": _NOT_CUT,
    "messages": "put texts or token ids into 'input'",
    "task": _AS_TRAINED,
    "normalize": _AS_TRAINED,
    "use_activation": _AS_TRAINED,
    "embed_dtype": _FLOATS,
    "endianness": _FLOATS,
    "stream": "vectors come in one answer",
}

REFUSED_TOKENIZE: Mapping[str, str] = {
    **REFUSED_EVERYWHERE,
    "tool_choice": "all 'tools' are put before the model",
}

REFUSED_MESSAGE: Mapping[str, str] = {
    "audio": "only text is taken",
    "function_call": "it is deprecated, use 'tool_calls'",
}

REFUSED_PART: Mapping[str, str] = {
    "prompt_cache_breakpoint": "prefixes are cached without being marked",
    "cache_control": "prefixes are cached without being marked",
}

_COMPILES_UNBOUNDED = "compiling it can't be bounded; use 'json', 'regex' or 'choice'"
REFUSED_CONSTRAINT: Mapping[str, str] = {
    "grammar": _COMPILES_UNBOUNDED,
    "structural_tag": _COMPILES_UNBOUNDED,
}

# The same tables by path, without positions.
REFUSED_BELOW: Mapping[str, str] = {
    f"{place}.{name}": reason
    for place, table in (
        ("messages[]", REFUSED_MESSAGE),
        ("messages[].content[]", REFUSED_PART),
        ("input[].content[]", REFUSED_PART),
        ("input[].output[]", REFUSED_PART),
        ("structured_outputs", REFUSED_CONSTRAINT),
    )
    for name, reason in table.items()
}

STREAM_OPTIONS_WITHOUT_EFFECT = ("include_obfuscation",)
MESSAGE_WITHOUT_EFFECT = ("annotations",)
