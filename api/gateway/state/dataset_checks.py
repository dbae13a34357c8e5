"""Checks of training files at upload: few at once, and one of each tenant."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

from api.gateway.capacity.tenant_semaphore import TenantSemaphore
from api.openai.errors.files import InvalidTrainingFile
from api.openai.errors.service import InternalError
from training.datasets.report import DatasetReport
from training.requests.file_check import (
    FileCheckError,
    FileCheckTimeoutError,
    faults_text,
    stored_report,
    training_file_report,
)

logger = logging.getLogger("cyllm.gateway.files")

CONCURRENT_CHECKS = 2
FIRST_SLICE_S = 15.0
POLL_S = 0.5


class DatasetChecks:
    """The checks that a gateway process runs.

    A check that takes longer than its slice while others wait is ended and begins again behind them, with
    twice the time. So files that take long don't hold up those of other tenants, and half of the work counts.
    """

    def __init__(self, first_slice_s: float = FIRST_SLICE_S) -> None:
        self._first_slice_s = first_slice_s
        self._tenants = TenantSemaphore()
        self._processes = asyncio.Semaphore(CONCURRENT_CHECKS)
        self._waiting = self._leaving = 0

    async def report(self, path: Path, tenant_id: str) -> dict[str, Any]:
        """Return the report on a training file. Raises InvalidTrainingFile, which names the first faults."""
        try:
            async with self._tenants.acquire(tenant_id):
                report = await self._check(path)
        except FileCheckTimeoutError as error:
            raise InvalidTrainingFile(explanation=str(error), param="file") from None
        except FileCheckError as error:
            logger.error("the check of a training file failed: %s", error)
            raise InternalError() from None
        if report.fault_count:
            raise InvalidTrainingFile(explanation=faults_text(report), param="file")
        return stored_report(report)

    async def _check(self, path: Path) -> DatasetReport:
        slice_s = self._first_slice_s
        while (report := await self._check_in_turn(path, slice_s)) is None:
            slice_s *= 2
        return report

    async def _check_in_turn(self, path: Path, slice_s: float) -> DatasetReport | None:
        """Wait for a process and return its report, None if others wait at the end of the slice."""
        self._waiting += 1
        try:
            await self._processes.acquire()
        finally:
            self._waiting -= 1
        try:
            return await self._check_for(path, slice_s)
        finally:
            self._processes.release()

    async def _check_for(self, path: Path, slice_s: float) -> DatasetReport | None:
        check = asyncio.create_task(training_file_report(path))
        try:
            await asyncio.wait([check], timeout=slice_s)
            while not check.done() and self._waiting <= self._leaving:
                await asyncio.wait([check], timeout=min(POLL_S, slice_s))
            return check.result() if check.done() else None
        finally:
            self._leaving += 1
            check.cancel()
            try:
                await asyncio.wait([check])  # until its process has ended
            finally:
                self._leaving -= 1
