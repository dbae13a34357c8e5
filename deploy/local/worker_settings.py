"""Validate the worker's settings before the stack starts, so a mistake is reported at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from inference_worker.runtime.settings import SettingsError, WorkerSettings, worker_settings


def check_worker_settings(environment: Mapping[str, str], *, bundled_model: bool) -> None:
    """Reject settings that the worker would reject. Raises SettingsError."""
    fault = _fault(_load(environment), bundled_model=bundled_model)
    if fault:
        raise SettingsError(f"CY-LLM can't start with these settings:\n  {fault}")


def _load(environment: Mapping[str, str]) -> WorkerSettings:
    launcher_environment = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(environment)
        return worker_settings()
    finally:
        os.environ.clear()
        os.environ.update(launcher_environment)


def _fault(settings: WorkerSettings, *, bundled_model: bool) -> str:
    if settings.engine == "remote":
        no_address = "CYLLM_WORKER_ENGINE_URL: not set; CYLLM_WORKER_ENGINE=remote requires it"
        return "" if settings.engine_url else no_address
    return "" if bundled_model else _folder_fault(settings.model_path)


def _folder_fault(folder: Path | None) -> str:
    if folder is None:
        return "CYLLM_WORKER_MODEL_PATH: not set"
    if not folder.is_dir():
        return f"CYLLM_WORKER_MODEL_PATH: no such folder: {folder}"
    if not (folder / "config.json").is_file():
        return f"CYLLM_WORKER_MODEL_PATH: {folder} is not a model folder: it has no config.json"
    return ""
