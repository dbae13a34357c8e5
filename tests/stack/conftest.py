"""A stack with a tiny model, on Postgres and Valkey servers that tests can stop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.stacks import RunningStack, Service, open_folder, own_services, running_stack, wait_until


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
    wait_until(stack.ready, "the stack is ready")
    return stack
