"""Hyperparameters in effect: "auto" replaced by numbers, and the learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from training.datasets.tokens.estimate import auto_batch_size, auto_epochs
from training.engine.spec import TrainingOptions

AUTO = "auto"
PUBLISH = "publish"
# Options of a job that its trainer doesn't have.
_OTHER_OPTIONS = frozenset({"learning_rate", PUBLISH})
# Common starting points: adapters need a much larger rate than whole models, DPO a smaller one.
BASE_LEARNING_RATES = {
    ("supervised", "lora"): 2e-4,
    ("supervised", "dora"): 2e-4,
    ("supervised", "full"): 2e-5,
    ("dpo", "lora"): 5e-5,
    ("dpo", "dora"): 5e-5,
    ("dpo", "full"): 1e-6,
}
AUTO_BETA = 0.1


class JobOptions(TrainingOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of a job: those of its trainer, its learning rate, and whether the result becomes a model."""

    learning_rate: Annotated[float, msgspec.Meta(ge=1e-10, le=1)] | None = None
    publish: bool = True


class Hyperparameters(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers that a run uses. ``threads``: recorded, because results depend on it to the last bit."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float
    learning_rate: float
    beta: float
    threads: int | None


def resolve(
    *,
    method: str,
    hyperparameters: Mapping[str, Any],
    options: Mapping[str, Any],
    examples: int,
    threads: int | None,
) -> Hyperparameters:
    """Return the hyperparameters of a run over ``examples`` training examples.

    A small data set gets small batches and more epochs, so that it is trained for enough steps.
    """
    batch_size = int(_chosen(hyperparameters, "batch_size", auto_batch_size(examples)))
    multiplier = float(_chosen(hyperparameters, "learning_rate_multiplier", 1.0))
    base_rate = BASE_LEARNING_RATES[method, str(options.get("adapter", "lora"))]
    return Hyperparameters(
        n_epochs=int(_chosen(hyperparameters, "n_epochs", auto_epochs(examples, batch_size))),
        batch_size=batch_size,
        learning_rate_multiplier=multiplier,
        learning_rate=float(options.get("learning_rate") or base_rate * multiplier),
        beta=float(_chosen(hyperparameters, "beta", AUTO_BETA)),
        threads=threads,
    )


def job_options(values: Mapping[str, Any]) -> JobOptions:
    """Return the options of a request, completed by today's defaults. Raises msgspec.ValidationError."""
    return msgspec.convert(dict(values), JobOptions)


def stored_options(options: JobOptions) -> dict[str, Any]:
    """Return the options as a job has them: its learning rate and ``publish`` only if they are set."""
    values: dict[str, Any] = msgspec.to_builtins(options)
    if options.learning_rate is None:
        del values["learning_rate"]
    if options.publish:
        del values[PUBLISH]
    return values


def training_options(options: Mapping[str, Any]) -> TrainingOptions:
    """Return the options of a job for its trainer. Raises msgspec.ValidationError."""
    values = {name: value for name, value in options.items() if name not in _OTHER_OPTIONS}
    return msgspec.convert(values, TrainingOptions)


def _chosen(values: Mapping[str, Any], name: str, automatic: Any) -> Any:
    value = values.get(name, AUTO)
    return automatic if value is None or value == AUTO else value
