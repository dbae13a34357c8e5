"""Chat messages and tools as in OpenAI's chat completions."""

from __future__ import annotations

import re
from typing import cast, get_args

from training.datasets.examples import Json, Message, Role, ToolCall
from training.datasets.faults import Fault, LineFaults, describe, one_of, quote
from training.datasets.formats.fields import Fields, objects
from training.datasets.json_values import parse_object
from training.datasets.lines import Record

ROLES: tuple[Role, ...] = get_args(Role)
_MESSAGE_FIELDS = (
    "role",
    "content",
    "name",
    "weight",
    "tool_calls",
    "tool_call_id",
    "reasoning_content",
    "reasoning",
)
_SDK_FIELDS = ("annotations",)  # of an answer saved with OpenAI's SDK; says nothing about its text
MAX_MESSAGES = 1000  # the chat template is rendered for each answer
MAX_TOOLS = 128
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAME_RULE = "1 to 64 letters, digits, hyphens or underscores"
_CALL_ANSWERS = 'a message of the role "tool" for each call before the next message of another role'
_PARTS = 'text, or an array of {"type": "text", "text": …}'


def read_tools(fields: Fields) -> tuple[Json, ...]:
    """Return the tools of an example; report their faults."""
    if fields.value.get("tools") is None:
        return ()
    items = fields.array("tools", "an array of functions", may_be_empty=True, max_length=MAX_TOOLS) or []
    expected = '{"type": "function", "function": {"name": …}}'
    tools = [tool for tool in objects(items, fields.at("tools"), fields.faults, expected) if tool]
    names: set[str] = set()
    for tool in tools:
        _check_tool(tool, names)
    return tuple(tool.value for tool in tools)


def _check_tool(tool: Fields, names: set[str]) -> None:
    tool.choice("type", ("function",))
    tool.only(("type", "function"))
    function = tool.value.get("function")
    if not isinstance(function, dict):
        tool.fault("function", "wrong_type" if "function" in tool.value else "missing", '{"name": …}')
        return
    fields = Fields(function, tool.at("function"), tool.faults)
    fields.only(("name", "description", "parameters", "strict"))
    name = _function_name(fields)
    if name in names:
        fields.fault("name", "repeated", "a name that no other tool has")
    elif name is not None:
        names.add(name)
    fields.text("description", is_required=False)
    for key, kind, phrase in (
        ("parameters", dict, "a JSON schema (an object)"),
        ("strict", bool, "a boolean"),
    ):
        if function.get(key) is not None and not isinstance(function[key], kind):
            fields.fault(key, "wrong_type", phrase)


def _function_name(fields: Fields) -> str | None:
    name = fields.text("name", may_be_empty=False)
    if name is not None and not _NAME.fullmatch(name):
        fields.fault("name", "invalid_name", _NAME_RULE)
        return None
    return name


def tool_names(tools: tuple[Json, ...]) -> set[str]:
    """Return the names of the functions that can be called."""
    functions = [tool.get("function") for tool in tools]
    return {str(function.get("name")) for function in functions if isinstance(function, dict)}


def read_message(fields: Fields, roles: tuple[Role, ...] = ROLES) -> Message | None:
    """Return a message, or None after reporting its faults."""
    before = len(fields.faults.items)
    fields.only(_MESSAGE_FIELDS, _SDK_FIELDS)
    role = cast("Role | None", fields.choice("role", roles))
    is_trained = _weight(fields, role)
    tool_calls = _tool_calls(fields, role)
    content = _content(fields, role, has_calls=bool(tool_calls), is_trained=is_trained)
    message = Message(
        role=role or "user",
        content=content,
        name=fields.text("name", is_required=False, may_be_empty=False),
        reasoning=_assistant_text(fields, role),
        tool_calls=tool_calls,
        tool_call_id=_tool_call_id(fields, role),
        is_trained=is_trained,
    )
    return message if len(fields.faults.items) == before else None


def _weight(fields: Fields, role: Role | None) -> bool:
    weight = fields.value.get("weight")
    if weight is None:
        return role == "assistant"
    if role not in ("assistant", None):
        fields.fault("weight", "misplaced", 'no weight: only messages of the role "assistant" have one')
    elif isinstance(weight, bool) or weight not in (0, 1):
        fields.fault("weight", "unknown_value", "0 or 1")
    return role == "assistant" and weight != 0


def _assistant_text(fields: Fields, role: Role | None) -> str | None:
    texts = []
    for name in ("reasoning_content", "reasoning"):
        text = fields.text(name, is_required=False)
        if text is not None and role not in ("assistant", None):
            fields.fault(name, "misplaced", 'this field only in messages of the role "assistant"')
        texts.append(text)
    return texts[0] or texts[1]


def _tool_call_id(fields: Fields, role: Role | None) -> str | None:
    if role == "tool":
        return fields.text("tool_call_id", may_be_empty=False)
    if role is not None and fields.value.get("tool_call_id") is not None:
        fields.fault("tool_call_id", "misplaced", 'this field only in messages of the role "tool"')
    return None


