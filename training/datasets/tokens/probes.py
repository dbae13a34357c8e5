"""Prompts for comparing models, from tokenised samples."""

from __future__ import annotations

from training.datasets.tokens.cache import TokenCache
from training.datasets.tokens.samples import Sample

PROBES = 8
# All of them fit in one line of the trainer's output, and long contexts don't delay a verification.
PROBE_TOKENS = 1024


def probe_prompts(cache: TokenCache) -> tuple[tuple[int, ...], ...]:
    """Return the token ids of the first samples up to the start of their last answer, cut at the front."""
    samples = (_first_sequence(cache, index) for index in range(min(PROBES, len(cache))))
    prompts = (sample.input_ids[: _last_answer(sample.loss_mask)] for sample in samples)
    return tuple(tuple(prompt[-PROBE_TOKENS:]) for prompt in prompts)


def _first_sequence(cache: TokenCache, index: int) -> Sample:
    return cache.pair(index).chosen if cache.method == "dpo" else cache.sample(index)


def _last_answer(loss_mask: bytearray) -> int:
    end = loss_mask.rfind(1) + 1
    return loss_mask.rfind(0, 0, end) + 1
