"""From the trainer's result to a published model: checked, stored, verified on a live worker, registered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ValidationError

from inference_worker.protocol.messages import AdapterRef
from inference_worker.registry.adapter_services import (
    ArchiveMissingError,
    NameTakenError,
    NewAdapter,
    adapter_register,
)
from inference_worker.registry.adapter_urls import AdapterUrls
from inference_worker.registry.models import ServedModel
from inference_worker.telemetry.masking import trace_without_messages
from tenants.outages import DATABASE_ERRORS
from training.choices import JobPhase
from training.jobs.failures import Failure
from training.models import FineTuningJob
from training.publishing.adapter_check import AdapterSummary, InvalidAdapterError, check_adapter
from training.publishing.archives import StoredArchive, archive_store
from training.publishing.errors import PublishingError, verification_error
from training.publishing.model_names import model_names
from training.publishing.verification import Candidate, ReportPhase, VerificationContext, verify

logger = logging.getLogger("cyllm.training.publishing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A verified result. ``register`` makes it a model, in the transaction of the job's success.

    ``verification``: figures for the job's result.
    """

    sha256: str
    verification: Mapping[str, object]
    register: Callable[[], str]


def publish_result(
    job: FineTuningJob,
    folder: Path,
    prompts: Sequence[Sequence[int]],
    *,
    report_phase: ReportPhase,
    environment: Mapping[str, str],
    threads: int | None,
) -> Publication:
    """Check, store and verify the adapter in a folder. Raises PublishingError, and what the report raises.

    ``prompts``: token ids of prompts to compare it with an engine.
    """
    base_folder = _base_folder(job)
    summary = _check(folder, base_folder)
    archive = _store(folder)
    ref = AdapterRef(
        name=f"candidate:{job.id}", base_model=job.base_model, sha256=archive.sha256, rank=summary.rank
    )
    adapter_urls = AdapterUrls(settings.CYLLM.internal_url, settings.SECRET_KEY.encode())
    candidate = Candidate(
        ref=adapter_urls.with_url(ref),
        folder=folder,
        base_folder=base_folder,
        prompts=prompts,
    )
    context = VerificationContext(
        redis_url=settings.CYLLM.redis_url,
        wait_s=settings.CYLLM.training_worker_wait_s,
        environment=environment,
        threads=threads,
        report_phase=report_phase,
    )
    agreement = verify(candidate, context)
    report_phase(JobPhase.PUBLISHING)
    return Publication(
        sha256=archive.sha256,
        verification=agreement.as_json(),
        register=lambda: _register(job, summary, archive),
    )


def _base_folder(job: FineTuningJob) -> Path:
    folder = settings.CYLLM.training_models.get(job.base_model)
    if folder is None:
        raise _model_missing(f"The base model {job.base_model} is not in CYLLM_TRAINING_MODELS any more.")
    return folder


def _model_missing(message: str) -> PublishingError:
    next_step = "The operator restores it; then resume the job."
    return PublishingError(
        Failure(code="model_not_found", message=message, next_step=next_step, param="model")
    )


def _check(folder: Path, base_folder: Path) -> AdapterSummary:
    try:
        return check_adapter(folder, base_folder)
    except InvalidAdapterError as error:
        raise verification_error(
            f"The trained adapter can't be served: {error}.",
            "Create the job again with other options; if that does not help, tell the operator.",
        ) from None


def _store(folder: Path) -> StoredArchive:
    try:
        return archive_store(folder)
    except PublishingError:
        raise
    except Exception as error:
        raise _storage_error(error) from None


def _storage_error(error: Exception) -> PublishingError:
    # An exception of a storage library can contain host names and paths.
    logger.error("the adapter can't be stored", extra={"trace": trace_without_messages(error)})
    message = "The fine-tuned model can't be stored."
    return PublishingError(Failure(code="storage_unavailable", message=message, is_transient=True))


def _register(job: FineTuningJob, summary: AdapterSummary, archive: StoredArchive) -> str:
    """Register the adapter and return its name. Raises PublishingError."""
    for name in model_names(job):
        new = NewAdapter(
            name=name,
            base=job.base_model,
            sha256=archive.sha256,
            rank=summary.rank,
            size_bytes=archive.size_bytes,
            tenant_id=job.tenant_id,
            owned_by=job.tenant.slug,
            job_id=job.id,
        )
        try:
            return adapter_register(new, actor=f"job:{job.id}").model.name
        except NameTakenError:
            continue
        except ArchiveMissingError:
            message = "The fine-tuned model was deleted from the storage before it was published."
            failure = Failure(code="storage_unavailable", message=message, is_transient=True)
            raise PublishingError(failure) from None
        except ServedModel.DoesNotExist:
            raise _model_missing(
                f"The base model {job.base_model} is not in the registry any more."
            ) from None
        except (*DATABASE_ERRORS, ValidationError):
            raise
        except Exception as error:
            raise _storage_error(error) from None
    raise PublishingError(
        Failure(
            code="model_name_taken",
            message=f"Other models have the names {' and '.join(model_names(job))}.",
            next_step="Delete the other model and resume the job, or create it again with another suffix.",
            param="suffix",
        )
    )
