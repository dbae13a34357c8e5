"""The launcher rejects invalid settings of the worker before it starts anything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.local.worker_settings import check_worker_settings
from inference_worker.runtime.settings import SettingsError

ENVIRONMENT = {"CYLLM_REDIS_URL": "redis://:hunter2@127.0.0.1:1/0", "CYLLM_WORKER_MODEL": "m"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a model's config.json."""
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def test_valid_settings_pass_and_the_environment_is_unchanged(folder: Path) -> None:
    old_environment = dict(os.environ)
    check_worker_settings(ENVIRONMENT | {"CYLLM_WORKER_MODEL_PATH": str(folder)}, bundled_model=False)
    check_worker_settings(
        ENVIRONMENT | {"CYLLM_WORKER_MODEL_PATH": str(folder / "not yet")}, bundled_model=True
    )
    remote = {"CYLLM_WORKER_ENGINE": "remote", "CYLLM_WORKER_ENGINE_URL": "http://engine:8000"}
    check_worker_settings(ENVIRONMENT | remote, bundled_model=False)
    assert dict(os.environ) == old_environment


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"CYLLM_WORKER_ENGINE": "remot"}, "CYLLM_WORKER_ENGINE: .*'vllm' or 'remote'"),
        ({"CYLLM_WORKER_MAX_NUM_SEQS": "0"}, "CYLLM_WORKER_MAX_NUM_SEQS: .*greater than or equal to 1"),
        ({"CYLLM_WORKER_ENGINE": "remote"}, "CYLLM_WORKER_ENGINE_URL: not set"),
        (
            {"CYLLM_WORKER_MODEL_PATH": "/no/such/model"},
            "CYLLM_WORKER_MODEL_PATH: no such folder: /no/such/model",
        ),
        ({"CYLLM_WORKER_MODEL_PATH": "{empty}"}, "CYLLM_WORKER_MODEL_PATH: .*has no config.json"),
        ({"CYLLM_WORKER_ENGIN": "vllm"}, "CYLLM_WORKER_ENGIN: no such setting"),
    ],
)
def test_invalid_settings_are_reported_by_name(tmp_path: Path, settings: dict[str, str], fault: str) -> None:
    old_environment = dict(os.environ)
    changes = {name: value.format(empty=tmp_path) for name, value in settings.items()}
    with pytest.raises(SettingsError, match=fault) as failure:
        check_worker_settings(ENVIRONMENT | changes, bundled_model=False)
    assert "hunter2" not in str(failure.value)
    assert dict(os.environ) == old_environment
