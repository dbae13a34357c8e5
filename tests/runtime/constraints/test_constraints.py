"""Constraints: named in errors, checked before the engine compiles them, passed without a sandbox."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from inference_worker.runtime.constraints.compile_sandbox import TOO_LONG, UNABLE
from inference_worker.runtime.constraints.grammar_guard import GrammarGuard
from inference_worker.runtime.constraints.request_constraints import constraint_param

VOCABULARY = 49152
TOOLS = [{"type": "function", "function": {"name": "f"}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}
# Rejects each constraint half a second after the request, and logs both to the file beside it.
SLOW_SANDBOX = f"""#!{sys.executable}
import json, sys, threading
def log(line):
    with open(sys.argv[0] + ".log", "a") as file:
        print(line, file=file)
def respond(response, line):
    log(line)
    print(json.dumps(response), flush=True)
respond({{"id": 0, "reason": ""}}, "ready")
for line in sys.stdin:
    request = json.loads(line)
    log("request " + request["text"])
    response = {{"id": request["id"], "reason": "no"}}
    threading.Timer(0.5, respond, (response, "response " + request["text"])).start()
"""


@pytest.fixture
async def guard(smollm2: Path) -> AsyncIterator[GrammarGuard]:
    grammar_guard = GrammarGuard(smollm2, VOCABULARY, limit_s=1)
    yield grammar_guard
    await grammar_guard.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_guard(smollm2: Path) -> AsyncIterator[GrammarGuard]:
    """One sandbox for many patterns: it takes seconds to start."""
    grammar_guard = GrammarGuard(smollm2, VOCABULARY, limit_s=1)
    yield grammar_guard
    await grammar_guard.close()


def _schema(pattern: str) -> str:
    return json.dumps({"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}})


@pytest.mark.parametrize(
    ("request_body", "param"),
    [
        ({"structured_outputs": {"regex": "a"}}, "structured_outputs.regex"),
        ({"response_format": SCHEMA}, "response_format.json_schema.schema"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": SCHEMA, "tools": TOOLS, "tool_choice": "required"}, "tools"),
        ({"response_format": SCHEMA, "tools": TOOLS, "tool_choice": {"type": "function"}}, "tools"),
        ({"response_format": SCHEMA, "tools": TOOLS}, "response_format.json_schema.schema"),
        ({"tools": TOOLS}, "tools"),
        ({"temperature": 0}, None),
    ],
)
def test_the_parameter_that_constrains_the_response_is_found(
    request_body: dict[str, Any], param: str | None
) -> None:
    assert constraint_param(json.dumps(request_body).encode()) == param


def test_a_body_that_is_not_json_constrains_nothing() -> None:
    assert constraint_param(b"{") is None


async def test_a_constraint_is_rejected_with_the_reason_if_it_does_not_compile_and_results_are_cached(
    guard: GrammarGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await guard.check("json", _schema("^[a-z]{1,20}$")) == ""
    assert await guard.check("regex", "[a-z]+") == ""
    assert await guard.check("json", _schema("^.{0,200}$")) == UNABLE
    assert "parenthesis" in await guard.check("regex", "a(")
    assert await guard.check("json", _schema("^(.{1,10}){1,10}$")) == TOO_LONG
    assert await guard.check("regex", "[a-z]+x") == ""
    await guard.close()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert await guard.check("json", _schema("^(.{1,10}){1,10}$")) == TOO_LONG, "the result was not cached"
    assert await guard.check("json", _schema("^.{0,200}$")) == UNABLE


async def test_constraints_pass_without_a_sandbox(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    guard = GrammarGuard(Path("/nowhere"), VOCABULARY, limit_s=1)
    assert await guard.check("regex", "a(") == ""
    assert "constraints are not checked" in caplog.text
    assert await GrammarGuard(Path("/nowhere"), 1, 1, active=False).check("regex", "a(") == ""


async def test_a_check_survives_its_disconnected_clients_keeps_its_slot_and_serves_the_next_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = tmp_path / "sandbox"
    sandbox.write_text(SLOW_SANDBOX)
    sandbox.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(sandbox))
    guard, log = GrammarGuard(Path("/nowhere"), VOCABULARY, limit_s=60), tmp_path / "sandbox.log"
    requests = [asyncio.ensure_future(guard.check("regex", text)) for text in ("a", "b", "b")]
    async with asyncio.timeout(60):  # a busy machine may take seconds to start an interpreter
        while not log.exists() or log.read_text().count("request") < 2:
            await asyncio.sleep(0.01)
        for request in requests:
            request.cancel()
        assert await guard.check("regex", "c") == "no"
        assert await guard.check("regex", "a") == "no"
    await guard.close()
    lines = log.read_text().splitlines()
    assert lines[1:3] == ["request a", "request b"]
    assert lines[3].startswith("response "), "a third check ran along with two that continued"
    assert sorted(lines[1:]) == [
        *("request a", "request b", "request c"),
        *("response a", "response b", "response c"),
    ]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(?=x)y", "Look"),
        (r"\A a", "not recognized"),
        ("^a$|^b$", ""),
        (r"^\d{3}-[a-z]+$", ""),
        (r"a\ b\"\<\n", ""),
    ],
)
async def test_a_pattern_is_rejected_if_the_engine_would_drop_a_part_of_it(
    shared_guard: GrammarGuard, pattern: str, reason: str
) -> None:
    for kind, text in (("json", _schema(pattern)), ("regex", pattern)):
        result = await shared_guard.check(kind, text)
        assert (reason in result) if reason else result == ""
