"""The tools of public MCP servers, as clients send them. The shapes are theirs, the descriptions are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from api.openai.responses.requests import validate_response_body
from api.openai.validation.requests import validate_chat_body, validate_tokenize_body

SERVERS = {
    path.stem: json.loads(path.read_bytes()) for path in Path(__file__).parent.glob("mcp_tools/*.json")
}
TOOLS = [tool for server in SERVERS.values() for tool in server]
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def functions(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"name": tool["name"], "description": tool["description"], "parameters": tool["inputSchema"]}
        for tool in tools
    ]


def chat_tools(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "function", "function": function} for function in functions(tools)]


def engine_body(validate: Any, **fields: Any) -> Any:
    return json.loads(validate({**CHAT, **fields}).engine_body(model="m", cache_salt="s"))


@pytest.mark.case("clients.14")
@pytest.mark.parametrize("choice", [None, "auto", "none", "required"])
def test_the_tools_of_all_servers_are_accepted_together_and_reach_the_template(choice: str | None) -> None:
    assert len(SERVERS) == 9
    assert 100 < len(TOOLS) <= 128
    tools = chat_tools(TOOLS)
    assert engine_body(validate_chat_body, tools=tools, tool_choice=choice)["tools"] == tools
    assert engine_body(validate_tokenize_body, tools=tools)["tools"] == tools


@pytest.mark.case("clients.14")
@pytest.mark.parametrize("server", SERVERS)
def test_each_tool_of_a_server_can_be_forced(server: str) -> None:
    tools = chat_tools(SERVERS[server])
    for tool in SERVERS[server]:
        choice = {"type": "function", "function": {"name": tool["name"]}}
        assert engine_body(validate_chat_body, tools=tools, tool_choice=choice)["tools"] == tools


@pytest.mark.case("clients.14", "clients.21")
@pytest.mark.parametrize("choice", ["auto", "required"])
def test_responses_accepts_the_tools_of_all_servers_and_says_which_are_strict(choice: str) -> None:
    tools = [{"type": "function", **function} for function in functions(TOOLS)]
    plan = validate_response_body({"model": "m", "input": "hi", "tools": tools, "tool_choice": choice})
    strict = {tool["name"] for tool in plan.echo["tools"] if tool["strict"]}
    assert {"write_file", "read_graph", "create_entities", "browser_navigate"} <= strict
    assert not strict & {"read_file", "edit_file", "git_status", "firecrawl_search", "slack_post_message"}
    assert [{**tool, "strict": tool["name"] in strict} for tool in tools] == plan.echo["tools"]
    engine_tools = json.loads(plan.chat().engine_body(model="m", cache_salt="s"))["tools"]
    assert {tool["function"]["name"] for tool in engine_tools if tool["function"]["strict"]} == strict
