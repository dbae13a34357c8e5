"""From a finished run to a published model and the job's result files."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from tenants.files.creation import StoredContent
from tenants.files.deletion import object_delete
from tenants.files.uploads import FileQuotaError, UploadLostError
from tenants.outages import DATABASE_ERRORS, is_outage
from training.choices import EventLevel, JobPhase
from training.engine.events import Finished
from training.jobs.events import event_add
from training.jobs.failures import Failure
from training.models import FineTuningJob
from training.publishing.errors import PublishingError
from training.publishing.publish import publish_result
from training.queue.attempts import attempt_write
from training.queue.endings import Success, attempt_fail, attempt_succeed
from training.requests.hyperparameters import PUBLISH
from training.supervisor.persistence import Persist
from training.supervisor.results.evaluations import job_result, store_metrics
from training.supervisor.results.unpublished import store_result
from training.supervisor.trainer.environment import default_threads, trainer_environment

logger = logging.getLogger("cyllm.training")

EXPIRED = Failure(
    code="storage_unavailable",
    message="The result's files were removed from the storage before the job could end.",
    is_transient=True,
)


def publish(
    job: FineTuningJob,
    token: uuid.UUID,
    last_event: Finished,
    *,
    report_phase: Callable[[JobPhase], None],
    persist: Persist,
) -> Success:
    """Publish the result and store its files. Raises PublishingError, and what the functions raise."""
    if not job.options.get(PUBLISH, True):
        report_phase(JobPhase.PUBLISHING)
        archive = store_result(job, Path(last_event.result_dir), persist)
        contents = [*_metrics(job, token, persist), archive]
        return Success(
            result=job_result(last_event, _ids(contents)),
            trained_tokens=last_event.trained_tokens,
            contents=contents,
        )
    threads = default_threads()
    publication = publish_result(
        job,
        Path(last_event.result_dir),
        last_event.probe_prompts,
        report_phase=report_phase,
        environment=trainer_environment(threads, os.environ),
        threads=threads,
    )
    contents = _metrics(job, token, persist)
    return Success(
        register=publication.register,
        artifact_sha256=publication.sha256,
        result={**job_result(last_event, _ids(contents)), "verification": publication.verification},
        trained_tokens=last_event.trained_tokens,
        contents=contents,
    )


def record_success(token: uuid.UUID, success: Success) -> None:
    """Make the result a model and end the job, unless it is cancelled. Raises AttemptFencedError."""
    try:
        if not attempt_succeed(token, success):
            _discard(success)
    except PublishingError as error:
        _discard(success)
        attempt_fail(token, error.failure)
    except UploadLostError:
        _discard(success)
        attempt_fail(token, EXPIRED)
    except DATABASE_ERRORS as error:
        if not is_outage(error):
            _discard(success)
        raise  # after an outage, it is repeated
    except Exception:
        _discard(success)
        raise


def _discard(success: Success) -> None:
    """Delete the files of a success that can't be recorded. If that fails, the sweep deletes them later."""
    for content in success.contents:
        try:
            object_delete(content.upload.storage_name)
        except Exception as error:
            logger.warning("a result's file is not deleted yet: %s", type(error).__name__)


def _ids(contents: Sequence[StoredContent]) -> list[str]:
    return [content.upload.file_id for content in contents]


def _metrics(job: FineTuningJob, token: uuid.UUID, persist: Persist) -> list[StoredContent]:
    """Store the metrics. Without room for them, the job succeeds all the same."""
    try:
        return [persist(lambda: store_metrics(job))]
    except (FileQuotaError, OSError) as error:
        logger.warning("%s: the metrics can't be stored: %s", job.id, error)
        message = (
            "The file of training metrics was not stored, because the limit of the tenant's files is reached."
        )
        if not isinstance(error, FileQuotaError):
            message = "The file of training metrics was not stored, because the storage is unavailable."
        persist(lambda: _warn(token, message))
        return []


def _warn(token: uuid.UUID, message: str) -> None:
    with attempt_write(token) as locked_attempt:
        event_add(locked_attempt.job, message, level=EventLevel.WARN)
