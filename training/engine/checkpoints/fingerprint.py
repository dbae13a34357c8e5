"""Identity of a run: a digest of everything that determines its weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from training.engine.spec import TrainingSpec

# These may differ between attempts: none changes the weights.
_IGNORED_FIELDS = (
    "attempt",
    "base_model",
    "training_file",
    "validation_file",
    "work_dir",
    "threads",
    "lease_s",
    "memory_bytes",
    "correlation_id",
)
_IGNORED_OPTIONS = (
    "logging_steps",
    "checkpoint_steps",
    "keep_checkpoints",
    "micro_batch_tokens",
    "gradient_checkpointing",
    "precision",
)


def fingerprint(spec: TrainingSpec, data_digests: list[str]) -> str:
    """Return the digest of a run's settings, data and base model."""
    settings = msgspec.to_builtins(spec)
    for name in _IGNORED_FIELDS:
        del settings[name]
    for name in _IGNORED_OPTIONS:
        del settings["options"][name]
    config = hashlib.sha256((Path(spec.base_model) / "config.json").read_bytes()).hexdigest()
    weights = sorted((path.name, path.stat().st_size) for path in Path(spec.base_model).glob("*.safetensors"))
    identity = msgspec.json.encode([settings, data_digests, config, weights], order="sorted")
    return hashlib.sha256(identity).hexdigest()
