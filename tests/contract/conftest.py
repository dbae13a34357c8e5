"""The stack as ``make run`` starts it, with embedded services and the bundled model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest

from tests.contract.client_environments import Address, ClientRunner
from tests.recording_proxy import recording_proxy
from tests.stacks import RunningStack, open_folder, running_stack

IDLE = "nobody-serves-this"


@dataclass
class LoadingReport:
    """Response of ``/health/ready`` while the model loads."""

    status: int = 0
    body: str = ""

    def fetch(self, stack: RunningStack) -> None:
        """Ask for the report until it mentions a loading model."""
        if '"loading": 1' not in self.body:
            with suppress(httpx.HTTPError):
                response = httpx.get(f"{stack.base_url}/health/ready", timeout=3, trust_env=False)
                self.status, self.body = response.status_code, response.text


@pytest.fixture(scope="package")
def loading_report() -> LoadingReport:
    """The readiness report during the start of the stack."""
    return LoadingReport()


@pytest.fixture(scope="package")
def stack(smollm2: Path, loading_report: LoadingReport) -> Iterator[RunningStack]:
    """One stack for all tests of this folder."""
    with open_folder() as folder:
        shutil.copytree(smollm2, folder / "models" / "smollm2-135m-instruct", copy_function=_link)
        with running_stack(folder, {}, loading_report.fetch) as running:
            yield running


@pytest.fixture(scope="package")
def client(stack: RunningStack) -> Iterator[openai.OpenAI]:
    """The SDK for Python, with only an address and a key."""
    with openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key=stack.key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="package")
def idle_model(stack: RunningStack) -> str:
    """A registered model without a worker: each request for it fails with 503 and Retry-After."""
    stack.manage("models", "add", IDLE, "--visibility", "public")
    return IDLE


@pytest.fixture(scope="package")
def client_runner(
    stack: RunningStack, idle_model: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ClientRunner]:
    """Runs other people's clients against the stack. What they receive is validated."""
    with recording_proxy(stack.base_url) as base_url:
        address = Address(base_url, stack.key, stack.model)
        yield ClientRunner(address, tmp_path_factory.mktemp("client_runner"), idle_model)


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