def _content(fields: Fields, role: Role | None, *, has_calls: bool, is_trained: bool) -> str:
    value = fields.value.get("content")
    if value is None:
        if has_calls or (role == "assistant" and fields.value.get("tool_calls") is not None):
            return ""
        if "content" in fields.value:
            fields.fault("content", "wrong_type", _PARTS)
        else:
            fields.missing("content", _PARTS)
        return ""
    if isinstance(value, list):
        text = _parts(fields, value)
    elif isinstance(value, str):
        text = value
    else:
        fields.fault("content", "wrong_type", _PARTS)
        return ""
    needs_text = role == "user" or (is_trained and not has_calls)
    if text is not None and needs_text and not text.strip():
        found = "only white space" if text else "an empty string"
        fields.fault("content", "empty", "text that is not empty", found=found)
    return text or ""


def _parts(fields: Fields, parts: list[object]) -> str | None:
    texts: list[str] = []
    before = len(fields.faults.items)
    for part in objects(parts, fields.at("content"), fields.faults, 'an object {"type": "text", "text": …}'):
        if part is None:
            continue
        if part.choice("type", ("text",)) is not None:
            part.only(("type", "text"))
            text = part.text("text")
            texts.append(text or "")
    return "\n".join(texts) if len(fields.faults.items) == before else None


def _tool_calls(fields: Fields, role: Role | None) -> tuple[ToolCall, ...]:
    if fields.value.get("tool_calls") is None:
        return ()
    if role not in ("assistant", None):
        fields.fault("tool_calls", "misplaced", 'this field only in messages of the role "assistant"')
        return ()
    expected = "an array of function calls, or no such field"
    items = fields.array("tool_calls", expected)
    path = fields.at("tool_calls")
    calls = objects(items or (), path, fields.faults, '{"id": …, "type": "function", "function": …}')
    return tuple(call for call in map(_tool_call, calls) if call is not None)


def _tool_call(fields: Fields | None) -> ToolCall | None:
    if fields is None:
        return None
    fields.only(("id", "type", "function"), ("index",))
    identifier = fields.text("id", may_be_empty=False)
    fields.choice("type", ("function",))
    function = fields.value.get("function")
    if not isinstance(function, dict):
        code = "wrong_type" if "function" in fields.value else "missing"
        fields.fault("function", code, '{"name": …, "arguments": …}')
        return None
    inner = Fields(function, fields.at("function"), fields.faults)
    inner.only(("name", "arguments"))
    name = _function_name(inner)
    arguments = _arguments(inner)
    if identifier is None or name is None or arguments is None:
        return None
    return ToolCall(id=identifier, name=name, arguments=arguments)


def _arguments(fields: Fields) -> Json | None:
    expected = "the text of a JSON object"
    text = fields.text("arguments")
    if text is None:
        return None
    value = parse_object(Record(fields.faults.line, text.encode()))
    if isinstance(value, Fault):
        found = f"{value.found}, in {describe(text)}"
        fields.fault("arguments", value.code, expected, found=found)
        return None
    return value


def check_calls(
    messages: list[Message | None], paths: list[str], tools: tuple[Json, ...], faults: LineFaults
) -> None:
    """Report the first mismatch between calls, their answers and the tools, unless there is another fault.

    Later ones may be consequences of it.
    """
    names = tool_names(tools)
    call_ids: set[str] = set()
    open_calls: dict[str, str] = {}  # id -> path of the message
    for message, path in zip(messages, paths, strict=True):
        if message is None or faults.items:
            return
        if message.role == "tool":
            _close_call(message, path, call_ids, open_calls, faults)
            continue
        for identifier, at in open_calls.items():
            faults.add(at, "unanswered_call", f"no answer to the call {quote(identifier)}", _CALL_ANSWERS)
        open_calls = {call.id: f"{path}.tool_calls" for call in message.tool_calls}
        for index, call in enumerate(message.tool_calls):
            _check_call(call, f"{path}.tool_calls[{index}]", names, call_ids, faults)


def _check_call(call: ToolCall, path: str, names: set[str], call_ids: set[str], faults: LineFaults) -> None:
    if call.id in call_ids:
        faults.add(f"{path}.id", "repeated", quote(call.id), "an id that no other call of the example has")
    call_ids.add(call.id)
    if call.name not in names:
        expected = one_of(tuple(sorted(names))) if names else "a declaration of this function in tools"
        faults.add(f"{path}.function.name", "undeclared_tool", quote(call.name), expected)


def _close_call(
    message: Message, path: str, call_ids: set[str], open_calls: dict[str, str], faults: LineFaults
) -> None:
    identifier = message.tool_call_id or ""
    if identifier in open_calls:
        del open_calls[identifier]
        return
    expected = "the id of a call in the preceding assistant message"
    if open_calls:
        expected = one_of(tuple(open_calls))
    found = (
        f"{quote(identifier)}, which already has an answer" if identifier in call_ids else quote(identifier)
    )
    faults.add(f"{path}.tool_call_id", "unknown_call", found, expected)
