"""Checks of a request against its base model, and the inference workers that will load the result."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from inference_worker.client.routing import is_usable
from inference_worker.protocol.messages import Heartbeat
from training.engine.spec import ALL_LINEAR, UNSERVABLE_MODULES, TrainingOptions
from training.model_files.config import read_config
from training.model_files.tensor_headers import TensorFileError, read_header
from training.requests.refusals import InvalidValue, JobRefusedError, ModelNotTrainable
from training.settings import TrainingSettings


def highest_rank(model: str, workers: Iterable[Heartbeat]) -> int | None:
    """Return the highest rank that a ready worker of the model loads, None without such a worker."""
    return max(
        (worker.max_lora_rank for worker in workers if model in worker.models and is_usable(worker)),
        default=None,
    )


def base_folder(model: str, limits: TrainingSettings) -> Path:
    """Return the folder of a base model. Raises JobRefusedError if it can't be trained here."""
    folders = limits.training_models
    if model not in folders:
        names = ", ".join(f"'{name}'" for name in sorted(folders))
        reason = f"use one of {names}" if names else "fine-tuning is not set up for any model"
        raise JobRefusedError(ModelNotTrainable(model, reason))
    return folders[model]


def check_engine(model: str, options: TrainingOptions, engine_rank: int) -> None:
    """Raise JobRefusedError if no inference worker of the model could load the adapter."""
    if engine_rank == 0:
        raise JobRefusedError(ModelNotTrainable(model, "its inference workers don't load adapters"))
    if options.rank > engine_rank:
        reason = f"the inference workers of the model load adapters of rank {engine_rank} at most"
        raise JobRefusedError(InvalidValue("cyllm.rank", reason))


def check_base(options: TrainingOptions, folder: Path) -> None:
    """Check options against the base model, if its folder is on this machine. Raises JobRefusedError."""
    context = _context_tokens(folder)
    if options.max_length is not None and context is not None and options.max_length > context:
        raise JobRefusedError(
            InvalidValue("cyllm.max_length", f"the context of the model has {context} tokens")
        )
    modules = _linear_modules(folder)
    if options.adapter == "full" or ALL_LINEAR in options.target_modules or not modules:
        return
    for target in options.target_modules:
        if not any(module == target or module.endswith(f".{target}") for module in modules):
            names = sorted({module.rpartition(".")[2] for module in modules})
            reason = f"the model has no linear module '{target}'; it has {', '.join(names)}"
            raise JobRefusedError(InvalidValue("cyllm.target_modules", reason))


def _context_tokens(folder: Path) -> int | None:
    try:
        value = read_config(folder).get("max_position_embeddings")
    except (OSError, ValueError):
        return None
    return value if isinstance(value, int) else None


def _linear_modules(folder: Path) -> frozenset[str]:
    """Return the paths of the linear modules, from the headers of the weights; empty if unknown."""
    try:
        return _read_linear_modules(folder)
    except (OSError, TensorFileError):
        return frozenset()


@lru_cache
def _read_linear_modules(folder: Path) -> frozenset[str]:
    """Only success is cached: the folder may be mounted later. Raises OSError, TensorFileError."""
    modules: set[str] = set()
    for path in sorted(folder.glob("*.safetensors")):
        for name, tensor in read_header(path).items():
            if name.endswith(".weight") and len(tensor.shape) == 2:
                modules.add(name.removesuffix(".weight"))
    if not modules:
        raise FileNotFoundError(f"{folder} has no weights")
    return frozenset(name for name in modules if name.rpartition(".")[2] not in UNSERVABLE_MODULES)
