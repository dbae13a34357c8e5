"""Reasons to refuse a job, shared by the API and the commands, which show them in their own form.

``param``: the path of the refused parameter in the API, None for the job as a whole. ``message``: a sentence
without its full stop.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelNotTrainable:
    """A base model that can't be fine-tuned."""

    model: str
    reason: str
    param = "model"

    @property
    def message(self) -> str:
        return f"the model '{self.model}' can't be fine-tuned: {self.reason}"


@dataclass(frozen=True, slots=True)
class InvalidValue:
    """A value that is impossible for this job."""

    param: str
    reason: str

    @property
    def message(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True)
class UnsupportedValue:
    """A value that this platform can't serve."""

    param: str
    value: str
    reason: str

    @property
    def message(self) -> str:
        return f"'{self.value}' is not supported: {self.reason}"


@dataclass(frozen=True, slots=True)
class MemoryShortage:
    """A job that can't fit in the memory of its workers. Both sizes are texts with their units."""

    needed: str
    available: str
    param = "cyllm"

    @property
    def message(self) -> str:
        return f"training needs about {self.needed} of memory, but the training workers have {self.available}"


@dataclass(frozen=True, slots=True)
class TooManyJobs:
    """A tenant whose limit of open jobs is reached."""

    limit: int
    param = None

    @property
    def message(self) -> str:
        return f"the tenant already has {self.limit} fine-tuning jobs that have not ended"


@dataclass(frozen=True, slots=True)
class BudgetShortage:
    """A budget that doesn't cover the job. Amounts are texts, such as ``$1.50``.

    ``renewal``: the time at which the budget is renewed, ``renewal_s`` seconds from now. ``is_permanent``: no
    renewal helps, because the job exceeds the whole budget. ``needed``: the smallest budget that covers it.
    """

    subject: str
    limit_name: str
    limit: str
    used: str
    cost: str
    renewal: str
    renewal_s: int
    is_permanent: bool
    needed: str
    param = None

    @property
    def advice(self) -> str:
        """A sentence that names the renewal or, if waiting doesn't help, the remedy."""
        if not self.is_permanent:
            return f"The budget is renewed at {self.renewal}."
        return (
            "Waiting doesn't help: the job exceeds the whole budget. A job of fewer examples or epochs costs "
            f"less; otherwise, ask your administrator for a budget of at least {self.needed}."
        )

    @property
    def message(self) -> str:
        if self.is_permanent:
            return (
                f"the job can cost up to {self.cost}, which exceeds the whole limit of {self.limit} on "
                f"{self.limit_name}: train on fewer examples or for fewer epochs, or set a limit of at least "
                f"{self.needed}"
            )
        return (
            f"the job can cost up to {self.cost}, but {self.used} of the limit of {self.limit} on "
            f"{self.limit_name} is already spent or reserved"
        )


@dataclass(frozen=True, slots=True)
class _UnsuitableFile:
    """A refused file. ``param``: its field in the request, ``training_file`` or ``validation_file``."""

    param: str
    file_id: str


@dataclass(frozen=True, slots=True)
class FileMissing(_UnsuitableFile):
    """A file that the tenant doesn't have."""

    @property
    def message(self) -> str:
        return f"the tenant has no file '{self.file_id}'"


@dataclass(frozen=True, slots=True)
class WrongPurpose(_UnsuitableFile):
    """A file that was uploaded for another purpose."""

    purpose: str

    @property
    def message(self) -> str:
        return f"the file '{self.file_id}' has the purpose '{self.purpose}'; expected 'fine-tune'"


@dataclass(frozen=True, slots=True)
class WrongFormat(_UnsuitableFile):
    """A file whose format belongs to another method. ``expected``: the content that the method requires."""

    format: str
    method: str
    expected: str

    @property
    def message(self) -> str:
        return (
            f"the file '{self.file_id}' has the format '{self.format}', "
            f"but the method '{self.method}' requires {self.expected}"
        )


@dataclass(frozen=True, slots=True)
class UnusableDataset(_UnsuitableFile):
    """A file that can't be used for training."""

    reason: str

    @property
    def message(self) -> str:
        return f"the file '{self.file_id}' can't be used for training: {self.reason}"


FileRefusal = FileMissing | WrongPurpose | WrongFormat | UnusableDataset
Refusal = (
    ModelNotTrainable
    | InvalidValue
    | UnsupportedValue
    | MemoryShortage
    | TooManyJobs
    | BudgetShortage
    | FileRefusal
)


class JobRefusedError(Exception):
    """The job is refused."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
