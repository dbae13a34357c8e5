"""The snippets of docs/clients.md are run as they are. The stack is a gateway with a scripted worker."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from tests.contract.client_environments import ClientRunner
from tests.contract.snippets import PAGE, SNIPPETS, run_snippet, snippet_parameters

ANSWER = "This is answer 1."
# The scripted worker calls a tool of Codex first, so its answer reports the tool's output.
ANSWERS = {"Codex": "The tool said: "}


def test_every_section_has_a_snippet() -> None:
    assert sorted(SNIPPETS) == sorted(re.findall(r"^### (.+)$", PAGE, re.M))
    assert len(SNIPPETS) > 7


@pytest.mark.parametrize("name", snippet_parameters(*SNIPPETS))
@pytest.mark.parametrize("model", ["tiny"], indirect=True)
@pytest.mark.case("admin.24")
async def test_a_snippet_prints_the_answer(client_runner: ClientRunner, name: str, tmp_path: Path) -> None:
    process = await asyncio.to_thread(run_snippet, client_runner, name, tmp_path)
    assert process.returncode == 0, process.stderr
    assert ANSWERS.get(name, ANSWER) in process.stdout
