"""Hints without effect are named in the answer's header: plain, streamed, resumable, and of responses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.gateway.app import Gateway
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import RESUMABLE, chat, create_response
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import (
    VALID_DOCUMENT,
    Script,
    accepted,
    chunk,
    delta,
    done,
    finished,
    response_script,
)

HEADER = "x-cyllm-no-effect"
HINTS: dict[str, Any] = {"store": True, "verbosity": "low", "user": "u", "service_tier": "auto"}
PLAIN: Script = [accepted(), finished(VALID_DOCUMENT)]
STREAM: Script = [accepted(), delta("hi"), chunk(finish="stop"), done(), finished()]


@pytest.mark.case("clients.7")
@pytest.mark.parametrize(
    ("options", "script"), [({}, PLAIN), ({"stream": True}, STREAM), (RESUMABLE, STREAM)]
)
async def test_an_answer_names_the_hints_without_effect(
    gateway: Gateway, keys: Keys, client: ScriptedClient, options: dict[str, Any], script: Any
) -> None:
    client.scripts = [script, script]
    reply = await chat(gateway, keys.acme, **HINTS, **options)
    assert reply.status == 200
    assert reply.headers[HEADER] == "store, verbosity"
    assert HEADER not in (await chat(gateway, keys.acme, **options)).headers


@pytest.mark.case("clients.26")
@pytest.mark.parametrize(
    ("variables", "is_named"),
    [
        (("messages", "tools"), True),
        (("messages", "reasoning_effort"), False),
        (("enable_thinking", "messages"), False),
        (None, False),
    ],
)
async def test_an_effort_that_the_template_has_no_variable_for_is_named(
    gateway: Gateway, keys: Keys, client: ScriptedClient, variables: tuple[str, ...] | None, is_named: bool
) -> None:
    client.template_variables = variables
    client.scripts = [PLAIN, response_script()]
    reply = await chat(gateway, keys.acme, reasoning_effort="low")
    assert reply.headers.get(HEADER) == ("reasoning_effort" if is_named else None)
    assert json.loads(client.calls[0].body)["reasoning_effort"] == "low"
    response = await create_response(gateway, keys.acme, reasoning={"effort": "low"})
    assert response.headers.get(HEADER) == ("reasoning.effort" if is_named else None)


@pytest.mark.case("clients.6")
async def test_a_request_of_codex_is_served_and_names_what_it_does_not_get(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [response_script()]
    function = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False}
    member = {**function, "name": "open"}
    reply = await create_response(
        gateway,
        keys.acme,
        include=["reasoning.encrypted_content"],
        reasoning={"effort": "medium", "summary": "auto"},
        client_metadata={"session": "s"},
        store=False,
        tool_choice="auto",
        tools=[
            function,
            {"type": "web_search"},
            {"type": "local_shell"},
            {"type": "custom", "name": "apply_patch", "format": {"type": "grammar"}},
            {"type": "namespace", "name": "files", "description": "Files.", "tools": [member]},
        ],
    )
    assert reply.status == 200
    names = [tool["function"]["name"] for tool in json.loads(client.calls[0].body)["tools"]]
    assert names == ["look", "open"]
    assert reply.headers[HEADER].split(", ") == [
        "include[reasoning.encrypted_content]",
        "reasoning.summary",
        "tools[custom]",
        "tools[local_shell]",
        "tools[web_search]",
    ]


@pytest.mark.case("clients.6")
async def test_a_call_of_a_function_in_a_namespace_has_its_namespace(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "b__open", "arguments": "{}"}}
    script: Script = [
        accepted(),
        chunk({"tool_calls": [call]}),
        chunk(finish="tool_calls"),
        done(),
        finished(),
    ]
    client.scripts = [script, response_script()]
    function = {"type": "function", "name": "open"}
    tools = [{"type": "namespace", "name": name, "description": name, "tools": [function]} for name in "ab"]
    first = await create_response(gateway, keys.acme, tools=tools)
    (item,) = first.document["output"]
    assert (item["name"], item["namespace"]) == ("open", "b")
    assert [tool["function"]["name"] for tool in json.loads(client.calls[0].body)["tools"]] == [
        "a__open",
        "b__open",
    ]
    output = {"type": "function_call_output", "call_id": item["call_id"], "output": "x"}
    user = {"role": "user", "content": "hello"}
    second = await create_response(gateway, keys.acme, tools=tools, input=[user, item, output])
    assert second.status == 200
    history = json.loads(client.calls[1].body)["messages"]
    assert history[1]["tool_calls"][0]["function"]["name"] == "b__open"
