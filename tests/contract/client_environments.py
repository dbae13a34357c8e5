"""Other people's clients: their environments, which later runs reuse, and how tests run them.

They can reach only the stack: for any other address their environment names a proxy that doesn't exist.
``python -m tests.contract.client_environments`` installs them all.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.bootstrap import STAMP, Step, create_venv, fingerprint, read_stamp, run_pip
from tests.locks import locked
from tests.stacks import ROOT, RunningStack

FOLDER = Path(__file__).parent
CLIENTS = FOLDER / "clients"
NODE = FOLDER / "node"
CODEX = FOLDER / "codex"  # 400 MB, so apart from what most tests need
VENVS = ROOT / ".cyllm"
CLIENT_VENV = "test-clients"
AGENT_VENV = "test-agents"
REQUIREMENTS = {
    CLIENT_VENV: "tests/contract/clients/requirements.txt",
    AGENT_VENV: "tests/contract/clients/agents.txt",  # its SDK is newer than litellm's
}
RUN_TIMEOUT_S = 180
NO_PROXY_HERE = "http://127.0.0.1:9"
PROXIES = [f"{scheme}_PROXY" for scheme in ("HTTP", "HTTPS", "ALL")]
LOOPBACK_ONLY = {
    **dict.fromkeys((*PROXIES, *map(str.lower, PROXIES)), NO_PROXY_HERE),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}
NO_VARIABLES: Mapping[str, str] = {}
PRIVATE = ("CYLLM_", "DJANGO_", "OPENAI_", "PYTHON")


def python_clients(name: str = CLIENT_VENV) -> Path:
    """Return the ``bin`` folder of clients for Python, installed anew if their pins have changed."""
    requirements, venv = REQUIREMENTS[name], VENVS / name
    with locked(VENVS / f"{name}.lock"):
        digests = fingerprint([requirements])
        if read_stamp(venv) != digests:
            create_venv(venv)
            run_pip(venv, Step((requirements,), dependencies=False), venv / "install.log")
            (venv / STAMP).write_text(json.dumps({"files": digests}), encoding="utf-8")
    return venv / "bin"


def node_clients(folder: Path = NODE) -> None:
    """Install a folder's clients for Node.js, unless those of the lock file are installed."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.fail("npm is not installed: this test drives clients for Node.js (apt install npm)")
    with locked(VENVS / f"test-clients.{folder.name}.lock"):
        stamp, pins = (
            folder / "node_modules" / STAMP,
            (folder / "package-lock.json").read_text(encoding="utf-8"),
        )
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != pins:
            subprocess.run(
                [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                cwd=folder,
                check=True,
                capture_output=True,
            )
            stamp.write_text(pins, encoding="utf-8")


class Installer:
    """Installs all clients while other tests run. A test that needs one earlier waits for it."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.contract.client_environments"]
        silence = subprocess.DEVNULL
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=silence, stderr=silence, process_group=0)

    def pytest_sessionfinish(self) -> None:
        """End an installation that no test has waited for, pip and npm with it."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the installer, once per run, if a test drives a client."""
    is_first_process = os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0"
    has_client_runner = any("client_runner" in getattr(item, "fixturenames", ()) for item in session.items)
    if has_client_runner and is_first_process and not session.config.option.collectonly:
        session.config.pluginmanager.register(Installer())


@dataclass(frozen=True)
class Address:
    """A server for clients: ``base_url`` without ``/v1``, an API key and the name of a model."""

    base_url: str
    key: str
    model: str


@dataclass(frozen=True)
class ClientRunner:
    """Runs a client against the stack, with only an address and a key."""

    stack: RunningStack | Address
    home: Path
    idle_model: str

    def environment(self) -> dict[str, str]:
        """Return the environment variables of the client."""
        own_variables = {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE)}
        return {
            **own_variables,
            **LOOPBACK_ONLY,
            "HOME": str(self.home),
            "LLM_USER_PATH": str(self.home / "llm"),
            "OPENAI_BASE_URL": f"{self.stack.base_url}/v1",
            "OPENAI_API_KEY": self.stack.key,
            "MODEL": self.stack.model,
            "IDLE_MODEL": self.idle_model,
        }

    def run(
        self, command: Sequence[str], cwd: Path = CLIENTS, variables: Mapping[str, str] = NO_VARIABLES
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, with more variables in its environment. Its exit status may be any."""
        return subprocess.run(
            command,
            cwd=cwd,
            env={**self.environment(), **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_S,
            check=False,
        )

    def run_json(self, command: Sequence[str], cwd: Path, variables: Mapping[str, str]) -> dict[str, Any]:
        """Run a script that drives a client, and return the JSON that it prints."""
        process = self.run(command, cwd, variables)
        assert process.returncode == 0, process.stderr
        return dict(json.loads(process.stdout))

    def python(self, script: str, variables: Mapping[str, str] = NO_VARIABLES) -> dict[str, Any]:
        """Run a Python script of the folder ``clients``."""
        return self.run_json([str(python_clients() / "python"), script], CLIENTS, variables)

    def node(self, script: str, variables: Mapping[str, str] = NO_VARIABLES) -> dict[str, Any]:
        """Run a script of the folder ``node``."""
        node_clients()
        return self.run_json(["node", script], NODE, variables)


if __name__ == "__main__":
    for name in REQUIREMENTS:
        python_clients(name)
    node_clients()
    node_clients(CODEX)
