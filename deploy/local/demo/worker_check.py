"""The worker's settings, checked before anything is started rather than by a worker that ends at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from inference_worker.runtime.settings import SettingsError, WorkerSettings, worker_settings


def worker_check(told: Mapping[str, str], *, bundled_model: bool) -> None:
    """Refuse what the worker would refuse in the environment that it gets. Raises SettingsError."""
    fault = _fault(_read(told), bundled_model=bundled_model)
    if fault:
        raise SettingsError(f"CY-LLM can't start with these settings:\n  {fault}")


def _read(told: Mapping[str, str]) -> WorkerSettings:
    own = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(told)
        return worker_settings()
    finally:
        os.environ.clear()
        os.environ.update(own)


def _fault(settings: WorkerSettings, *, bundled_model: bool) -> str:
    if settings.engine == "remote":
        missing = "CYLLM_WORKER_ENGINE_URL: not set; CYLLM_WORKER_ENGINE=remote needs the engine's address"
        return "" if settings.engine_url else missing
    return "" if bundled_model else _folder_fault(settings.model_path)


def _folder_fault(folder: Path | None) -> str:
    if folder is None or not folder.is_dir():
        return f"CYLLM_WORKER_MODEL_PATH: there is no folder {folder or ''}".rstrip()
    if not (folder / "config.json").is_file():
        return f"CYLLM_WORKER_MODEL_PATH: {folder} is no model folder, it has no config.json"
    return ""
