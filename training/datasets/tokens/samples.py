"""Samples: token ids with the positions that are learned."""

from __future__ import annotations

from array import array

import msgspec

from training.datasets.report import DropReason


class Sample(msgspec.Struct, frozen=True):
    """A sequence to train on. ``loss_mask[i]`` is 1 if token ``i`` is learned, predicted from those before.

    Token 0 is never trained. Both arrays are writable buffers (``torch.frombuffer``): int32 ("i") and uint8.
    """

    input_ids: array[int]
    loss_mask: bytearray
    line: int

    @property
    def labels(self) -> list[int]:
        """Token ids where they are trained, else -100; not shifted."""
        return [token if flag else -100 for token, flag in zip(self.input_ids, self.loss_mask, strict=True)]


class SamplePair(msgspec.Struct, frozen=True):
    """A chosen and a rejected sequence that share their first ``prompt_length`` tokens."""

    chosen: Sample
    rejected: Sample
    prompt_length: int


class Dropped(msgspec.Struct, frozen=True):
    """A sample that is left out."""

    line: int
    reason: DropReason


def fit(sample: Sample, max_length: int | None) -> Sample | Dropped:
    """Cut a sample after the last complete answer within ``max_length`` tokens; drop it if none is left."""
    if not any(sample.loss_mask):
        return Dropped(sample.line, "no_trained_tokens")
    if max_length is None or len(sample.input_ids) <= max_length:
        return sample
    end = _last_complete_answer(sample.loss_mask, max_length)
    if end == 0:
        return Dropped(sample.line, "too_long")
    return Sample(sample.input_ids[:end], sample.loss_mask[:end], sample.line)


def fit_pair(pair: SamplePair, max_length: int | None) -> SamplePair | Dropped:
    """Drop a pair if one of its sequences is too long: a truncated answer can't be compared."""
    for sample in (pair.chosen, pair.rejected):
        if not any(sample.loss_mask):
            return Dropped(sample.line, "no_trained_tokens")
        if max_length is not None and len(sample.input_ids) > max_length:
            return Dropped(sample.line, "too_long")
    return pair


def _last_complete_answer(loss_mask: bytearray, max_length: int) -> int:
    """Return the end of the last trained span that ends within ``max_length``, 0 if there is none."""
    end = max_length
    while end > 0 and loss_mask[end] and loss_mask[end - 1]:
        end -= 1  # the span that is cut
    return loss_mask.rfind(1, 0, end) + 1
