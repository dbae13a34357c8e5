"""Codex and a program in Java, as docs/clients.md has them, are answered by the bundled model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.contract.client_environments import ClientRunner
from tests.contract.snippets import NO_JDK, run_snippet


@NO_JDK
def test_a_java_program_is_answered(client_runner: ClientRunner, tmp_path: Path) -> None:
    process = run_snippet(client_runner, "Java", tmp_path)
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["choices"][0]["message"]["content"].strip()


@pytest.mark.case("clients.6")
def test_codex_is_answered(client_runner: ClientRunner, tmp_path: Path) -> None:
    process = run_snippet(client_runner, "Codex with a small model", tmp_path)
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip(), process.stderr
