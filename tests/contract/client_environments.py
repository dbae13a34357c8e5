"""Other people's clients: their environments, which later runs reuse, and how tests run them.

They can reach only the stack: for any other address their environment names a proxy that doesn't exist.
``python -m tests.contract.client_environments`` installs them all.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.bootstrap import STAMP, Step, create_venv, fingerprint, read_stamp, run_pip
from tests.stacks import ROOT, RunningStack

FOLDER = Path(__file__).parent
CLIENTS = FOLDER / "clients"
NODE = FOLDER / "node"
REQUIREMENTS = "tests/contract/clients/requirements.txt"
VENV = ROOT / ".cyllm" / "test-clients"
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


@contextmanager
def _lock(name: str) -> Iterator[None]:
    """Let one process at a time install, and the others wait for it."""
    VENV.parent.mkdir(parents=True, exist_ok=True)
    with VENV.with_name(f"{VENV.name}.{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def python_clients() -> Path:
    """Return the ``bin`` folder of the clients for Python, installed anew if their pins have changed."""
    with _lock("python"):
        digests = fingerprint([REQUIREMENTS])
        if read_stamp(VENV) != digests:
            create_venv(VENV)
            run_pip(VENV, Step((REQUIREMENTS,), dependencies=False), VENV / "install.log")
            (VENV / STAMP).write_text(json.dumps({"files": digests}), encoding="utf-8")
    return VENV / "bin"


def node_clients() -> None:
    """Install the clients for Node.js, unless those of the lock file are installed."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.fail("npm is not installed: this test drives clients for Node.js (apt install npm)")
    with _lock("node"):
        stamp, pins = NODE / "node_modules" / STAMP, (NODE / "package-lock.json").read_text(encoding="utf-8")
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != pins:
            subprocess.run([npm, "ci", "--ignore-scripts"], cwd=NODE, check=True, capture_output=True)
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
    has_guest = any("guest" in getattr(item, "fixturenames", ()) for item in session.items)
    if has_guest and is_first_process and not session.config.option.collectonly:
        session.config.pluginmanager.register(Installer())


@dataclass(frozen=True)
class Guest:
    """Runs a client against the stack, with only an address and a key."""

    stack: RunningStack
    home: Path
    idle_model: str

    def environment(self) -> dict[str, str]:
        """Return the environment variables of the client."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE)}
        return {
            **inherited,
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
    python_clients()
    node_clients()
