"""Token caches of a run's files, as the examples that objectives train on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from training.datasets.tokens.cache import TokenCache
from training.datasets.tokens.preparation import DatasetError, prepare
from training.datasets.tokens.probes import probe_prompts
from training.datasets.tokens.samples import Sample
from training.datasets.tokens.tokenizer import ModelError, ModelTokenizer, load_tokenizer
from training.engine.models.weights import BaseModelError
from training.engine.objectives.preference import Pair
from training.engine.objectives.supervised import Example
from training.engine.spec import TrainingSpec


class TrainingDataError(Exception):
    """The training or validation data can't be trained on. The text names the fault."""


@dataclass(frozen=True)
class DatasetFile:
    """A tokenised file. ``digest``: SHA-256 of the file itself."""

    cache: TokenCache
    digest: str

    @property
    def tokens(self) -> int:
        """All tokens."""
        return sum(self.cache.lengths)

    @property
    def trained_tokens(self) -> int:
        """Tokens that are trained."""
        return sum(self.cache.trained_tokens)

    @property
    def truncated(self) -> int:
        """Samples cut after their last complete answer that fits."""
        return self.cache.report.tokens.truncated if self.cache.report.tokens else 0

    @property
    def dropped(self) -> int:
        """Samples left out."""
        return sum(self.cache.report.tokens.dropped.values()) if self.cache.report.tokens else 0

    def prompts(self) -> tuple[tuple[int, ...], ...]:
        """Return prompts for comparing models."""
        return probe_prompts(self.cache)


def open_dataset(spec: TrainingSpec, path: Path, name: str) -> DatasetFile:
    """Return a file tokenised for a run's base model; attempts share the cache in the job's folder.

    Raises TrainingDataError, BaseModelError, and OSError if the cache can't be written.
    """
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise TrainingDataError(f"The {name} file can't be read: {error.strerror}.") from error
    folder = Path(spec.work_dir) / "tokens" / name
    try:
        tokenizer = _load_tokenizer(spec.base_model)
        cache = prepare(path, folder, tokenizer, method=spec.method, max_length=spec.options.max_length)
    except DatasetError as error:
        raise TrainingDataError(f"The {name} file can't be used: {error}.") from error
    except ModelError as error:
        raise BaseModelError(str(error)) from error
    return DatasetFile(cache, digest)


def _load_tokenizer(folder: str) -> ModelTokenizer:
    """Return the tokenizer that engines use, which transformers builds by its class for some models."""
    tokenizer = load_tokenizer(folder)
    if tokenizer.is_exact:
        return tokenizer
    backend = getattr(AutoTokenizer.from_pretrained(folder), "backend_tokenizer", None)
    return tokenizer if backend is None else load_tokenizer(folder, backend_json=backend.to_str())


class CachedExamples:
    """The samples of a cache for supervised training."""

    def __init__(self, cache: TokenCache) -> None:
        self._cache = cache
        self.lengths: Sequence[int] = cache.lengths
        self.weights: Sequence[int] = cache.trained_tokens

    def __len__(self) -> int:
        return len(self._cache)

    def __getitem__(self, index: int) -> Example:
        return _example(self._cache.sample(index))


class CachedPairs:
    """The pairs of a cache for DPO."""

    def __init__(self, cache: TokenCache) -> None:
        self._cache = cache
        self.lengths: Sequence[int] = cache.lengths

    def __len__(self) -> int:
        return len(self._cache)

    def __getitem__(self, index: int) -> Pair:
        pair = self._cache.pair(index)
        return Pair(_example(pair.chosen), _example(pair.rejected))


def _example(sample: Sample) -> Example:
    ids = np.frombuffer(sample.input_ids, np.int32)
    return Example(ids, np.frombuffer(sample.loss_mask, np.uint8).astype(np.bool_))
