"""Identity of a run: a digest of everything that determines its weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from training.engine.spec import TrainingSpec

# These may differ between attempts: none changes the weights, apart from their rounding.
_IGNORED_FIELDS = {
    "attempt",
    "base_model",
    "training_file",
    "validation_file",
    "work_dir",
    "options",
    "threads",
    "lease_s",
    "memory_bytes",
    "memory_failures",
    "is_served",
    "correlation_id",
}
_IGNORED_OPTIONS = {
    "logging_steps",
    "checkpoint_steps",
    "keep_checkpoints",
    "micro_batch_tokens",
    "gradient_checkpointing",
    "precision",
}


def fingerprint(spec: TrainingSpec, data_digests: list[str]) -> str:
    """Return the digest of a run's settings, data and base model.

    Defaults are left out, so that a run can be resumed by a version that has a further setting.
    """
    settings = _changed(spec, _IGNORED_FIELDS) | {"options": _changed(spec.options, _IGNORED_OPTIONS)}
    config = hashlib.sha256((Path(spec.base_model) / "config.json").read_bytes()).hexdigest()
    weights = sorted((path.name, path.stat().st_size) for path in Path(spec.base_model).glob("*.safetensors"))
    identity = msgspec.json.encode([settings, data_digests, config, weights], order="sorted")
    return hashlib.sha256(identity).hexdigest()


def _changed(values: msgspec.Struct, ignored_names: set[str]) -> dict[str, Any]:
    """Return the fields that differ from their defaults, except the ignored ones."""
    return {
        field.name: value
        for field in msgspec.structs.fields(values)
        if field.name not in ignored_names and (value := getattr(values, field.name)) != field.default
    }
