"""Values of the Responses API that are accepted as hints or history, or refused with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

TEXT_INPUT = "only text is accepted"
_NO_BUILT_IN_TOOLS = "built-in tools are not available; define a function of your own"

BuiltInToolType: TypeAlias = Literal[
    "apply_patch",
    "code_interpreter",
    "computer",
    "computer_use_preview",
    "custom",
    "file_search",
    "image_generation",
    "local_shell",
    "mcp",
    "programmatic_tool_calling",
    "shell",
    "tool_search",
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "web_search_preview_2025_03_11",
]

BUILT_IN_TOOLS: tuple[str, ...] = BuiltInToolType.__args__  # type: ignore[attr-defined]
FORCED_TOOLS: Mapping[str, str] = dict.fromkeys(BUILT_IN_TOOLS, _NO_BUILT_IN_TOOLS)

Includable: TypeAlias = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
]
# A stored response has all that it can include, so retrieval accepts these values as hints.
INCLUDABLE: tuple[str, ...] = Includable.__args__  # type: ignore[attr-defined]

UNSUPPORTED_REASONING_MODES: Mapping[str, str] = {"pro": "there is one mode; send 'standard'"}
UNSUPPORTED_REASONING_CONTEXTS: Mapping[str, str] = dict.fromkeys(
    ("current_turn", "all_turns"), "the chat template selects the reasoning of earlier turns; send 'auto'"
)
UNSUPPORTED_INPUT_PARTS: Mapping[str, str] = dict.fromkeys(
    ("input_image", "input_file", "input_audio", "computer_screenshot"), TEXT_INPUT
)

# Calls of built-in tools by the client's own means, and their outputs. The model sees them as function calls.
LocalCallType: TypeAlias = Literal["local_shell_call", "shell_call", "apply_patch_call"]
LocalOutputType: TypeAlias = Literal[
    "local_shell_call_output", "shell_call_output", "apply_patch_call_output"
]
# Tool calls that another service ran in an earlier turn. The model sees the answer that followed them.
RemoteItemType: TypeAlias = Literal[
    "code_interpreter_call",
    "computer_call",
    "computer_call_output",
    "file_search_call",
    "image_generation_call",
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_call",
    "mcp_list_tools",
    "program",
    "program_output",
    "tool_search_call",
    "tool_search_output",
    "web_search_call",
]
# Items that stand for other items, or change the request itself.
UNSUPPORTED_ITEMS: Mapping[str, str] = {
    "additional_tools": "list all tools in 'tools'",
    "configuration_update": "set the parameters of this request instead",
    "compaction_trigger": "send the conversation to '/v1/responses/compact'",
}
