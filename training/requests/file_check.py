"""Check of a training file at upload, in a child process so that parsing never blocks a gateway."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from training.child_process import child_environment, run_child_async
from training.datasets.report import DatasetReport

MAX_FAULTS = 8  # that an error names
MEMORY_BYTES = 2 * 1024**3
TIMEOUT_S = 600.0
MAX_EXPLANATION_LENGTH = 4000


class FileCheckError(Exception):
    """The check itself failed, whatever the file contains."""


class FileCheckTimeoutError(FileCheckError):
    """The file takes too long to check. The text says so, with the remedy."""


async def training_file_report(path: Path, *, timeout_s: float = TIMEOUT_S) -> DatasetReport:
    """Return the report on a file. A cancellation ends the process.

    Raises FileCheckError, FileCheckTimeoutError.
    """
    options = ("--json", "--max-faults", str(MAX_FAULTS))
    try:
        result = await run_child_async(
            [sys.executable, "-m", "training.datasets", "check", str(path), *options],
            environment=child_environment(os.environ),
            timeout_s=timeout_s,
            memory_bytes=MEMORY_BYTES,
        )
        return msgspec.json.decode(result.output, type=DatasetReport)
    except TimeoutError:
        remedy = "split the file into smaller ones, of JSON Lines rather than one array"
        raise FileCheckTimeoutError(f"its check has not ended within {timeout_s:g} s; {remedy}.") from None
    except OSError as error:
        raise FileCheckError(f"it can't be started: {error.strerror or type(error).__name__}") from None
    except msgspec.MsgspecError:
        raise FileCheckError(f"exit status {result.code}: {result.last_line}") from None


def faults_text(report: DatasetReport) -> str:
    """Return the first faults of a report as sentences, and the number of the others."""
    sentences: list[str] = []
    for fault in report.faults[:MAX_FAULTS]:
        if sum(map(len, sentences)) + len(fault.message) > MAX_EXPLANATION_LENGTH:
            break
        sentences.append(f"{fault.message}.")
    others = report.fault_count - len(sentences)
    if others:
        sentences.append(f"There {'is 1 more fault' if others == 1 else f'are {others} more faults'}.")
    return " ".join(sentences)


def stored_report(report: DatasetReport) -> dict[str, Any]:
    """Return the report of a file without faults as JSON."""
    values: dict[str, Any] = msgspec.to_builtins(report)
    return {name: value for name, value in values.items() if not name.startswith("fault")}


def training_file_check(path: Path) -> dict[str, Any]:
    """Return a file's JSON report for the commands. Raises ValueError with the faults, FileCheckError."""
    try:
        report = asyncio.run(training_file_report(path.resolve()))
    except FileCheckTimeoutError as error:
        raise ValueError(str(error)) from None
    if report.fault_count:
        raise ValueError(faults_text(report))
    return stored_report(report)
