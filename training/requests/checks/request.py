"""Checks of a request on its own: its options, bounds, and options that exclude each other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

import msgspec

from training.engine.spec import ALL_LINEAR, MAX_SERVED_RANK, UNSERVABLE_MODULES
from training.requests.hyperparameters import AUTO, JobOptions, job_options
from training.requests.job_request import JobRequest
from training.requests.refusals import InvalidValue, JobRefusedError, UnsupportedValue

MAX_SEED = 2**31 - 1
MAX_SUFFIX_LENGTH = 64
# As in the schema of the API, for commands and pages.
HYPERPARAMETER_BOUNDS: Mapping[str, tuple[float, float]] = {
    "n_epochs": (1, 50),
    "batch_size": (1, 256),
    "learning_rate_multiplier": (1e-6, 1000),
    "beta": (1e-6, 2),
}
_SUFFIX = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_SUFFIX_LENGTH}}}", re.ASCII)
_ADAPTER_OPTIONS = ("rank", "alpha", "dropout", "target_modules")
_VALIDATION_OPTIONS = ("early_stopping", "eval_steps")
_UNSERVABLE_ADAPTERS = frozenset({"dora", "full"})
# msgspec's messages name the option at their end, or are about an unknown one.
_FAULT = re.compile(r"(?P<reason>.*) - at `\$\.(?P<option>[^`]+)`", re.DOTALL)
_UNKNOWN_OPTION = re.compile(
    r"Object contains unknown field `(?P<option>.*?)`(?: - at `\$\.(?P<parent>[^`]+)`)?", re.DOTALL
)
_OPTION_NAMES = sorted(JobOptions.__struct_fields__)


def parse_options(request: JobRequest) -> JobOptions:
    """Return the options of a request, completed by the defaults. Raises JobRefusedError."""
    try:
        return job_options(request.options)
    except msgspec.ValidationError as error:
        raise JobRefusedError(_option_fault(str(error))) from None


def _option_fault(message: str) -> InvalidValue:
    """Return the refusal of the option that a message of msgspec is about."""
    if match := _UNKNOWN_OPTION.fullmatch(message):
        if match["parent"]:
            return InvalidValue(f"cyllm.{match['parent']}.{match['option']}", "there is no such option")
        reason = f"there is no such option; the options are {', '.join(_OPTION_NAMES)}"
        return InvalidValue(f"cyllm.{match['option']}", reason)
    if match := _FAULT.fullmatch(message):
        return InvalidValue(f"cyllm.{match['option']}", match["reason"])
    return InvalidValue("cyllm", message)


def check_request(request: JobRequest, options: JobOptions) -> None:
    """Raise JobRefusedError for the first value that no job may have."""
    if request.suffix and not _SUFFIX.fullmatch(request.suffix):
        reason = (
            "it becomes part of the model's name, so use letters, digits and the characters . _ - only, "
            f"at most {MAX_SUFFIX_LENGTH}"
        )
        raise JobRefusedError(InvalidValue("suffix", reason))
    if request.seed is not None and not 0 <= request.seed <= MAX_SEED:
        raise JobRefusedError(InvalidValue("seed", f"it must be between 0 and {MAX_SEED}"))
    _check_hyperparameters(request.hyperparameters)
    if options.learning_rate is not None and _multiplier(request) != AUTO:
        reason = "it can't be combined with 'learning_rate_multiplier'; send one of them"
        raise JobRefusedError(InvalidValue("cyllm.learning_rate", reason))
    for name in _VALIDATION_OPTIONS:
        if getattr(options, name) is not None and request.validation_file is None:
            raise JobRefusedError(InvalidValue(f"cyllm.{name}", "it requires a 'validation_file'"))
    _check_adapter(request, options)
    _check_modules(options.target_modules)


def _check_hyperparameters(values: Mapping[str, object]) -> None:
    for name, (lowest, highest) in HYPERPARAMETER_BOUNDS.items():
        value = values.get(name, AUTO)
        if value is None or value == AUTO:
            continue
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number and lowest <= float(cast("float", value)) <= highest):
            reason = f"it must be a number between {lowest} and {highest}, or '{AUTO}'"
            raise JobRefusedError(InvalidValue(f"hyperparameters.{name}", reason))


def _multiplier(request: JobRequest) -> object:
    return request.hyperparameters.get("learning_rate_multiplier", AUTO)


def _check_adapter(request: JobRequest, options: JobOptions) -> None:
    if options.adapter in _UNSERVABLE_ADAPTERS and options.publish:
        reason = "inference engines don't load such results; use 'lora', or set 'cyllm.publish' to false"
        raise JobRefusedError(UnsupportedValue("cyllm.adapter", options.adapter, reason))
    if options.publish and options.rank > MAX_SERVED_RANK:
        reason = f"inference engines load adapters of rank {MAX_SERVED_RANK} at most"
        raise JobRefusedError(InvalidValue("cyllm.rank", reason))
    if options.adapter == "full":
        for name in _ADAPTER_OPTIONS:
            if request.options.get(name) is not None:
                reason = "the adapter 'full' has no such setting"
                raise JobRefusedError(InvalidValue(f"cyllm.{name}", reason))


def _check_modules(modules: tuple[str, ...]) -> None:
    param = "cyllm.target_modules"
    if ALL_LINEAR in modules and len(modules) > 1:
        raise JobRefusedError(InvalidValue(param, f"'{ALL_LINEAR}' can't be combined with other modules"))
    if len(set(modules)) < len(modules):
        raise JobRefusedError(InvalidValue(param, "it contains a module twice"))
    for module in modules:
        if module.rpartition(".")[2] in UNSERVABLE_MODULES:
            reason = "inference engines don't load adapters of embeddings and output layers"
            raise JobRefusedError(UnsupportedValue(param, module, reason))
