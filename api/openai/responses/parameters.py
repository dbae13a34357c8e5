"""What of the Responses API is refused by name, each with what there is instead."""

from __future__ import annotations

from collections.abc import Mapping

from api.openai.schemas.parameters import REFUSED_EVERYWHERE

_NOT_CHAT = "it belongs to chat completions; use "
_ONE_ANSWER = "a response has one answer"

# Names below the top are paths without positions.
REFUSED: Mapping[str, str] = {
    **REFUSED_EVERYWHERE,
    "access_programs": "there are no access programs",
    "background_options": "background responses begin as soon as there is room",
    "context_management": "conversations are never shortened; send the items that are to be seen",
    "conversation": "conversations are not stored; use 'previous_response_id'",
    "image": "only text is generated",
    "max_tool_calls": "it counts calls of built-in tools, and there are none",
    "moderation": "moderation is not offered",
    "prompt": "prompt templates are not stored; use 'instructions' and 'input'",
    "prompt_cache_options": "prefixes are cached without being marked",
    "prompt_cache_retention": "cached prefixes are kept as long as there is room",
    "messages": _NOT_CHAT + "'input'",
    "max_tokens": _NOT_CHAT + "'max_output_tokens'",
    "max_completion_tokens": _NOT_CHAT + "'max_output_tokens'",
    "response_format": _NOT_CHAT + "'text.format'",
    "reasoning_effort": _NOT_CHAT + "'reasoning.effort'",
    "verbosity": _NOT_CHAT + "'text.verbosity'",
    "logprobs": _NOT_CHAT + "'message.output_text.logprobs' in 'include'",
    "functions": "it is deprecated, use 'tools'",
    "function_call": "it is deprecated, use 'tool_choice'",
    "modalities": "only text is generated",
    "audio": "only text is generated",
    "prediction": "predicted outputs are not offered",
    "n": _ONE_ANSWER,
    "best_of": _ONE_ANSWER,
    "echo": "the input is not repeated",
    "add_generation_prompt": "the answer is always a new message",
    "continue_final_message": "the answer is always a new message",
    "return_token_ids": "a response has no place for token ids",
    "stream_options.include_usage": "a response always has its usage",
    "stream_options.continuous_usage_stats": "a response has its usage at the end",
    "reasoning.summary": "reasoning is given in full, in items of type 'reasoning'",
    "reasoning.generate_summary": "reasoning is given in full, in items of type 'reasoning'",
    "tools[].allowed_callers": "the client calls the tools",
    "tools[].async": "the client calls the tools",
    "tools[].defer_loading": "the model is shown all tools at once",
    "tools[].output_schema": "the output of tools is not checked",
    "input[].async": "the client calls the tools",
    "input[].encrypted_content": "reasoning is not encrypted; send its 'content'",
    "input[].namespace": "tools have no namespaces",
}

INCLUDE: Mapping[str, str] = {
    "file_search_call.results": "built-in tools are not offered",
    "web_search_call.results": "built-in tools are not offered",
    "web_search_call.action.sources": "built-in tools are not offered",
    "code_interpreter_call.outputs": "built-in tools are not offered",
    "computer_call_output.output.image_url": "built-in tools are not offered",
    "message.input_image.image_url": "only text is taken",
    "reasoning.encrypted_content": "reasoning is given in full, in items of type 'reasoning'",
}

SERVICE_TIERS: Mapping[str, str] = dict.fromkeys(
    ("flex", "scale", "priority", "fast", "ultrafast"), "there is one tier; send 'auto' or 'default'"
)
TRUNCATION: Mapping[str, str] = {"auto": "prompts are never cut; one that is too long is refused"}
VERBOSITY: Mapping[str, str] = dict.fromkeys(
    ("low", "high"), "only 'medium' is accepted, which is the default"
)
REASONING_MODES: Mapping[str, str] = {"pro": "there is one mode; send 'standard'"}
REASONING_CONTEXT: Mapping[str, str] = dict.fromkeys(
    ("current_turn", "all_turns"), "the model's template decides which reasoning it is shown; send 'auto'"
)

_BUILT_IN = "built-in tools are not offered; define a function of your own"
BUILT_IN_TOOLS: Mapping[str, str] = dict.fromkeys(
    (
        *("file_search", "computer", "computer_use_preview", "mcp", "code_interpreter"),
        *("programmatic_tool_calling", "image_generation", "local_shell", "shell", "custom", "namespace"),
        *("tool_search", "apply_patch", "web_search", "web_search_2025_08_26", "web_search_preview"),
        "web_search_preview_2025_03_11",
    ),
    _BUILT_IN,
)

_TEXT_ONLY = "only text is taken"
INPUT_PARTS: Mapping[str, str] = dict.fromkeys(
    ("input_image", "input_file", "input_audio", "computer_screenshot"), _TEXT_ONLY
)

ITEMS: Mapping[str, str] = {
    **dict.fromkeys(
        (
            *("file_search_call", "computer_call", "computer_call_output", "web_search_call"),
            *("tool_search_call", "tool_search_output", "additional_tools", "configuration_update"),
            *("image_generation_call", "code_interpreter_call", "local_shell_call"),
            *("local_shell_call_output", "shell_call", "shell_call_output", "apply_patch_call"),
            *("apply_patch_call_output", "mcp_list_tools", "mcp_approval_request"),
            *("mcp_approval_response", "mcp_call", "custom_tool_call", "custom_tool_call_output"),
            *("program", "program_output"),
        ),
        "built-in tools are not offered",
    ),
    "compaction": "conversations are never shortened; send the items themselves",
    "compaction_trigger": "conversations are never shortened",
    # Items are stored with their response only: an id alone says neither which, nor whose.
    "item_reference": "items can't be looked up one by one; send the item, or use 'previous_response_id'",
}
