"""Bad bodies for embeddings, tokenize and detokenize, with the error that each gets."""

from __future__ import annotations

from api.openai.schemas.tokenize import MAX_CHARACTERS
from tests.gateway.bodies.bad_requests import TOOL, Bad
from tests.gateway.harness import calls

USER = {"role": "user", "content": "hi"}

EMBEDDINGS = [
    Bad({"input": ...}, "missing_required_parameter", "input", "'input'"),
    Bad({"input": None}, "missing_required_parameter", "input", "'input'"),
    Bad({"model": ...}, "missing_required_parameter", "model", "'model'"),
    Bad({"input": ""}, "string_below_min_length", "input", "too short"),
    Bad({"input": []}, "empty_array", "input", "empty array"),
    Bad({"input": 7}, "invalid_type", "input", "expected a string or an array"),
    Bad({"input": {"text": "hi"}}, "invalid_type", "input", "but got an object"),
    Bad({"input": ["a", ""]}, "string_below_min_length", "input[1]", "too short"),
    Bad({"input": ["a", 1]}, "invalid_type", "input[1]", "expected a string"),
    Bad({"input": [1, "a"]}, "invalid_type", "input[1]", "expected an integer"),
    Bad({"input": [1, True]}, "invalid_type", "input[1]", "a boolean"),
    Bad({"input": [-1]}, "integer_below_min_value", "input[0]", ">= 0"),
    Bad({"input": [2**31]}, "integer_above_max_value", "input[0]", "<= 2147483647"),
    Bad({"input": [[1], []]}, "empty_array", "input[1]", "empty array"),
    Bad({"input": [[1], [2, "b"]]}, "invalid_type", "input[1][1]", "expected an integer"),
    Bad({"input": [[1], 2]}, "invalid_type", "input[1]", "expected an array"),
    Bad({"input": ["a"] * 2049}, "array_above_max_length", "input", "2048 elements"),
    Bad({"input": [[1]] * 2049}, "array_above_max_length", "input", "2048 elements"),
    Bad({"encoding_format": "bytes"}, "invalid_value", "encoding_format", "'float' or 'base64'"),
    Bad({"encoding_format": 1}, "invalid_value", "encoding_format", "1 is not one of"),
    Bad({"dimensions": 0}, "integer_below_min_value", "dimensions", ">= 1"),
    Bad({"dimensions": 1.5}, "invalid_type", "dimensions", "expected an integer"),
    Bad({"dimensions": "8"}, "invalid_type", "dimensions", "expected an integer"),
    Bad({"user": 7}, "invalid_type", "user", "expected a string"),
    Bad({"truncate_prompt_tokens": 5}, "unsupported_parameter", "truncate_prompt_tokens", "never truncated"),
    Bad({"truncate": "END"}, "unsupported_parameter", "truncate", "never truncated"),
    Bad({"padding": "max_length"}, "unsupported_parameter", "padding", "or padded"),
    Bad({"normalize": False}, "unsupported_parameter", "normalize", "the model defines"),
    Bad({"use_activation": False}, "unsupported_parameter", "use_activation", "the model defines"),
    Bad({"embed_dtype": "float16"}, "unsupported_parameter", "embed_dtype", "float32"),
    Bad({"messages": [USER]}, "unsupported_parameter", "messages", "'input'"),
    Bad({"stream": True}, "unsupported_parameter", "stream", "can't be streamed"),
    Bad({"priority": -1}, "unsupported_parameter", "priority", "set by the platform"),
    Bad({"cache_salt": "theirs"}, "unsupported_parameter", "cache_salt", "set by the platform"),
    Bad({"inputs": "hi"}, "unknown_parameter", "inputs", "'inputs'"),
]

TOKENIZE = [
    Bad({"prompt": ...}, "missing_required_parameter", "prompt", "'prompt'"),
    Bad({"prompt": 5}, "invalid_type", "prompt", "expected a string"),
    Bad({"prompt": ["a"]}, "invalid_type", "prompt", "but got an array"),
    Bad({"prompt": "x" * (MAX_CHARACTERS + 1)}, "string_above_max_length", "prompt", f"{MAX_CHARACTERS}"),
    Bad({"messages": [USER]}, "invalid_value", "messages", "can't be combined with 'prompt'"),
    Bad({"tools": [TOOL]}, "invalid_value", "tools", "requires 'messages'"),
    Bad({"add_generation_prompt": False}, "invalid_value", "add_generation_prompt", "requires 'messages'"),
    Bad({"prompt": ..., "messages": []}, "empty_array", "messages", "empty array"),
    Bad(
        {"prompt": ..., "messages": [{"role": "user"}]},
        "missing_required_parameter",
        "messages[0].content",
        "",
    ),
    Bad({"prompt": ..., "messages": [USER], "tools": [TOOL, TOOL]}, "invalid_value", "tools", "same name"),
    Bad(
        {"prompt": ..., "messages": [USER], "chat_template_kwargs": {"chat_template": "x"}},
        "unsupported_parameter",
        "chat_template_kwargs.chat_template",
        "set by the platform",
    ),
    Bad(
        {"prompt": ..., "messages": [USER], "continue_final_message": True, "add_generation_prompt": True},
        "invalid_value",
        "continue_final_message",
        "to be false",
    ),
    Bad(
        {"prompt": ..., "messages": [{"role": "user", "content": "x" * (MAX_CHARACTERS // 2)}] * 2},
        "string_above_max_length",
        "messages",
        f"at most {MAX_CHARACTERS} characters",
    ),
    Bad({"chat_template": "{{ 1 }}"}, "unsupported_parameter", "chat_template", "own template"),
    Bad({"tool_choice": "none"}, "unsupported_parameter", "tool_choice", "'tools'"),
    Bad({"return_token_strs": 1}, "invalid_type", "return_token_strs", "expected a boolean"),
    Bad({"text": "hi"}, "unknown_parameter", "text", "'text'"),
]

DETOKENIZE = [
    Bad({"tokens": ...}, "missing_required_parameter", "tokens", "'tokens'"),
    Bad({"tokens": "1"}, "invalid_type", "tokens", "expected an array"),
    Bad({"tokens": [1, "2"]}, "invalid_type", "tokens[1]", "expected an integer"),
    Bad({"tokens": [-1]}, "integer_below_min_value", "tokens[0]", ">= 0"),
    Bad({"tokens": [1] * 131_073}, "array_above_max_length", "tokens", "131072"),
    Bad({"skip_special_tokens": True}, "unknown_parameter", "skip_special_tokens", "skip_special_tokens"),
]

BAD_REQUESTS = [(calls.EMBEDDINGS, bad) for bad in EMBEDDINGS]
BAD_REQUESTS += [("/tokenize", bad) for bad in TOKENIZE]
BAD_REQUESTS += [("/detokenize", bad) for bad in DETOKENIZE]
