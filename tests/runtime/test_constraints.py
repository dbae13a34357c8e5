"""Constraints of answers: named in errors, tried before the engine has them, and let pass without a trial."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inference_worker.runtime.calls.engine_call import error_code
from inference_worker.runtime.constraints.compile_sandbox import TOO_LONG, UNABLE
from inference_worker.runtime.constraints.constraints import constraint_param
from inference_worker.runtime.constraints.grammar_guard import GrammarGuard

VOCABULARY = 49152
TOOLS = [{"type": "function", "function": {"name": "f"}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}
# Answers each constraint half a second after it came, and notes both down in the file beside it.
SLOW_TRIALS = f"""#!{sys.executable}
import json, sys, threading
def say(said, note):
    with open(sys.argv[0] + ".log", "a") as log:
        print(note, file=log)
    print(json.dumps(said), flush=True)
say({{"id": 0, "why": ""}}, "ready")
for line in sys.stdin:
    asked = json.loads(line)
    with open(sys.argv[0] + ".log", "a") as log:
        print("asked", asked["text"], file=log)
    said = {{"id": asked["id"], "why": "no"}}
    threading.Timer(0.5, say, (said, "told " + asked["text"])).start()
"""


@pytest.fixture
async def guard(smollm2: Path) -> AsyncIterator[GrammarGuard]:
    made = GrammarGuard(smollm2, VOCABULARY, limit_s=1)
    yield made
    await made.close()


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
def test_the_parameter_that_constrains_an_answer_is_found(
    request_body: dict[str, Any], param: str | None
) -> None:
    assert constraint_param(json.dumps(request_body).encode()) == param


def test_a_body_that_is_no_json_constrains_nothing() -> None:
    assert constraint_param(b"{") is None


@pytest.mark.parametrize(
    ("body", "code"),
    [('{"error": {"code": 400}}', 400), ('{"error": {"code": "x"}}', 0), ('{"error": 1}', 0), ("{", 0)],
)
def test_the_status_of_an_error_event_is_read_if_there_is_one(body: str, code: int) -> None:
    assert error_code(body) == code


async def test_what_compiles_passes_and_what_does_not_is_told_with_the_reason_and_known_from_then_on(
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
    assert await guard.check("json", _schema("^(.{1,10}){1,10}$")) == TOO_LONG, "it was not known any more"
    assert await guard.check("json", _schema("^.{0,200}$")) == UNABLE


async def test_without_a_process_constraints_pass(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    guard = GrammarGuard(Path("/nowhere"), VOCABULARY, limit_s=1)
    assert await guard.check("regex", "a(") == ""
    assert "without a trial" in caplog.text
    assert await GrammarGuard(Path("/nowhere"), 1, 1, active=False).check("regex", "a(") == ""


async def test_a_trial_whose_asker_has_left_keeps_its_place_and_is_known_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = tmp_path / "trials"
    trials.write_text(SLOW_TRIALS)
    trials.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(trials))
    guard, log = GrammarGuard(Path("/nowhere"), VOCABULARY, limit_s=1), tmp_path / "trials.log"
    left = [asyncio.ensure_future(guard.check("regex", text)) for text in ("a", "b", "b")]
    async with asyncio.timeout(10):
        while not log.exists() or log.read_text().count("asked") < 2:
            await asyncio.sleep(0.01)
        for asker in left:
            asker.cancel()
        assert await guard.check("regex", "c") == "no"
        assert await guard.check("regex", "a") == "no"
    await guard.close()
    noted = log.read_text().splitlines()
    assert noted[1:3] == ["asked a", "asked b"]
    assert noted[3].startswith("told "), "a third was tried beside two that went on"
    assert sorted(noted[1:]) == ["asked a", "asked b", "asked c", "told a", "told b", "told c"]


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(?=x)y", "Look"),
        (r"\A a", "not recognized"),
        ("^a$|^b$", ""),
        (r"^\d{3}-[a-z]+$", ""),
        (r"a\ b\"\<\n", ""),
    ],
)
async def test_a_pattern_of_which_a_part_would_be_left_out_is_told_so(
    guard: GrammarGuard, pattern: str, why: str
) -> None:
    for kind, text in (("json", _schema(pattern)), ("regex", pattern)):
        told = await guard.check(kind, text)
        assert (why in told) if why else told == ""
