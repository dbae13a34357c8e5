"""The stack as ``make run`` brings it up: embedded services and the real model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import openai
import pytest

from tests.contract.client_environments import Guest, installation_in_background
from tests.stacks import RunningStack, running_stack

IDLE = "nobody-serves-this"
BACKGROUND = ExitStack()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin to install other people's clients in the background if a test drives one."""
    is_first_process = os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0"
    has_guest = any("guest" in getattr(item, "fixturenames", ()) for item in session.items)
    if has_guest and is_first_process and not session.config.option.collectonly:
        BACKGROUND.enter_context(installation_in_background())


def pytest_sessionfinish() -> None:
    """End an installation that nothing has waited for."""
    BACKGROUND.close()


@pytest.fixture(scope="package")
def stack(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """One for all tests of this folder."""
    state_dir = tmp_path_factory.mktemp("real-stack")
    shutil.copytree(smollm2, state_dir / "models" / "smollm2-135m-instruct", copy_function=_link)
    with running_stack(state_dir, {}) as running:
        yield running


@pytest.fixture(scope="package")
def client(stack: RunningStack) -> Iterator[openai.OpenAI]:
    """The SDK for Python as a user makes it: address and key, nothing else."""
    with openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key=stack.key, max_retries=0) as made:
        yield made


@pytest.fixture(scope="package")
def idle_model(stack: RunningStack) -> str:
    """A model of the registry that no worker has: every request for it is a 503 with Retry-After."""
    stack.manage("models", "add", IDLE, "--visibility", "public")
    return IDLE


@pytest.fixture(scope="package")
def guest(stack: RunningStack, idle_model: str, tmp_path_factory: pytest.TempPathFactory) -> Guest:
    """How other people's clients are run."""
    return Guest(stack, tmp_path_factory.mktemp("guest"), idle_model)


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
