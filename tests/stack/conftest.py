"""A stack with a tiny model, on Postgres and Valkey servers that tests can stop."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from deploy.local.servers.ports import free_port
from inference_worker.protocol import codec, names
from tests.stacks import ROOT, RunningStack, Service, open_folder, own_services, running_stack, wait_until
from tests.workers import worker_process


@dataclass
class OwnedStack(RunningStack):
    """A stack and its servers."""

    postgres: Service | None = None
    valkey: Service | None = None


@pytest.fixture(scope="package")
def stack(tiny_model: Path) -> Iterator[OwnedStack]:
    """One stack for all tests of this folder; each test restores its state."""
    with open_folder() as folder, own_services(folder) as (postgres, valkey, addresses):
        settings = {
            **addresses,
            "CYLLM_WORKER_MODEL": "tiny",
            "CYLLM_WORKER_MODEL_PATH": str(tiny_model),
            # As for the bundled model: the fast path must work with a tool parser.
            "CYLLM_WORKER_TOOL_PARSER": "hermes",
            "CYLLM_WORKER_MAX_NUM_SEQS": "256",
            "CYLLM_WORKER_MAX_MODEL_LEN": "1024",
            "CYLLM_LOG_LEVEL": "DEBUG",
            "CYLLM_DETACHED_GRACE_S": "1",
        }
        with running_stack(folder / "state", settings) as running:
            yield OwnedStack(**running.__dict__, postgres=postgres, valkey=valkey)


@pytest.fixture
def ready_stack(stack: OwnedStack) -> OwnedStack:
    """The stack, ready again after the faults of an earlier test."""
    for service in (stack.postgres, stack.valkey):
        if service is not None and not service.running():
            service.start()
    wait_until(stack.ready, 120, "the stack is ready")
    return stack


@dataclass
class ExtraWorker:
    """An additional worker."""

    process: subprocess.Popen[bytes]
    worker_id: str


StartWorker = Callable[..., ExtraWorker]


@pytest.fixture
def start_worker(ready_stack: OwnedStack, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts additional workers for the model ``faulty``, which are killed after the test."""
    with ExitStack() as cleanup:

        def start(name: str, script: str = "", **settings: str) -> ExtraWorker:
            # The heartbeat of a killed worker stays for some seconds, so each gets a new id.
            worker_id = f"{name}-{secrets.token_hex(4)}"
            url = cleanup.enter_context(_engine(script))
            remote = {
                "CYLLM_WORKER_MODEL": "faulty",
                "CYLLM_WORKER_ENGINE": "remote",
                "CYLLM_WORKER_ENGINE_URL": url,
            }
            worker = cleanup.enter_context(
                extra_worker(ready_stack, tmp_path, worker_id, {**remote, **settings})
            )
            key = names.worker_key(worker_id)
            with ready_stack.redis() as client:
                wait_until(lambda: _is_ready(client.get(key)), 30, f"{worker_id} is ready")
            return worker

        yield start


def _is_ready(data: object) -> bool:
    return isinstance(data, bytes) and codec.decode_heartbeat(data).state == "ready"


@contextmanager
def _engine(script: str) -> Iterator[str]:
    port = free_port()
    arguments = [script] if script else []
    process = subprocess.Popen([sys.executable, "-m", "tests.faulty_engine", str(port), *arguments], cwd=ROOT)
    try:
        wait_until(lambda: _responds(f"http://127.0.0.1:{port}/v1/models"), 20, "the faulty engine answers")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _responds(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def extra_worker(
    stack: OwnedStack, folder: Path, worker_id: str, settings: dict[str, str]
) -> Iterator[ExtraWorker]:
    """Run an additional worker, without waiting until it is ready. Its log is written to ``folder``."""
    process = worker_process(stack, folder, worker_id, settings)
    try:
        yield ExtraWorker(process, worker_id)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="package")
def faulty_model(stack: OwnedStack) -> str:
    """The registered model of the additional workers."""
    stack.manage("models", "add", "faulty", "--source", "tests")
    return "faulty"
