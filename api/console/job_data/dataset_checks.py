"""Dataset checks for the console, run in child processes: the report on a file and its first samples."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings
from django.utils.translation import gettext

from inference_worker.telemetry.masking import mask_folders
from tenants.files.models import StoredFile
from tenants.files.selectors import file_open
from training.child_process import child_environment, run_child
from training.datasets.command import check_arguments
from training.datasets.report import DatasetReport, RunFigures, SampleText
from training.engine.spec import TrainingOptions
from training.requests.memory_estimates import UNKNOWN_DEVICE, TrainingDevice, with_memory
from training.temporary_folders import temporary_folder

TIMEOUT_S = 60.0
MEMORY_BYTES = 4 * 1024**3
MAX_FAULTS = 50
SAMPLES = 2
COPY_BYTES = 1 << 20


class ReportError(Exception):
    """The check itself failed, whatever the file contains; the text says why, in the current language."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The settings of a run that the report on a file depends on."""

    method: str
    run: RunFigures
    max_length: int | None = None


def upload_report(path: Path) -> DatasetReport:
    """Return the report on the structure of an uploaded file. Raises ReportError."""
    output = _run("check", path, "--json", "--max-faults", str(MAX_FAULTS))
    report: DatasetReport = _decoded(output, DatasetReport)
    return report


def file_report(
    file: StoredFile,
    model: str,
    figures: Figures,
    options: TrainingOptions,
    device: TrainingDevice = UNKNOWN_DEVICE,
) -> tuple[DatasetReport, Sequence[SampleText]]:
    """Return the report on a file in tokens of a base model with estimates, and its first samples.

    ``device``: the one that the memory is planned for. Without the model's folder, the report is structural
    and there are no samples. Raises ReportError.
    """
    folder = settings.CYLLM.training_models.get(model)
    if folder is not None and not (folder / "tokenizer.json").is_file():
        folder = None
    report, samples = _cached(file.storage_name, file.id, folder, figures)
    return (report if folder is None else with_memory(report, options, folder, device)), samples


@lru_cache(maxsize=64)
def _cached(
    storage_name: str, file_id: str, folder: Path | None, figures: Figures
) -> tuple[DatasetReport, Sequence[SampleText]]:
    """Return a cached report, which stays valid because files never change."""
    with _copy(StoredFile(id=file_id, storage_name=storage_name)) as path:
        if folder is None:
            return upload_report(path), ()
        model = ("--model", str(folder.absolute()))
        limit = ("--max-faults", str(MAX_FAULTS))
        options = check_arguments(figures.run, method=figures.method, max_length=figures.max_length)
        report = _decoded(_run("check", path, "--json", *model, *limit, *options), DatasetReport)
        texts = _run("sample", path, *model, "--count", str(SAMPLES)) if report.is_valid else b"[]"
        return report, _decoded(texts, tuple[SampleText, ...])


@contextlib.contextmanager
def _copy(file: StoredFile) -> Iterator[Path]:
    with temporary_folder(Path(settings.FILE_INCOMING_DIR), "cyllm-report-") as folder:
        path = folder / "file.jsonl"
        try:
            with file_open(file) as source, path.open("wb") as copy:
                while data := source.read(COPY_BYTES):
                    copy.write(data)
        except OSError as error:
            text = gettext("The file can't be read: %(reason)s. Ask an operator to check the file storage.")
            reason = error.strerror or type(error).__name__
            raise ReportError(text % {"reason": reason}) from None
        yield path


def _run(*arguments: object) -> bytes:
    command = [sys.executable, "-m", "training.datasets", *map(str, arguments)]
    try:
        result = run_child(
            command,
            environment=child_environment(os.environ),
            check=lambda: None,
            timeout_s=TIMEOUT_S,
            memory_bytes=MEMORY_BYTES,
        )
    except TimeoutError:
        text = gettext("The check took longer than %(n)d s. Split the file into smaller ones.")
        raise ReportError(text % {"n": TIMEOUT_S}) from None
    if result.code not in (0, 1):  # 1: the file has faults
        text = gettext("The check failed: %(reason)s. Try again, or ask an operator.")
        raise ReportError(text % {"reason": mask_folders(result.last_line).rstrip(".")})
    return result.output


def _decoded(data: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError:
        raise ReportError(
            gettext("The check ended without a report. Try again, or ask an operator.")
        ) from None
