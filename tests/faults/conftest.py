"""A stack in front of scripted engines, which fail on demand; no test of this folder needs a model."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from inference_worker.protocol import codec, names
from tests.faults.engines import faulty_engine
from tests.stacks import RunningStack, open_folder, running_stack, wait_until
from tests.workers import ExtraWorker, extra_worker

StartWorker = Callable[..., ExtraWorker]


@pytest.fixture(scope="package")
def stack() -> Iterator[RunningStack]:
    """One stack for all tests of this folder; each test restores its state."""
    with open_folder() as folder, faulty_engine() as url:
        settings = {
            "CYLLM_WORKER_MODEL": "scripted",
            "CYLLM_WORKER_ENGINE": "remote",
            "CYLLM_WORKER_ENGINE_URL": url,
            "CYLLM_LOG_LEVEL": "DEBUG",
            "CYLLM_DETACHED_GRACE_S": "1",
        }
        with running_stack(folder / "state", settings) as running:
            yield running


@pytest.fixture
def ready_stack(stack: RunningStack) -> RunningStack:
    """The stack, ready again after the faults of an earlier test."""
    wait_until(stack.ready, "the stack is ready")
    return stack


@pytest.fixture(scope="package")
def faulty_model(stack: RunningStack) -> str:
    """The registered model of the additional workers."""
    stack.manage("models", "add", "faulty", "--source", "tests")
    return "faulty"


@pytest.fixture
def start_worker(ready_stack: RunningStack, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts additional workers for the model ``faulty``, which are killed after the test."""
    with ExitStack() as cleanup:

        def start(name: str, script: str = "", **settings: str) -> ExtraWorker:
            # The heartbeat of a killed worker stays for some seconds, so each gets a new id.
            worker_id = f"{name}-{secrets.token_hex(4)}"
            remote = {
                "CYLLM_WORKER_MODEL": "faulty",
                "CYLLM_WORKER_ENGINE": "remote",
                "CYLLM_WORKER_ENGINE_URL": cleanup.enter_context(faulty_engine(script)),
            }
            worker = cleanup.enter_context(
                extra_worker(ready_stack, tmp_path, worker_id, {**remote, **settings})
            )
            key = names.worker_key(worker_id)
            with ready_stack.redis() as client:
                wait_until(lambda: _is_ready(client.get(key)), f"{worker_id} is ready")
            return worker

        yield start


def _is_ready(data: object) -> bool:
    return isinstance(data, bytes) and codec.decode_heartbeat(data).state == "ready"
