"""The snippets of docs/clients.md, and how each is run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.contract.client_environments import CODEX, NODE, ClientRunner, node_clients, python_clients
from tests.stacks import ROOT

PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
SECTION = re.compile(r"^### (?P<name>.+?)\n.*?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S)
SNIPPETS = {match["name"]: (match["language"], match["code"]) for match in SECTION.finditer(PAGE)}
NO_JDK = pytest.mark.skipif(
    shutil.which("java") is None or shutil.which("javac") is None,
    reason="no JDK is installed (apt install default-jdk-headless)",
)
# Before a test's fixtures: a client that doesn't run leaves a proxy without answers, which is a failure.
SNIPPET_MARKS = {"Java": [NO_JDK]}


def snippet_parameters(*names: str) -> list[object]:
    """Return the names as parameters of a test, without those whose program is missing."""
    return [pytest.param(name, marks=SNIPPET_MARKS.get(name, [])) for name in names]


def run_snippet(client_runner: ClientRunner, name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a snippet in an empty folder."""
    language, code = SNIPPETS[name]
    variables = {"CODEX_HOME": str(folder), "PATH": f"{CODEX / 'node_modules' / '.bin'}:{os.environ['PATH']}"}
    cwd = NODE if language == "js" else folder
    return client_runner.run(_command(language, code, folder), cwd, variables)


def _command(language: str, code: str, folder: Path) -> Sequence[str]:
    """Return the command that runs the snippet, whose client is installed."""
    if language == "python":
        return [str(python_clients() / "python"), "-c", code]
    if language == "js":
        node_clients()
        return ["node", "--input-type=module", "--eval", code]
    if language == "java":
        (folder / "Ask.java").write_text(code, encoding="utf-8")
        return ["java", str(folder / "Ask.java")]
    node_clients(CODEX)
    return ["sh", "-c", code]
