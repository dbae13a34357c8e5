"""The form of a new job: its fields, and their values as the body of the API's request.

The API's validation is the only one: a field knows its place in the body, and errors name that place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from api.console.snippets import EXTENSION
from training.engine.spec import TrainingOptions
from training.models import FineTuningJob
from training.requests.job_request import DEFAULT_PRIORITY, DEFAULT_WORKER_CLASS

HYPERPARAMETERS = "hyperparameters"
_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """A field. ``place``: the object in the body that has it; empty for the body itself."""

    name: str
    label: Promise
    help: Promise
    place: str = EXTENSION
    choices: tuple[str, ...] = ()
    placeholder: str = ""
    is_advanced: bool = True
    is_text: bool = False
    method: str = ""
    value: str = ""
    error: str = ""


FIELDS = (
    Field(
        "suffix",
        _("Name"),
        _("Becomes part of the model's name: letters, digits and . _ -"),
        place="",
        is_advanced=False,
        is_text=True,
    ),
    Field(
        "n_epochs",
        _("Epochs"),
        _("Passes over the data. If empty, chosen from the number of examples."),
        place=HYPERPARAMETERS,
        placeholder="auto",
        is_advanced=False,
    ),
    Field(
        "batch_size",
        _("Batch size"),
        _("Examples per step. If empty, at most 8, fewer for small files."),
        place=HYPERPARAMETERS,
        placeholder="auto",
        is_advanced=False,
    ),
    Field(
        "learning_rate",
        _("Learning rate"),
        _(
            "If empty, 2e-4 for adapters, 5e-5 with DPO. A small file may need more, such as 2e-3 with the "
            "modules all-linear."
        ),
        placeholder="auto",
        is_advanced=False,
    ),
    Field(
        "rank",
        _("Rank"),
        _("Size of the adapter. A larger one learns more and takes more memory."),
        placeholder="8",
        is_advanced=False,
    ),
    Field(
        "max_length",
        _("Tokens per example"),
        _("Longer examples are cut after a complete answer. If empty, the model's context."),
        is_advanced=False,
    ),
    Field(
        "beta",
        _("DPO beta"),
        _("How closely the result stays to the base model; DPO only."),
        place=HYPERPARAMETERS,
        placeholder="0.1",
        method="dpo",
    ),
    Field("alpha", _("Alpha"), _("Scale of the adapter. If empty, twice the rank.")),
    Field(
        "dropout",
        _("Dropout"),
        _("Share of the adapter's inputs that are dropped at random."),
        placeholder="0",
    ),
    Field(
        "target_modules",
        _("Modules"),
        _("Names separated by commas, or all-linear."),
        placeholder="q_proj, v_proj",
        is_text=True,
    ),
    Field(
        "adapter",
        _("Adapter"),
        _("Only LoRA can be served; the others need “Publish” to be no."),
        choices=("lora", "dora", "full"),
    ),
    Field(
        "publish",
        _("Publish"),
        _("No: the result is an archive to download instead of a model."),
        choices=("yes", "no"),
    ),
    Field(
        "scheduler",
        _("Learning rate over time"),
        _("After the warm-up."),
        choices=("linear", "cosine", "constant"),
    ),
    Field(
        "warmup_ratio", _("Warm-up"), _("Share of the steps in which the rate rises from 0."), placeholder="0"
    ),
    Field(
        "weight_decay",
        _("Weight decay"),
        _("Pulls weights towards 0 against overfitting."),
        placeholder="0",
    ),
    Field("max_grad_norm", _("Maximum gradient norm"), _("Larger gradients are clipped."), placeholder="1"),
    Field(
        "precision",
        _("Precision"),
        _("Of the weights while training."),
        choices=("auto", "float32", "bfloat16", "float16"),
    ),
    Field(
        "packing",
        _("Packing"),
        _("Several short examples in one sequence: faster."),
        choices=("auto", "on", "off"),
    ),
    Field(
        "gradient_checkpointing",
        _("Recompute activations"),
        _("Less memory, slower."),
        choices=("auto", "on", "off"),
    ),
    Field("eval_steps", _("Steps between evaluations"), _("Needs a validation file."), placeholder="auto"),
    Field(
        "checkpoint_steps",
        _("Steps between checkpoints"),
        _("A job continues from the last one."),
        placeholder="auto",
    ),
    Field("patience", _("Early stopping"), _("Evaluations without a better loss before it stops.")),
    Field("seed", _("Seed"), _("The same seed gives the same result. If empty, random."), place=""),
    Field("priority", _("Priority"), _("0 to 9; jobs of a higher priority run first."), placeholder="5"),
    Field(
        "worker_class",
        _("Worker class"),
        _("The workers that may run it."),
        placeholder="default",
        is_text=True,
    ),
)
BY_NAME = {field.name: field for field in FIELDS}
SELECTS = {
    "model": _("Base model"),
    "training_file": _("Training file"),
    "validation_file": _("Validation file (optional)"),
    "method": _("Method"),
}


def form_fields(values: Mapping[str, str], errors: Mapping[str, str]) -> list[Field]:
    """Return the fields with what was typed and the error of each."""
    return [
        replace(field, value=values.get(field.name, ""), error=errors.get(field.name, "")) for field in FIELDS
    ]


def field_label(name: str) -> str:
    """Return the label of a field of the form; the name itself if the form has no such field."""
    return str(SELECTS.get(name) or (BY_NAME[name].label if name in BY_NAME else name))


def request_body(values: Mapping[str, str]) -> Body:
    """Return the body for ``POST /v1/fine_tuning/jobs``. Invalid numbers stay text: the API reports them."""
    method = values.get("method") or "supervised"
    body: Body = {name: values.get(name, "") for name in ("model", "training_file")}
    if values.get("validation_file"):
        body["validation_file"] = values["validation_file"]
    hyperparameters: Body = {}
    extension: Body = {}
    for field, value in _filled(values, method):
        if field.place == HYPERPARAMETERS:
            hyperparameters[field.name] = value
        elif field.name == "patience":
            extension["early_stopping"] = {"patience": value}
        else:
            (extension if field.place else body)[field.name] = value
    body["method"] = {"type": method, method: {"hyperparameters": hyperparameters}}
    if extension:
        body[EXTENSION] = extension
    return body


def _filled(values: Mapping[str, str], method: str) -> Iterator[tuple[Field, Any]]:
    for field in FIELDS:
        text = values.get(field.name, "").strip()
        if not text or (field.method and field.method != method):
            continue
        if field.name == "target_modules":
            yield field, [part.strip() for part in text.split(",") if part.strip()]
        elif field.name == "publish":
            yield field, text != "no"
        elif field.is_text or field.choices:
            yield field, text
        else:
            yield field, _number(text)


def _number(text: str) -> int | float | str:
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def field_of(param: str | None) -> str:
    """Return the name of the field that a parameter of the API belongs to; empty if none does."""
    names = [re.sub(r"\[\d+\]", "", part) for part in (param or "").split(".")]
    return next((name for name in reversed(names) if name in BY_NAME or name in SELECTS), "")


def values_of_job(job: FineTuningJob) -> dict[str, str]:
    """Return the values that create a job like this one; the seed is the same."""
    defaults: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(TrainingOptions()))
    options = {name: value for name, value in job.options.items() if value != defaults.get(name)}
    stopping = options.pop("early_stopping", None)
    if options.pop("publish", True) is False:
        options["publish"] = "no"
    values: dict[str, Any] = {
        "model": job.base_model,
        "training_file": job.training_file,
        "validation_file": job.validation_file,
        "method": job.method,
        "suffix": job.suffix,
        "seed": job.seed,
        "patience": stopping["patience"] if stopping else None,
        "priority": job.priority if job.priority != DEFAULT_PRIORITY else None,
        "worker_class": job.worker_class if job.worker_class != DEFAULT_WORKER_CLASS else None,
        **{name: value for name, value in job.hyperparameters.items() if value != "auto"},
        **options,
    }
    return {name: _text(value) for name, value in values.items() if value not in (None, "")}


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
