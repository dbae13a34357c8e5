"""Settings of the worker that the launcher refuses before it starts anything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.local.demo.worker_check import worker_check
from inference_worker.runtime.settings import SettingsError

TOLD = {"CYLLM_REDIS_URL": "redis://:hunter2@127.0.0.1:1/0", "CYLLM_WORKER_MODEL": "m"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that passes for a model's."""
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def test_settings_that_a_worker_can_use_pass_and_the_environment_stays(folder: Path) -> None:
    before = dict(os.environ)
    worker_check(TOLD | {"CYLLM_WORKER_MODEL_PATH": str(folder)}, bundled_model=False)
    worker_check(TOLD | {"CYLLM_WORKER_MODEL_PATH": str(folder / "not yet")}, bundled_model=True)
    remote = {"CYLLM_WORKER_ENGINE": "remote", "CYLLM_WORKER_ENGINE_URL": "http://engine:8000"}
    worker_check(TOLD | remote, bundled_model=False)
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ({"CYLLM_WORKER_ENGINE": "remot"}, "CYLLM_WORKER_ENGINE: .*'vllm' or 'remote'"),
        ({"CYLLM_WORKER_MAX_NUM_SEQS": "0"}, "CYLLM_WORKER_MAX_NUM_SEQS: .*greater than or equal to 1"),
        ({"CYLLM_WORKER_ENGINE": "remote"}, "CYLLM_WORKER_ENGINE_URL: not set"),
        (
            {"CYLLM_WORKER_MODEL_PATH": "/no/such/model"},
            "CYLLM_WORKER_MODEL_PATH: .*no folder /no/such/model",
        ),
        ({"CYLLM_WORKER_MODEL_PATH": "{empty}"}, "CYLLM_WORKER_MODEL_PATH: .*has no config.json"),
        ({"CYLLM_WORKER_ENGIN": "vllm"}, "CYLLM_WORKER_ENGIN: no such setting"),
    ],
)
def test_what_the_worker_would_refuse_is_refused_by_name(
    tmp_path: Path, told: dict[str, str], fault: str
) -> None:
    before = dict(os.environ)
    named = {name: value.format(empty=tmp_path) for name, value in told.items()}
    with pytest.raises(SettingsError, match=fault) as refusal:
        worker_check(TOLD | named, bundled_model=False)
    assert "hunter2" not in str(refusal.value)
    assert dict(os.environ) == before
