"""Second and third turns, built from the first as each client builds them, for chat and Responses."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from tests.contract.client_environments import (
    AGENT_VENV,
    CLIENT_VENV,
    CLIENTS,
    NODE,
    ClientRunner,
    node_clients,
    python_clients,
)
from tests.contract.round_trips.answering import THINKER
from tests.stacks import ROOT

FOLDER = CLIENTS / "round_trips"
SCRIPTS = (
    *("agents_sdk.py", "instructor_sdk.py", "langchain_sdk.py", "litellm_sdk.py", "llamaindex_sdk.py"),
    *("openai_sdk.py", "pydantic_ai_sdk.py"),
    *("round_trips_ai_sdk.mjs", "round_trips_langchain.mjs", "round_trips_openai.mjs"),
)
# Answers without reasoning are those of other tests, so two clients are enough.
CASES = [
    *((script, THINKER) for script in SCRIPTS),
    ("openai_sdk.py", "tiny"),
    ("round_trips_ai_sdk.mjs", "tiny"),
]
AGENT_SCRIPTS = ("agents_sdk.py", "instructor_sdk.py", "pydantic_ai_sdk.py")


def _report(client_runner: ClientRunner, script: str) -> dict[str, Any]:
    """Run a script and return its report, the last line of its output."""
    if script.endswith(".mjs"):
        node_clients()
        process = client_runner.run(["node", script], NODE)
    else:
        venv = AGENT_VENV if script in AGENT_SCRIPTS else CLIENT_VENV
        process = client_runner.run([str(python_clients(venv) / "python"), script], FOLDER)
    assert process.returncode == 0, process.stderr
    return dict(json.loads(process.stdout.splitlines()[-1]))


@pytest.mark.case("clients.1", "clients.2", "clients.3", "clients.4", "clients.5")
@pytest.mark.parametrize(("script", "model"), CASES, indirect=["model"])
async def test_every_turn_is_answered(client_runner: ClientRunner, script: str) -> None:
    results = await asyncio.to_thread(_report, client_runner, script)
    assert results
    failures = [f"{name}: {result}" for name, result in results.items() if result != "ok"]
    assert not failures, "\n".join(failures)


def test_the_documentation_lists_every_client() -> None:
    page = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    table = page.partition("## Conversations")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"\| `(\w+\.(?:py|mjs))` \|", table)) == sorted(SCRIPTS)
