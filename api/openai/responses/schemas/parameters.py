"""Unsupported parameters and values of the Responses API, each with its reason and alternative."""

from __future__ import annotations

from collections.abc import Mapping

from api.openai.schemas.parameters import UNSUPPORTED_EVERYWHERE

_CHAT_PARAMETER = "it belongs to chat completions; use "
_ONE_CHOICE = "a response has exactly one choice"
_CLIENT_TOOLS = "the client calls the tools"
_NEW_MESSAGE = "the output is always a new message"
_TEXT_INPUT = "only text is accepted"
_TEXT_OUTPUT = "only text is generated"
_FULL_REASONING = "items of type 'reasoning' contain the complete reasoning"
_NO_BUILT_IN_TOOLS = "built-in tools are not available"

# Nested names are paths without positions.
UNSUPPORTED_RESPONSES: Mapping[str, str] = {
    **UNSUPPORTED_EVERYWHERE,
    "access_programs": "access programs are not available",
    "background_options": "background responses start as soon as there is capacity",
    "context_management": "conversations are never shortened; send only the items that the model needs",
    "conversation": "conversations are not stored; use 'previous_response_id'",
    "image": _TEXT_OUTPUT,
    "max_tool_calls": "it limits calls of built-in tools, which are not available",
    "moderation": "moderation is not available",
    "prompt": "prompt templates are not stored; use 'instructions' and 'input'",
    "prompt_cache_options": "prefixes are cached automatically",
    "prompt_cache_retention": "prefixes stay cached until their memory is needed",
    "messages": _CHAT_PARAMETER + "'input'",
    "max_tokens": _CHAT_PARAMETER + "'max_output_tokens'",
    "max_completion_tokens": _CHAT_PARAMETER + "'max_output_tokens'",
    "response_format": _CHAT_PARAMETER + "'text.format'",
    "reasoning_effort": _CHAT_PARAMETER + "'reasoning.effort'",
    "verbosity": _CHAT_PARAMETER + "'text.verbosity'",
    "logprobs": _CHAT_PARAMETER + "'message.output_text.logprobs' in 'include'",
    "functions": "it is deprecated; use 'tools'",
    "function_call": "it is deprecated; use 'tool_choice'",
    "modalities": _TEXT_OUTPUT,
    "audio": _TEXT_OUTPUT,
    "prediction": "predicted outputs are not available",
    "n": _ONE_CHOICE,
    "best_of": _ONE_CHOICE,
    "echo": "responses never repeat the input",
    "add_generation_prompt": _NEW_MESSAGE,
    "continue_final_message": _NEW_MESSAGE,
    "return_token_ids": "responses do not contain token ids",
    "stream_options.include_usage": "responses always include the usage",
    "stream_options.continuous_usage_stats": "the usage is reported at the end of the response",
    "reasoning.summary": _FULL_REASONING,
    "reasoning.generate_summary": _FULL_REASONING,
    "tools[].allowed_callers": _CLIENT_TOOLS,
    "tools[].async": _CLIENT_TOOLS,
    "tools[].defer_loading": "the prompt always includes all tools",
    "tools[].output_schema": "tool outputs are not validated",
    "input[].async": _CLIENT_TOOLS,
    "input[].encrypted_content": "reasoning is not encrypted; send its 'content'",
    "input[].namespace": "tools have no namespaces",
}

UNSUPPORTED_INCLUDE: Mapping[str, str] = {
    "file_search_call.results": _NO_BUILT_IN_TOOLS,
    "web_search_call.results": _NO_BUILT_IN_TOOLS,
    "web_search_call.action.sources": _NO_BUILT_IN_TOOLS,
    "code_interpreter_call.outputs": _NO_BUILT_IN_TOOLS,
    "computer_call_output.output.image_url": _NO_BUILT_IN_TOOLS,
    "message.input_image.image_url": _TEXT_INPUT,
    "reasoning.encrypted_content": _FULL_REASONING,
}

UNSUPPORTED_SERVICE_TIERS: Mapping[str, str] = dict.fromkeys(
    ("flex", "scale", "priority", "fast", "ultrafast"), "there is one tier; send 'auto' or 'default'"
)
UNSUPPORTED_TRUNCATION: Mapping[str, str] = {
    "auto": "prompts are never truncated; a prompt that is too long is rejected"
}
UNSUPPORTED_VERBOSITY: Mapping[str, str] = dict.fromkeys(
    ("low", "high"), "only 'medium', the default, is supported"
)
UNSUPPORTED_REASONING_MODES: Mapping[str, str] = {"pro": "there is one mode; send 'standard'"}
UNSUPPORTED_REASONING_CONTEXTS: Mapping[str, str] = dict.fromkeys(
    ("current_turn", "all_turns"), "the chat template selects the reasoning of earlier turns; send 'auto'"
)

BUILT_IN_TOOLS: Mapping[str, str] = dict.fromkeys(
    (
        *("file_search", "computer", "computer_use_preview", "mcp", "code_interpreter"),
        *("programmatic_tool_calling", "image_generation", "local_shell", "shell", "custom", "namespace"),
        *("tool_search", "apply_patch", "web_search", "web_search_2025_08_26", "web_search_preview"),
        "web_search_preview_2025_03_11",
    ),
    "built-in tools are not available; define a function of your own",
)

UNSUPPORTED_INPUT_PARTS: Mapping[str, str] = dict.fromkeys(
    ("input_image", "input_file", "input_audio", "computer_screenshot"), _TEXT_INPUT
)

UNSUPPORTED_ITEMS: Mapping[str, str] = {
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
        _NO_BUILT_IN_TOOLS,
    ),
    "compaction": "conversations are never shortened; send the items themselves",
    "compaction_trigger": "conversations are never shortened",
    # Items are stored only as part of their response, so an id alone identifies neither item nor tenant.
    "item_reference": "single items can't be looked up; send the item, or use 'previous_response_id'",
}
