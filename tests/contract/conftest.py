"""The stack as ``make run`` brings it up: embedded services and the real model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stacks import RunningStack, running_stack


@pytest.fixture(scope="package")
def stack(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """One for all tests of this folder."""
    state_dir = tmp_path_factory.mktemp("real-stack")
    shutil.copytree(smollm2, state_dir / "models" / "smollm2-135m-instruct", copy_function=_link)
    with running_stack(state_dir, {}) as running:
        yield running


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
