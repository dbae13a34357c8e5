"""Failures of verification and publishing, with cause and remedy for the tenant."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from training.jobs.failures import Failure, work_folder_failure

VERIFICATION_FAILED = "adapter_verification_failed"


class PublishingError(Exception):
    """The result of a job can't be published."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def verification_error(message: str, next_step: str) -> PublishingError:
    """Return the error of a result that failed its verification."""
    return PublishingError(Failure(code=VERIFICATION_FAILED, message=message, next_step=next_step))


@contextmanager
def work_folder_errors() -> Iterator[None]:
    """Raise PublishingError for a full or unwritable disk of the training worker."""
    try:
        yield
    except OSError as error:
        if (failure := work_folder_failure(error)) is None:
            raise
        raise PublishingError(failure) from error
