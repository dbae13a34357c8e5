"""The cause of a failed attempt, as the tenant sees it."""

from __future__ import annotations

from dataclasses import dataclass

from training.engine.disk_faults import disk_fault

NO_INFERENCE_WORKER = "no_inference_worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The cause of a failed attempt: stable code, cause and remedy, all shown to the tenant."""

    code: str
    message: str
    next_step: str = ""
    param: str = ""
    is_transient: bool = False

    @property
    def text(self) -> str:
        """Cause and remedy."""
        return f"{self.message} {self.next_step}".strip()


def no_worker_failure(base_model: str) -> Failure:
    """Return the failure of a job whose result no inference worker of the base model could verify in time."""
    return Failure(
        code=NO_INFERENCE_WORKER,
        message=f"No inference worker of {base_model} was ready to verify the fine-tuned model.",
        next_step="Resume the job when an inference worker of the base model is running.",
    )


def work_folder_failure(error: OSError) -> Failure | None:
    """Return the failure of a full or unwritable disk of the training worker, None for another error."""
    fault = disk_fault(error.errno)
    if fault is None:
        return None
    return Failure(
        code=fault.code, message=fault.message, next_step=fault.next_step, is_transient=fault.is_transient
    )
